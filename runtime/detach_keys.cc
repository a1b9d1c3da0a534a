#include "runtime/detach_keys.h"

#include "base/error.h"
#include "base/text.h"

namespace img::runtime {
namespace {

char keyByName(std::string_view name, std::string_view text) {
  constexpr std::string_view kPrefix = "ctrl-";
  constexpr char kControlBit = 0x1f;
  if (name.size() == 1) return name.front();
  if (name.size() == kPrefix.size() + 1 && name.starts_with(kPrefix)) {
    const char letter = name.back();
    const bool isLetter = letter >= 'a' && letter <= 'z';
    if (isLetter || std::string_view{"@[\\]^_"}.find(letter) != std::string_view::npos) {
      return static_cast<char>(letter & kControlBit);
    }
  }
  throw Error::make(Kind::usage, "--detach-keys: {} is not a key", text::quote(name))
      .hint(fmt::format("a sequence is written as {}", kDefaultDetachKeys))
      .why(fmt::format("in {}", text::quote(text)));
}

}  // namespace

DetachKeys::DetachKeys(std::string_view text) {
  if (text.empty()) return;
  for (const std::string& name : text::split(text, ',')) keys_ += keyByName(name, text);
}

std::string DetachKeys::pass(std::string_view typed) {
  if (keys_.empty()) return std::string{typed};
  std::string passed;
  for (const char key : typed) {
    if (key == keys_[matched_]) {
      if (++matched_ < keys_.size()) continue;
      isComplete_ = true;
      return passed;
    }
    passed.append(keys_, 0, matched_);
    matched_ = key == keys_.front() ? 1 : 0;
    if (matched_ == 0) passed += key;
    if (matched_ == keys_.size()) {
      isComplete_ = true;
      return passed;
    }
  }
  return passed;
}

}  // namespace img::runtime
