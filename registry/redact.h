// Keeps secrets out of whatever a person may read (security.md, S in C): the credentials and tokens
// of this process wherever they stand, and what looks like a secret in the words of others.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace img::registry {

class Redactor {
 public:
  // Shorter ones than four bytes are no secrets: they would mask half of every sentence.
  void remember(const std::string& secret);
  [[nodiscard]] std::string clean(std::string text) const;
  // Every text of it.
  [[nodiscard]] Error clean(const Error& error) const;

 private:
  std::vector<std::string> secrets_;  // longest first
};

}  // namespace img::registry
