// --build-context NAME=VALUE (dockerfile.md 5.4): what stands for a name instead of a stage or an
// image. Nothing is opened before a needed stage asks for it.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>

#include "builder/plan.h"
#include "builder/remote_context.h"
#include "store/layout.h"

namespace img::builder {

class NamedContexts {
 public:
  // Borrows all; `pulse` is called during long work, and may throw.
  NamedContexts(const store::Layout& layout, const Request& request, const ImageFinder& findImage,
                std::function<void()> pulse);

  // For a stage's name, the name of FROM or --from.
  std::optional<NamedContext> find(const std::string& name);

 private:
  [[nodiscard]] parser::Platform platform() const;  // of the image that is built
  [[nodiscard]] const std::string* valueOf(const std::string& name) const;
  NamedContext open(const std::string& name, const std::string& value);
  [[nodiscard]] NamedContext openFolder(const std::string& path) const;
  [[nodiscard]] NamedContext openImage(const std::string& name, const std::string& reference) const;
  [[nodiscard]] NamedContext openLayout(const std::string& place) const;

  const store::Layout& layout_;
  const Request& request_;
  const ImageFinder& findImage_;
  std::function<void()> pulse_;
  std::map<std::string, NamedContext> opened_;  // by value
  std::list<RemoteTree> trees_;
};

// `NAME=VALUE` of the option, checked as far as that needs no file. Throws Kind::usage.
std::pair<std::string, std::string> parseNamedContext(const std::string& option);

}  // namespace img::builder
