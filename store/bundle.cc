#include "store/bundle.h"

#include <sys/statfs.h>

#include <vector>

#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/staged_file.h"
#include "store/tar.h"

namespace img::store {
namespace {

constexpr std::uint64_t kDefaultImageLimit = std::uint64_t{256} << 30;
constexpr std::uint64_t kCheckEvery = std::uint64_t{64} << 20;
constexpr std::uint64_t kMinFree = std::uint64_t{256} << 20;
constexpr size_t kMaxMembers = 100'000;
constexpr size_t kMaxNames = size_t{32} << 20;  // bytes of all names together

// Resolves "." and ".." by text alone; nullopt when the name is absolute or leaves the archive.
std::optional<std::string> cleanName(std::string_view name) {
  if (name.starts_with('/')) return std::nullopt;
  std::vector<std::string> parts;
  for (std::string& part : text::split(name, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(std::move(part));
      continue;
    }
    if (parts.empty()) return std::nullopt;
    parts.pop_back();
  }
  return text::join(parts, "/");
}

std::string folderOf(const std::string& name) {
  const size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash + 1);
}

void checkFreeSpace(const Layout& layout) {
  const struct statfs info = sys::fstatfs(layout.fd(), layout.root());
  const auto block = static_cast<std::uint64_t>(info.f_bsize);
  const std::uint64_t free = static_cast<std::uint64_t>(info.f_bavail) * block;
  const std::uint64_t size = static_cast<std::uint64_t>(info.f_blocks) * block;
  if (free >= kMinFree && free >= size / 100) return;
  Error error = Error::fromErrno(ENOSPC, "keep 1 % and 256 MiB of the store's file system free");
  addSpaceHint(error, layout);
  throw error;
}

// Data of the member that a TarReader stands at.
class MemberSource final : public Source {
 public:
  explicit MemberSource(TarReader& reader) : reader_(reader) {}
  size_t read(std::span<std::byte> into) override { return reader_.read(into); }

 private:
  TarReader& reader_;
};

class ArchiveBundle final : public Bundle {
 public:
  ArchiveBundle(const Layout& layout, Source& archive, const std::string& name)
      : Bundle(layout, name) {
    const std::unique_ptr<Source> plain = decompress(archive, name);
    TarReader reader{*plain, name, TarReader::Mode::readAhead};
    while (const TarEntry* entry = reader.next()) add(reader, *entry);
  }

  bool has(const std::string& name) override { return entries_.contains(name); }

 protected:
  Member find(const std::string& name) override {
    const Entry* entry = lookup(name);
    if (entry != nullptr && entry->kind == Kind::link) {
      // Old docker archives name a layer that two images share this way; one step, no chains.
      const auto target = cleanName(folderOf(name) + entry->target);
      entry = target && !entry->target.starts_with('/') ? lookup(*target) : nullptr;
    }
    if (entry == nullptr) failMember(name, "is missing");
    if (entry->kind != Kind::regular) failMember(name, "is not a regular file");
    return entry->member;
  }

 private:
  enum class Kind { regular, link, other };
  struct Entry {
    Kind kind = Kind::other;
    Member member;
    std::string target;
  };

  [[nodiscard]] const Entry* lookup(const std::string& name) const {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &found->second;
  }

  void add(TarReader& reader, const TarEntry& tar) {
    if (tar.type == TarEntry::Type::directory) return;
    const std::string name = cleanTarPath(tar.path, this->name());
    Entry entry;
    if (tar.type == TarEntry::Type::symlink) {
      entry.kind = Kind::link;
      entry.target = tar.linkTarget;
    } else if (tar.type == TarEntry::Type::file && !tar.sparse) {
      entry.kind = Kind::regular;
      MemberSource data{reader};
      entry.member = stage(data);
    }
    if (!entries_.emplace(name, std::move(entry)).second) failMember(name, "is there twice");
    names_ += name.size() + tar.linkTarget.size();
    if (names_ > kMaxNames) failMember(name, "is one of too many long names");
    if (entries_.size() > kMaxMembers) {
      failMember(name, fmt::format("is one of more than {} members", kMaxMembers));
    }
  }

  std::map<std::string, Entry> entries_;
  size_t names_ = 0;  // bytes of names and link targets: what we keep in memory is bounded
};

class FolderBundle final : public Bundle {
 public:
  FolderBundle(const Layout& layout, int directory, const std::string& name)
      : Bundle(layout, name), directory_(directory) {}

  bool has(const std::string& name) override { return open(name, O_PATH).has_value(); }

 protected:
  Member find(const std::string& name) override {
    if (const auto found = staged_.find(name); found != staged_.end()) return found->second;
    // O_NONBLOCK: a FIFO of that name must not make us wait.
    auto fd = open(name, O_RDONLY | O_NONBLOCK);
    if (!fd) failMember(name, "is missing");
    if (!S_ISREG(sys::fstat(fd->get()).st_mode)) failMember(name, "is not a regular file");
    FdSource source{std::move(*fd), name};
    return staged_.emplace(name, stage(source)).first->second;
  }

 private:
  [[nodiscard]] std::optional<Fd> open(const std::string& name, int flags) const {
    try {
      return sys::openBeneath(directory_, name, flags | O_NOFOLLOW);
    } catch (const Error& error) {
      if (error.errnum() == ENOENT || error.errnum() == ENOTDIR) return std::nullopt;
      if (error.errnum() == ELOOP || error.errnum() == ENXIO) {
        failMember(name, "is not a regular file");
      }
      throw;
    }
  }

  int directory_;
  std::map<std::string, Member> staged_;
};

}  // namespace

Bundle::Bundle(const Layout& layout, std::string name)
    : layout_(layout), name_(std::move(name)), staging_(layout) {}

void Bundle::failMember(const std::string& name, std::string_view problem) const {
  throw Error::make(Kind::corrupt, "{}: the member {} {}", name_, text::quote(name), problem);
}

// What is staged counts before it is written.
class Bundle::Counted final : public Source {
 public:
  Counted(Bundle& bundle, Source& inner) : bundle_(bundle), inner_(inner) {}
  size_t read(std::span<std::byte> into) override {
    const size_t count = inner_.read(into);
    bundle_.countStaged(count);
    return count;
  }

 private:
  Bundle& bundle_;
  Source& inner_;
};

Member Bundle::stage(Source& source) try {
  const std::string file = fmt::format("m{}", count_++);
  Fd fd = sys::openat(staging_.fd(), file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  Counted counted{*this, source};
  const StagedFile staged = stageFile(counted, fd.get(), name_);
  fd.close(name_);
  return {file, staged.digest, staged.size};
} catch (Error& error) {
  addSpaceHint(error, layout_);
  throw;
}

void Bundle::countStaged(size_t count) {
  static const std::uint64_t limit =
      limitFromEnvironment("IMG_LIMIT_IMAGE_BYTES", kDefaultImageLimit);
  total_ += count;
  if (total_ > limit) {
    throw Error::make(img::Kind::corrupt, "{} unpacks to more than {} bytes", name_, limit)
        .hint("IMG_LIMIT_IMAGE_BYTES sets the limit");
  }
  if (total_ - checked_ < kCheckEvery) return;
  checkFreeSpace(layout_);
  checked_ = total_;
}

Member Bundle::get(const std::string& name) {
  const auto clean = cleanName(name);
  if (!clean || clean->empty()) failMember(name, "is not in the archive");
  Member member = find(*clean);
  constexpr std::string_view kBlobs = "blobs/sha256/";
  if (!clean->starts_with(kBlobs)) return member;
  const auto expected = Digest::tryParseHex(std::string_view{*clean}.substr(kBlobs.size()));
  if (expected && *expected == member.digest) return member;
  throw Error::make(Kind::corrupt, "{}: the member {} has other content than its name says", name_,
                    text::quote(name))
      .why(fmt::format("its {} bytes have the digest {}", member.size, member.digest.str()))
      .code("digest-mismatch");
}

std::string Bundle::read(const std::string& name) {
  const Member member = get(name);
  if (member.size > documentLimit()) {
    throw Error::make(Kind::corrupt, "{}: the document {} is longer than {} bytes", name_,
                      text::quote(name), documentLimit())
        .hint("IMG_LIMIT_JSON_BYTES sets the limit");
  }
  return fs::readFile(staging_.fd(), member.file);
}

Member Bundle::getBlob(const Descriptor& descriptor) {
  Member member = get(blobMember(descriptor.digest));
  if (member.size == descriptor.size) return member;
  throw Error::make(Kind::corrupt, "{}: blob {} has {} bytes, its descriptor says {}", name_,
                    descriptor.digest.str(), member.size, descriptor.size)
      .code("digest-mismatch");
}

std::unique_ptr<Bundle> openArchiveBundle(const Layout& layout, Source& archive,
                                          const std::string& name) {
  return std::make_unique<ArchiveBundle>(layout, archive, name);
}

std::unique_ptr<Bundle> openFolderBundle(const Layout& layout, int directory,
                                         const std::string& name) {
  return std::make_unique<FolderBundle>(layout, directory, name);
}

}  // namespace img::store
