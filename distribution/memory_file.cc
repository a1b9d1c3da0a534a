#include "distribution/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/sys.h"

namespace img::distribution {

Fd memoryFile(const char* name, std::string_view content) {
  Fd file{sys::check([&] { return ::memfd_create(name, MFD_CLOEXEC); }, "create a memory file")};
  writeAll(file.get(), content, name);
  sys::check([&] { return ::lseek(file.get(), 0, SEEK_SET); }, "rewind a memory file");
  return file;
}

}  // namespace img::distribution
