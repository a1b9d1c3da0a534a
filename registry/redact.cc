#include "registry/redact.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"

namespace img::registry {
namespace {

constexpr std::string_view kMask = "***";
constexpr size_t kShortestSecret = 4;

void replaceAll(std::string& text, const std::string& what) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += kMask.size()) {
    text.replace(at, what.size(), kMask);
  }
}

// Masks what follows `key` (in lower case) up to one of `ends`.
void maskAfter(std::string& text, std::string_view key, std::string_view ends) {
  for (size_t at = 0; (at = text::lower(text).find(key, at)) != std::string::npos;) {
    const size_t begin = at + key.size();
    const size_t end = std::min(text.find_first_of(ends, begin), text.size());
    if (end > begin) text.replace(begin, end - begin, kMask);
    at = begin + 1;
    if (at >= text.size()) break;
  }
}

// scheme://user:password@host
void maskUserInfo(std::string& text) {
  for (size_t at = 0; (at = text.find("://", at)) != std::string::npos;) {
    at += 3;
    const size_t end = std::min(text.find_first_of("/?# \t\"'", at), text.size());
    const size_t sign = text.rfind('@', end);
    if (sign != std::string::npos && sign >= at && sign < end) text.replace(at, sign - at, kMask);
  }
}

// Parameters of signed URLs and forms; the x-amz- family by its beginning.
void maskParameters(std::string& text) {
  constexpr std::string_view kEnds = "& \t\r\n\"'<>,;)";
  for (const std::string_view key :
       {"token=", "access_token=", "refresh_token=", "password=", "signature=", "sig=", "_state=",
        "policy=", "key-pair-id=", "x-amz-signature=", "x-amz-credential=", "x-amz-security-token=",
        "x-goog-signature=", "x-goog-credential="}) {
    maskAfter(text, key, kEnds);
  }
  maskAfter(text, "bearer ", " \t\r\n\"',");
  maskAfter(text, "basic ", " \t\r\n\"',");
}

void cleanAll(Json& value, const Redactor& redactor) {
  if (value.is_string()) {
    value = redactor.clean(value.get<std::string>());
  } else if (value.is_structured()) {
    for (Json& item : value) cleanAll(item, redactor);
  }
}

}  // namespace

void Redactor::remember(const std::string& secret) {
  if (secret.size() < kShortestSecret) return;
  if (std::find(secrets_.begin(), secrets_.end(), secret) != secrets_.end()) return;
  secrets_.push_back(secret);
  std::stable_sort(secrets_.begin(), secrets_.end(),
                   [](const auto& a, const auto& b) { return a.size() > b.size(); });
}

std::string Redactor::clean(std::string text) const {
  for (const std::string& secret : secrets_) replaceAll(text, secret);
  maskUserInfo(text);
  maskParameters(text);
  return text;
}

Error Redactor::clean(const Error& error) const {
  Json document = parseJson(error.toJson(), "an error");
  cleanAll(document, *this);
  return Error::fromJson(dumpJson(document));
}

}  // namespace img::registry
