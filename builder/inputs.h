// What a step's result follows from, as a list of typed values: the record with which a later miss
// is explained (cli.md 9.3). The list is made on a miss only; the key itself is hashed without it.
// Records lie under cache/inputs/<key>; cache/last/<place> names the newest ones per place of a
// Dockerfile and per instruction text. Losing any of them costs an explanation, never a result:
// nothing is synced, and what does not verify is not there. Safe for concurrent builds.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "store/layout.h"

namespace img::builder {

class Seen;

// kind: parent, base, stage, instruction, shell, arg, env, user, workdir, network, security,
// hostname, host, mount, platform, epoch, url. Of base and stage `detail` is what people are shown,
// the manifest's digest for example.
struct Input {
  std::string kind, name, value, detail;
  bool operator==(const Input&) const = default;
};

// A file of the context that counted.
struct FileInput {
  std::string path;
  mode_t mode = 0;  // with the type
  std::uint64_t size = 0;
  Digest content;            // of a regular file
  std::uint64_t xattrs = 0;  // 0: none
  std::string link;          // target of a link, numbers of a device
  bool operator==(const FileInput&) const = default;
};

struct InputList {
  std::vector<Input> inputs;
  std::vector<FileInput> files;  // sorted by path

  void add(std::string kind, std::string name, std::string value, std::string detail = {});
  // A variable; the value of one that looks secret (cli.md 9.10) is kept as its digest only.
  void addVariable(std::string kind, const std::string& name, std::string_view value);
  void addFiles(const Seen& seen);
  void sortFiles();  // after the last addFiles
};

// Where a step stands: what "the same step, earlier" means.
struct StepPlace {
  std::string dockerfile;  // path, or another name that tells Dockerfiles apart
  std::string stage;
  std::string kind;  // keyword
  int position = 0;  // 1-based, among the stage's steps of this kind
  std::string text;  // the instruction
};

struct InputRecord {
  StepPlace place;
  std::string buildId;
  std::string at;      // RFC 3339
  int step = 0;        // number in that build
  double seconds = 0;  // that the step took
  InputList list;
};

class InputStore {
 public:
  explicit InputStore(const store::Layout& layout);

  // The record of the step with this key, whether or not its layer is still there.
  [[nodiscard]] std::optional<InputRecord> find(const Digest& key) const;
  // The closest earlier record: of the same place and text, else of the same text in the same
  // stage, else of the same place, else of the same text anywhere; the newest of each.
  [[nodiscard]] std::optional<InputRecord> findClosest(const StepPlace& place) const;
  // `keys`: every key under which the step's result can be found.
  void write(const std::vector<Digest>& keys, const InputRecord& record) const;

 private:
  [[nodiscard]] std::vector<InputRecord> candidates(const std::string& pointer) const;
  void point(const std::string& pointer, const Digest& key) const;
  const store::Layout& layout_;
};

// The bytes of a record, and back; nullopt for what is not whole or of another version.
std::string encodeInputs(const InputRecord& record);
std::optional<InputRecord> decodeInputs(std::string_view bytes);

// A step's record is gone together with its layer: `by` did it ("img builder prune" for example).
// Whoever removes a record of cache/steps says so here.
void noteEviction(const store::Layout& layout, const Digest& key, std::string_view by);
struct Eviction {
  std::string by, at;
};
std::optional<Eviction> findEviction(const store::Layout& layout, const Digest& key);

}  // namespace img::builder
