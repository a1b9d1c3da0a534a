#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "base/error.h"
#include "base/sys.h"

namespace img {

std::optional<MappedFile> MappedFile::tryOpen(int dir, const std::string& path, size_t limit) {
  const auto file = sys::tryOpenat(dir, path, O_RDONLY);
  if (!file) return std::nullopt;
  const auto size = static_cast<size_t>(sys::fstat(file->get()).st_size);
  if (size > limit) return std::nullopt;
  if (size == 0) return MappedFile{{}};
  // Populated: a fault for each page costs more than reading it.
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file->get(), 0);
  if (start == MAP_FAILED) throw Error::fromErrno(errno, "map " + path);
  return MappedFile{{static_cast<const char*>(start), size}};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

}  // namespace img
