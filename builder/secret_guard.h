// Keeps the bytes of a build's secrets out of what stays: the files, names and xattrs of new
// layers, the config, labels and history are searched for each secret of at least 8 bytes and for
// its base64 at all three alignments (cli.md 9.7); what steps print is masked. All patterns are
// looked for in one pass (Wu and Manber, "A fast algorithm for multi-pattern searching", 1994).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "builder/progress.h"
#include "builder/step_options.h"
#include "store/oci.h"
#include "store/tar.h"

namespace img::builder {

struct StepCommand;

// Finds any of several strings in one pass over a text.
class PatternSearch {
 public:
  static constexpr size_t kMinLength = 8;

  explicit PatternSearch(std::vector<std::string> patterns);  // each of at least kMinLength bytes
  // The index of a pattern that occurs.
  [[nodiscard]] std::optional<size_t> find(std::string_view text) const;
  [[nodiscard]] size_t longest() const { return longest_; }

 private:
  static size_t blockAt(std::string_view text, size_t last);
  [[nodiscard]] std::optional<size_t> matchAt(std::string_view text, size_t last) const;

  std::vector<std::string> patterns_;
  size_t longest_ = 0;
  std::vector<std::uint8_t> shifts_;               // by the last two bytes of the window
  std::map<size_t, std::vector<size_t>> buckets_;  // patterns by the end of their first kMinLength
};

// A place where a secret was found; never the value.
struct SecretHit {
  std::string place;  // path in the layer, or a path in the config
  std::string id;
};

class SecretGuard {
 public:
  explicit SecretGuard(const std::vector<Secret>& secrets);

  [[nodiscard]] bool isEmpty() const { return ids_.empty(); }
  // The id of a secret that `text` holds.
  [[nodiscard]] std::optional<std::string> find(std::string_view text) const;
  // Names, link targets and xattrs of everything in a layer's folder.
  [[nodiscard]] std::optional<SecretHit> findInNames(int folder) const;
  // These and the content of all files.
  [[nodiscard]] std::optional<SecretHit> findInTree(int folder) const;
  // Name, link target and xattrs of one entry of a layer's tar.
  [[nodiscard]] std::optional<SecretHit> findInEntry(const store::TarEntry& entry) const;
  // Keys and strings of a document, at any depth.
  [[nodiscard]] std::optional<SecretHit> findInJson(const Json& json,
                                                    const std::string& place) const;

 private:
  [[nodiscard]] std::optional<SecretHit> findInFolder(int folder, const std::string& prefix,
                                                      bool withContent) const;
  [[nodiscard]] std::optional<SecretHit> findInFile(int file, const std::string& path) const;
  [[nodiscard]] bool holdsInXattrs(int fd, std::string& id) const;

  friend class SecretStream;
  std::vector<std::string> ids_;  // by pattern
  PatternSearch search_;
};

// Files that come in pieces: a secret may lie across two of them.
class SecretStream {
 public:
  explicit SecretStream(const SecretGuard& guard) : guard_(guard) {}
  // The next bytes of the file `path`.
  void add(const std::string& path, std::span<const std::byte> bytes);
  [[nodiscard]] const std::optional<SecretHit>& hit() const { return hit_; }

 private:
  const SecretGuard& guard_;
  std::string path_, tail_;
  std::optional<SecretHit> hit_;  // the first one
};

// Replaces the bytes of secrets in a stream by `***`. What may be the begin of a secret is held
// back until the next bytes decide.
class SecretMask {
 public:
  explicit SecretMask(const std::vector<Secret>& secrets);
  [[nodiscard]] std::string add(std::string_view bytes);
  [[nodiscard]] std::string finish();  // what was held back

 private:
  [[nodiscard]] size_t heldFrom() const;
  std::string maskUpTo(size_t end);

  std::vector<std::string> values_;  // longest first
  std::string pending_;
};

// The text with `***` for each secret.
std::string withoutSecrets(const std::string& text, const std::vector<Secret>& secrets);
// Whether the user wrote a secret into the command, or into a variable that it gets.
bool holdsSecret(const SecretGuard& guard, const StepCommand& command);

// The guard that a build asked for; one that finds nothing when it is off or there are no secrets.
SecretGuard guardOf(const StepOptions& options);
Error leakError(const SecretHit& hit);
// Throws Kind::failed with code "secret-leak", or warns (--secret-guard).
void reportLeak(const SecretHit& hit, const StepOptions& options, Progress& progress);
void guardConfig(const store::ImageConfig& config, const StepOptions& options, Progress& progress);

// Whether the name of a build argument says that its value is secret (rule SecretsUsedInArgOrEnv,
// cli.md 9.10).
bool isSecretName(std::string_view name);

}  // namespace img::builder
