// Many small pieces of the same work, on two threads where there are enough of them: reading
// documents, removing files. More threads gain little, as the kernel locks the folder.
#pragma once

#include <cstddef>
#include <functional>

namespace img::store {

// Calls `work` for each number below `count`, in no order when there are many. Once one of them
// fails, those that have not begun are left out, and the first error is thrown.
void shareWork(size_t count, const std::function<void(size_t)>& work);

}  // namespace img::store
