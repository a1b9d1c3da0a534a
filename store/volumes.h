// Named and anonymous volumes: volumes/<name>/{meta.json,data}. cli.md 13.
#pragma once

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
};

class Volumes {
 public:
  explicit Volumes(const Layout& layout) : layout_(layout) {}
  // Existing name: returned as it is, `created` false. Empty name: an anonymous volume with a
  // 64-hex name.
  Volume create(const std::string& name, const std::map<std::string, std::string>& labels,
                bool& created) const;
  std::optional<Volume> find(std::string_view name) const;
  std::vector<Volume> list() const;
  void remove(const std::string& name) const;  // throws Kind::notFound
  Fd openData(const std::string& name) const;  // O_PATH of its data folder

 private:
  const Layout& layout_;
};

}  // namespace img::store
