// The members of an image archive (a tar in any known compression) or of an image folder, by exact
// name. The outer archive is never extracted (security.md M14): regular members are streamed into
// ingest/ under names of ours and hashed on the way; a symbolic link counts only when it names
// another regular member; everything else is there but cannot be read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/digest.h"
#include "base/stream.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

struct Member {
  std::string file;  // in the staging folder
  Digest digest;
  std::uint64_t size = 0;
};

class Bundle {
 public:
  explicit Bundle(const Layout& layout, std::string name);
  Bundle(const Bundle&) = delete;
  Bundle& operator=(const Bundle&) = delete;
  virtual ~Bundle() = default;

  // Something of that name is there, readable or not.
  virtual bool has(const std::string& name) = 0;
  // The staged content. Throws Kind::corrupt when there is no such regular member, and when the
  // name is blobs/sha256/<hex> and the content has another digest.
  Member get(const std::string& name);
  // A small document; more than IMG_LIMIT_JSON_BYTES is Kind::corrupt.
  std::string read(const std::string& name);
  // The member blobs/sha256/<hex> of a descriptor, of the size it says.
  Member getBlob(const Descriptor& descriptor);
  bool hasBlob(const Digest& digest) { return has(blobMember(digest)); }

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const IngestDir& staging() const { return staging_; }
  static std::string blobMember(const Digest& digest) { return "blobs/sha256/" + digest.hex(); }

 protected:
  virtual Member find(const std::string& name) = 0;
  // Copies a stream into the staging folder. Limits: L1, and the room that the disk has left.
  Member stage(Source& source);
  [[noreturn]] void failMember(const std::string& name, std::string_view problem) const;

 private:
  class Counted;
  void countStaged(size_t count);

  const Layout& layout_;
  std::string name_;
  IngestDir staging_;
  std::uint64_t total_ = 0;  // bytes staged so far
  std::uint64_t checked_ = 0;
  int count_ = 0;
};

std::unique_ptr<Bundle> openArchiveBundle(const Layout& layout, Source& archive,
                                          const std::string& name);
// `directory` outlives the bundle.
std::unique_ptr<Bundle> openFolderBundle(const Layout& layout, int directory,
                                         const std::string& name);

}  // namespace img::store
