// Memory of a process that from now on only waits: a container's keeper, and what it starts.
#pragma once

namespace img::runtime {

// Gives back what starting a container took: free heap, and the pages of the program itself, which
// come back from the page cache one by one as they are needed.
void shrinkForWaiting() noexcept;

}  // namespace img::runtime
