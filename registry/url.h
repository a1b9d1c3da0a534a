// An http or https URL, taken apart by libcurl's own parser, so that what is checked here is what
// libcurl connects to. Credentials in a URL never show in str().
#pragma once

#include <initializer_list>
#include <memory>
#include <string>

namespace img::registry {

class Url {
 public:
  // Throws Kind::usage for anything that is no absolute http or https URL with a host.
  static Url parse(const std::string& text);
  // A Location header, absolute or relative. Throws Kind::denied for another scheme and for https
  // that leads to http (security.md C4).
  [[nodiscard]] Url resolve(const std::string& location) const;

  [[nodiscard]] std::string str() const;    // without user, password and fragment
  [[nodiscard]] std::string shown() const;  // for messages: without the query too, it may be signed
  [[nodiscard]] Url withQuery(const std::string& key, const std::string& value) const;  // appended
  [[nodiscard]] std::string origin() const;  // scheme://host:port
  [[nodiscard]] std::string host() const;
  [[nodiscard]] bool isSecure() const;
  // "user:password" as the URL has it, decoded; empty when it has none.
  [[nodiscard]] std::string credentials() const;
  [[nodiscard]] bool isLoopback() const;  // by its name or number: localhost, 127.0.0.0/8, ::1

 private:
  Url() = default;
  [[nodiscard]] std::string part(int which, unsigned flags = 0) const;
  [[nodiscard]] Url without(std::initializer_list<int> parts) const;
  void requireHttp(const std::string& shown) const;

  std::shared_ptr<void> handle_;  // CURLU
};

}  // namespace img::registry
