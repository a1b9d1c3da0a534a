// Images that a command needs and the store may lack: `pull`, and what `run`, `create`, mounts and
// builds do about a missing image (cli.md 5, 10.1, 12).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/command.h"
#include "distribution/access.h"
#include "store/images.h"

namespace img::cli {

enum class Pull { missing, always, newer, never };
// `option` is for the message. Throws Kind::usage.
Pull parsePull(const std::string& text, const std::string& option);

struct ImageWish {
  Pull pull = Pull::missing;
  std::optional<store::Platform> platform;  // nullopt: this machine
  distribution::AccessOptions access;
  bool isQuiet = false;
  std::string progress;          // the word of a --progress; empty: as usual
  std::optional<Error> failure;  // of a pull for this very wish: it is not tried again
};

// The image that an argument means: a name, or the id of one that is here. The caller has a
// StoreUse. Throws Kind::notFound, code "image-not-found", whose reason tells what was tried.
store::Image obtainImage(Context& context, const std::string& argument, const ImageWish& wish);

// The same for a build, which gets one result for each name and platform.
class BaseImages {
 public:
  using Named = std::pair<std::string, std::optional<store::Platform>>;
  BaseImages(Context& context, ImageWish wish) : context_(context), wish_(std::move(wish)) {}
  // Pulls those that get() would pull side by side, if there are several. What goes wrong is said
  // by get().
  void expect(const std::vector<Named>& images);
  store::Image get(const std::string& name, const std::optional<store::Platform>& platform);

 private:
  using Key = std::pair<std::string, std::string>;
  [[nodiscard]] bool mustPull(const Named& image) const;
  Context& context_;
  ImageWish wish_;
  std::map<Key, store::Image> known_;
  std::map<Key, std::optional<Error>> tried_;  // by expect(); nullopt: it is in the store
};

}  // namespace img::cli
