#include "registry/url.h"

#include <curl/curl.h>

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
    throw Error::make(Kind::corrupt, "{} redirects to {}, which is no URL", str(),
                      text::quote(location));
  }
  const std::string scheme = target.part(CURLUPART_SCHEME);
  const bool isDowngrade = isSecure() && scheme != "https";
  if ((scheme != "http" && scheme != "https") || isDowngrade) {
    throw Error::make(Kind::denied, "{} redirects to {}, which is not followed", str(),
                      text::quote(location))
        .why(isDowngrade ? "a redirect from https to http would give up its protection"
                         : "only redirects to http and https are followed");
  }
  target.requireHttp(location);
  // A server must not make us log in anywhere with what it invents.
  curl_url_set(raw(target.handle_), CURLUPART_USER, nullptr, 0);
  curl_url_set(raw(target.handle_), CURLUPART_PASSWORD, nullptr, 0);
  return target;
}

std::string Url::str() const {
  Url clean;
  clean.handle_ = wrap(curl_url_dup(raw(handle_)));
  for (const CURLUPart secret : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_FRAGMENT}) {
    curl_url_set(raw(clean.handle_), secret, nullptr, 0);
  }
  return clean.part(CURLUPART_URL);
}

std::string Url::origin() const {
  return part(CURLUPART_SCHEME) + "://" + text::lower(host()) + ":" +
         part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::string Url::host() const {
  return part(CURLUPART_HOST);
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
