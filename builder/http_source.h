// What a URL holds, as a file (dockerfile.md 3.10 "HTTP"). Kept under cache/http by URL, and asked
// for again with the ETag it came with: only a strong one promises the same bytes (RFC 9110,
// 8.8.1). A cached file is hashed before it is used, so a crash or a hand in the store costs a
// download and never a wrong layer. Blocking: for workers. Safe for concurrent builds.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/digest.h"
#include "base/fd.h"
#include "store/layout.h"

namespace img::builder {

// What opens private sources.
struct RemoteAccess {
  // The secret of that id; null when it was not given.
  std::function<const std::string*(const std::string& id)> findSecret;
  std::string agentSocket;            // of an ssh-agent; empty: none
  std::vector<std::string> keyFiles;  // private keys for ssh
};

struct HttpFile {
  Digest digest;
  std::uint64_t size = 0;
  std::int64_t modified = 0;  // Last-Modified, else 0
  std::string path;           // of the cached file, relative to layout.fd(); mode 0600, that mtime
};
std::string toJson(const HttpFile& file);
HttpFile parseHttpFile(const std::string& json);

// Where a worker works. `work` belongs to whoever started the worker, so that nothing is left when
// it is killed.
struct RemotePlace {
  const store::Layout& layout;
  const store::IngestDir& work;
};

// With `expected`, a cached file of that digest is taken without a request. Throws Kind::failed
// "{url}: expected {a}, got {b}" for other content.
HttpFile fetchHttp(const RemotePlace& place, const std::string& url, const RemoteAccess& access,
                   const std::optional<Digest>& expected = {});
// The file of an earlier fetchHttp with its bytes checked; fetched once more if another build has
// replaced it.
Fd openHttpFile(const RemotePlace& place, const std::string& url, const RemoteAccess& access,
                const HttpFile& file);

}  // namespace img::builder
