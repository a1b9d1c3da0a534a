#include "registry/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include "base/error.h"
#include "base/text.h"

namespace img::registry {
namespace {

CURLU* raw(const std::shared_ptr<void>& handle) {
  return static_cast<CURLU*>(handle.get());
}

std::shared_ptr<void> wrap(CURLU* handle) {
  if (handle == nullptr) throw Error{Kind::failed, "out of memory for a URL"};
  return {handle, [](void* pointer) { curl_url_cleanup(static_cast<CURLU*>(pointer)); }};
}

// Signed URLs carry their secret in the query.
std::string shownLocation(const std::string& location) {
  return text::quote(std::string_view{location}.substr(0, location.find_first_of("?#")));
}

}  // namespace

std::string Url::part(int which, unsigned flags) const {
  char* text = nullptr;
  if (curl_url_get(raw(handle_), static_cast<CURLUPart>(which), &text, flags) != CURLUE_OK)
    return {};
  std::string copy{text};
  curl_free(text);
  return copy;
}

void Url::requireHttp(const std::string& shown) const {
  const std::string scheme = part(CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") {
    throw Error::make(Kind::usage, "{}: only http and https are fetched", text::quote(shown));
  }
  if (host().empty()) throw Error::make(Kind::usage, "{}: there is no host", text::quote(shown));
}

Url Url::parse(const std::string& text) {
  Url url;
  url.handle_ = wrap(curl_url());
  // Without CURLU_GUESS_SCHEME a URL must say what it is.
  const CURLUcode code =
      curl_url_set(raw(url.handle_), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME);
  if (code != CURLUE_OK || text.find('\0') != std::string::npos) {
    throw Error::make(Kind::usage, "{} is no URL: {}", text::quote(text), curl_url_strerror(code));
  }
  url.requireHttp(text);
  return url;
}

Url Url::resolve(const std::string& location) const {
  Url target;
  target.handle_ = wrap(curl_url_dup(raw(handle_)));
  const CURLUcode code =
      curl_url_set(raw(target.handle_), CURLUPART_URL, location.c_str(), CURLU_NON_SUPPORT_SCHEME);
  if (code != CURLUE_OK) {
    throw Error::make(Kind::corrupt, "{} redirects to {}, which is no URL", shown(),
                      shownLocation(location));
  }
  const std::string scheme = target.part(CURLUPART_SCHEME);
  const bool isDowngrade = isSecure() && scheme != "https";
  if ((scheme != "http" && scheme != "https") || isDowngrade) {
    Error error = Error::make(Kind::denied, "{} leads to {}, which is not followed", shown(),
                              shownLocation(location));
    // Whoever words the error anew keeps the reason.
    error.why(fmt::format("{} leads to {}: {}", shown(), shownLocation(location),
                          isDowngrade ? "from https to http all protection would be lost"
                                      : "only addresses with http and https are followed"));
    if (isDowngrade) {
      error.hint(
          "a registry behind a proxy that speaks https for it has to know so: X-Forwarded-Proto, "
          "or http.host and http.relativeurls of its configuration");
    }
    throw error;
  }
  target.requireHttp(location);
  // A server must not make us log in anywhere with what it invents.
  curl_url_set(raw(target.handle_), CURLUPART_USER, nullptr, 0);
  curl_url_set(raw(target.handle_), CURLUPART_PASSWORD, nullptr, 0);
  return target;
}

Url Url::without(std::initializer_list<int> parts) const {
  Url clean;
  clean.handle_ = wrap(curl_url_dup(raw(handle_)));
  for (const int which : parts) {
    curl_url_set(raw(clean.handle_), static_cast<CURLUPart>(which), nullptr, 0);
  }
  return clean;
}

std::string Url::str() const {
  return without({CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_FRAGMENT}).part(CURLUPART_URL);
}

std::string Url::shown() const {
  return without({CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_FRAGMENT, CURLUPART_QUERY})
      .part(CURLUPART_URL);
}

Url Url::withQuery(const std::string& key, const std::string& value) const {
  Url longer = without({});
  const std::string pair = key + "=" + value;
  const CURLUcode code = curl_url_set(raw(longer.handle_), CURLUPART_QUERY, pair.c_str(),
                                      CURLU_APPENDQUERY | CURLU_URLENCODE);
  if (code != CURLUE_OK) throw Error{Kind::failed, "out of memory for a URL"};
  return longer;
}

std::string Url::origin() const {
  return part(CURLUPART_SCHEME) + "://" + text::lower(host()) + ":" +
         part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::string Url::host() const {
  return part(CURLUPART_HOST);
}

bool Url::isLoopback() const {
  const std::string name = text::lower(host());
  if (name == "localhost" || name.ends_with(".localhost")) return true;
  if (name == "[::1]") return true;
  in_addr address{};
  return ::inet_pton(AF_INET, name.c_str(), &address) == 1 &&
         (ntohl(address.s_addr) >> 24) == IN_LOOPBACKNET;
}

bool Url::isSecure() const {
  return part(CURLUPART_SCHEME) == "https";
}

std::string Url::credentials() const {
  const std::string user = part(CURLUPART_USER, CURLU_URLDECODE);
  const std::string password = part(CURLUPART_PASSWORD, CURLU_URLDECODE);
  return user.empty() && password.empty() ? "" : user + ":" + password;
}

}  // namespace img::registry
