// A small body, kept in memory.
#pragma once

#include <string>

#include "base/fd.h"
#include "registry/http.h"

namespace img::registry {

class TextReceiver final : public BodyReceiver {
 public:
  explicit TextReceiver(size_t limit) : limit_(limit) {}
  bool begin(const HttpAnswer& /*answer*/) override {
    text_.clear();
    isTooLong_ = false;
    return true;
  }
  bool write(std::span<const std::byte> bytes) override {
    isTooLong_ = text_.size() + bytes.size() > limit_;
    if (!isTooLong_) text_ += asText(bytes);
    return !isTooLong_;
  }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool isTooLong() const { return isTooLong_; }

 private:
  size_t limit_;
  std::string text_;
  bool isTooLong_ = false;
};

}  // namespace img::registry
