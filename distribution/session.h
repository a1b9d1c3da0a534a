// A conversation with one repository of one registry, through an img-remote process of its own
// (registry/README.md has the protocol). Requests run at the same time; answers are taken by id.
// One thread at a time; a wait ends with what
// base/interruption.h throws. The destructor ends the process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/json.h"
#include "distribution/access.h"
#include "store/oci.h"
#include "store/reference.h"

namespace img::distribution {

class Session {
 public:
  // How long a registry that does not answer is put up with (reliability.md 7, security.md C3);
  // what the user says about tries and delay comes first.
  struct Patience {
    int tries = 4, delayMs = 1000, connectSeconds = 10, firstByteSeconds = 60;
  };
  // Starts img-remote; nothing is sent yet. Kind::unsupported when the program is not there.
  Session(const store::Reference& reference, Action action, const AccessOptions& options);
  Session(const store::Reference& reference, Action action, const AccessOptions& options,
          const Patience& patience);
  // The same for endpoints that are known already, at least one.
  Session(const store::Reference& reference, Action action, const AccessOptions& options,
          std::vector<Endpoint> endpoints);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  // What img-remote tells in between ("waits 20 s for ..."); without one it is logged.
  void setNotice(std::function<void(const std::string&)> notice);

  // --- Documents: blocking. `reference` is a tag or a digest.
  struct Document {
    std::string bytes;
    store::Descriptor descriptor;  // digest and size of the bytes received, media type as sent
  };
  // HEAD. nullopt: the registry has no such manifest (404).
  std::optional<store::Descriptor> head(const std::string& reference);
  // GET; a digest that was asked for is verified. Throws Kind::notFound, code "manifest-unknown".
  Document manifest(const std::string& reference);
  Digest putManifest(const std::string& reference, const store::Descriptor& descriptor,
                     std::string_view bytes);
  std::vector<std::string> tags();
  void checkLogin();  // GET /v2/ with the credentials; throws Kind::denied

  // --- Blobs. start*() return at once with the id of the request.
  // The bytes from `offset` on arrive in `pipe` (a write end, which becomes img-remote's); its end
  // comes early when the transfer fails, and wait() then throws why. `isAgain`: from another
  // connection, and another endpoint where there is one, because what came was wrong.
  int startBlob(const store::Descriptor& blob, std::uint64_t offset, Fd pipe, bool isAgain = false);
  bool hasBlob(const Digest& digest);  // HEAD
  int startHas(const Digest& digest);  // the answer has `found`
  // The answer has `mounted`.
  int startMount(const Digest& digest, const std::string& fromRepository);
  // True: the registry took the blob over from another of its repositories.
  bool mountBlob(const Digest& digest, const std::string& fromRepository);
  // `file` is a regular file, read by offset from its beginning, so that it can be sent again.
  int startUpload(const store::Descriptor& blob, const Fd& file);
  // A blob whose maker, another process, is still at it and holds the other end of `socket`
  // (growing_blob.h). The answer comes after finishGrowing(), or earlier when it has failed.
  int startGrowing(Fd socket);
  void finishGrowing(int id, const store::Descriptor& blob);
  void cancel(int id);  // its answer is an error with code "cancelled", unless it was there already

  // Readable when wait() has something to read.
  [[nodiscard]] int fd() const;
  // The ids whose answers are there; reads what has arrived without blocking.
  std::vector<int> answered();
  // Blocks for the answer and takes it. Throws the error that the request ended with.
  Json wait(int id);

 private:
  struct State;
  Session(const store::Reference& reference, Action action, const AccessOptions& options,
          std::vector<Endpoint> endpoints, const Patience& patience);
  std::unique_ptr<State> state_;
};

}  // namespace img::distribution
