#include "builder/named_contexts.h"

#include "base/sys.h"
#include "base/text.h"
#include "builder/remote_url.h"
#include "parser/value_checks.h"
#include "store/foreign_layout.h"
#include "store/reference.h"

namespace img::builder {
namespace {

constexpr std::string_view kImage = "docker-image://", kLayout = "oci-layout://";

// `alpine`, `library/alpine` and `alpine:latest` are one name.
std::string normalName(const std::string& name) {
  std::string lower = text::lower(name);
  try {
    return store::Reference::parse(lower).full();
  } catch (const Error&) {
    return lower;  // the name of a stage need be no reference
  }
}

struct QualifiedName {
  std::string name, platform;  // empty: any
};
QualifiedName splitName(const std::string& written) {
  const size_t colons = written.find("::");
  if (colons == std::string::npos) return {normalName(written), ""};
  return {normalName(written.substr(0, colons)), written.substr(colons + 2)};
}

}  // namespace

NamedContexts::NamedContexts(const store::Layout& layout, const Request& request,
                             const ImageFinder& findImage, std::function<void()> pulse)
    : layout_(layout), request_(request), findImage_(findImage), pulse_(std::move(pulse)) {}

std::optional<NamedContext> NamedContexts::find(const std::string& name) {
  if (request_.contexts.empty()) return std::nullopt;
  const std::string* value = valueOf(name);
  if (value == nullptr) return std::nullopt;
  const auto known = opened_.find(*value);
  if (known != opened_.end()) return known->second;
  try {
    return opened_.emplace(*value, open(name, *value)).first->second;
  } catch (Error& error) {
    error.during("opening the context {}", text::quote(name));
    throw;
  }
}

parser::Platform NamedContexts::platform() const {
  return request_.platforms.empty() ? parser::hostPlatform() : request_.platforms.front();
}

// The last one given wins; one for our platform wins over one for any.
const std::string* NamedContexts::valueOf(const std::string& name) const {
  const parser::Platform ours = platform();
  const std::string wanted = normalName(name);
  const std::string* forAny = nullptr;
  const std::string* forOurs = nullptr;
  for (const auto& [written, value] : request_.contexts) {
    const QualifiedName qualified = splitName(written);
    if (qualified.name != wanted) continue;
    if (qualified.platform.empty()) {
      forAny = &value;
    } else if (parser::parsePlatform(qualified.platform).str() == ours.str()) {
      forOurs = &value;
    }
  }
  return forOurs != nullptr ? forOurs : forAny;
}

NamedContext NamedContexts::open(const std::string& name, const std::string& value) {
  if (value.starts_with(kImage)) return openImage(name, value.substr(kImage.size()));
  if (value.starts_with(kLayout)) return openLayout(value.substr(kLayout.size()));
  if (classifyContext(value) == SourceKind::local) return openFolder(value);
  const RemoteAccess access = remoteAccess(request_.step);
  trees_.push_back(openRemote(layout_, value, access, {false, pulse_}));
  NamedContext context;
  context.folder = std::make_shared<const Context>(trees_.back().path, IgnoreFile{});
  return context;
}

NamedContext NamedContexts::openFolder(const std::string& path) const {
  const auto folder = sys::tryOpenat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  if (!folder) {
    throw Error::make(Kind::notFound, "--build-context: {} is not a folder", text::quote(path))
        .hint(
            "a value is a folder, docker-image://REF, oci-layout://DIR[:TAG], or the URL of an "
            "archive or a git repository");
  }
  NamedContext context;
  const std::string store = sys::readlinkat(AT_FDCWD, sys::procPath(layout_.fd()));
  context.folder = std::make_shared<const Context>(path, findIgnoreFile("", path), store);
  return context;
}

NamedContext NamedContexts::openImage(const std::string& name, const std::string& reference) const {
  NamedContext context;
  if (reference == "scratch") return context;
  context.image = findImage_(reference);
  if (context.image) return context;
  throw Error::make(Kind::notFound, "--build-context {}: the store has no image {}",
                    text::escape(name), text::quote(reference))
      .code("base-not-found")
      .hint("`img images` lists what is there");
}

// PATH, PATH:TAG or PATH@sha256:HEX. A colon of the path itself stands before a slash.
NamedContext NamedContexts::openLayout(const std::string& place) const {
  std::string path = place, selector = "latest";
  if (const size_t at = place.find("@sha256:"); at != std::string::npos) {
    path = place.substr(0, at);
    selector = place.substr(at + 1);
  } else if (const size_t colon = place.rfind(':');
             colon != std::string::npos && place.find('/', colon) == std::string::npos) {
    path = place.substr(0, colon);
    selector = place.substr(colon + 1);
  }
  const auto folder = sys::tryOpenat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  if (!folder)
    throw Error::make(Kind::notFound, "--build-context: {} is not a folder", text::quote(path));
  NamedContext context;
  const parser::Platform wanted = platform();
  context.image = store::adoptImage(
      layout_, folder->get(), selector,
      {wanted.os, wanted.architecture, wanted.variant, wanted.osVersion}, text::quote(path));
  return context;
}

std::pair<std::string, std::string> parseNamedContext(const std::string& option) {
  const size_t equals = option.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == option.size()) {
    throw Error::make(Kind::usage, "--build-context {}: expected NAME=VALUE", text::quote(option));
  }
  std::pair<std::string, std::string> pair{option.substr(0, equals), option.substr(equals + 1)};
  const size_t colons = pair.first.find("::");
  if (colons != std::string::npos) parser::parsePlatform(pair.first.substr(colons + 2));
  const std::string name = text::lower(pair.first.substr(0, colons));
  if (name == "scratch" || name == "context") {
    throw Error::make(Kind::usage, "--build-context {}: this name cannot be replaced",
                      text::quote(option));
  }
  if (pair.second.starts_with("target:")) {
    throw Error::make(Kind::usage,
                      "--build-context {}: there is no other build here whose target "
                      "could be used",
                      text::quote(option));
  }
  return pair;
}

}  // namespace img::builder
