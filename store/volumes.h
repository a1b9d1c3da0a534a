// Named and anonymous volumes: volumes/<name>/{meta.json,data}. cli.md 13.
// A volume appears by rename, with its first content in it: nobody ever mounts a half-filled one.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "store/layout.h"

namespace img::store {

struct Volume {
  std::string name, createdAt, mountpoint;
  std::map<std::string, std::string> labels;
  bool anonymous = false;
  std::map<std::string, std::string> options;  // type=, device=, o=
};

class Volumes {
 public:
  explicit Volumes(const Layout& layout) : layout_(layout) {}
  // Existing name: returned as it is, `created` false. Empty name: an anonymous volume with a
  // 64-hex name.
  Volume create(const std::string& name, const std::map<std::string, std::string>& labels,
                bool& created, const std::map<std::string, std::string>& options = {}) const;

  // For mounting: created when missing. A volume that has not been mounted yet gets its first
  // content from `fill` (which may be empty), once, however many containers start at the same time.
  using Fill = std::function<void(int data)>;
  // NOLINTNEXTLINE(modernize-use-nodiscard): an action
  Volume prepare(const std::string& name, const Fill& fill, bool isAnonymous = false) const;
  // Where its files are, or will be.
  [[nodiscard]] std::string mountpointOf(const std::string& name) const;

  [[nodiscard]] std::optional<Volume> find(std::string_view name) const;
  [[nodiscard]] std::vector<Volume> list() const;
  void remove(const std::string& name) const;  // throws Kind::notFound
  // O_PATH of its data folder; of a volume with a device the folder that is that device.
  Fd openData(const std::string& name) const;

 private:
  struct NewVolume {
    std::map<std::string, std::string> labels, options;
    bool isAnonymous = false;
  };
  Volume publish(const std::string& name, const NewVolume& wanted, const Fill* fill,
                 bool& created) const;

  const Layout& layout_;
};

}  // namespace img::store
