// The key sequence that takes a terminal away from a container without ending it (docker's
// --detach-keys): "ctrl-p,ctrl-q". Text in, bytes out.
#pragma once

#include <string>
#include <string_view>

namespace img::runtime {

inline constexpr char kDefaultDetachKeys[] = "ctrl-p,ctrl-q";

class DetachKeys {
 public:
  DetachKeys() = default;  // no sequence: everything passes
  // Single characters and ctrl-X (a-z, @, [, \, ], ^, _), comma separated; an empty text means no
  // sequence. Throws Kind::usage.
  explicit DetachKeys(std::string_view text);

  // What of `typed` goes on to the container. The beginning of a sequence is held back until it is
  // known not to be one.
  std::string pass(std::string_view typed);
  // The sequence was typed; what came after it is lost.
  [[nodiscard]] bool isComplete() const { return isComplete_; }

 private:
  std::string keys_;
  size_t matched_ = 0;
  bool isComplete_ = false;
};

}  // namespace img::runtime
