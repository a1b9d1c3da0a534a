// pull, and images that are pulled because a command needs them.
#include "cli/pull.h"

#include <fmt/format.h>

#include <array>
#include <memory>

#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/pull_display.h"
#include "cli/registry_options.h"
#include "cli/values.h"
#include "distribution/pull.h"
#include "distribution/pull_together.h"
#include "distribution/session.h"

namespace img::cli {
namespace {

constexpr std::array<std::pair<std::string_view, Pull>, 4> kPulls{{{"missing", Pull::missing},
                                                                   {"always", Pull::always},
                                                                   {"newer", Pull::newer},
                                                                   {"never", Pull::never}}};

// Who is offline, or has mistyped a name, does not wait long for a pull that nobody asked for.
constexpr int kImplicitTries = 2;

store::Reference withTag(store::Reference reference, const std::string& tag) {
  reference.tag = tag;
  return reference;
}

std::string fullName(const store::Reference& reference) {
  if (!reference.digest) return reference.full();
  return reference.repository() + "@" + reference.digest->str();
}

distribution::PullRequest requestOf(const store::Reference& reference, const ImageWish& wish) {
  distribution::PullRequest request;
  request.reference = reference;
  request.platform = wish.platform;
  request.access = wish.access;
  return request;
}

store::Image pullNow(Context& context, const store::Reference& reference, const ImageWish& wish) {
  if (wish.failure) throw Error{*wish.failure};
  const auto display = makePullDisplay(context, wish.isQuiet, wish.progress);
  return distribution::pullImage(context.store(), requestOf(reference, wish), *display).image;
}

// Nobody has said that the registry is to be asked.
bool isImplicitPull(const ImageWish& wish, bool isKnown) {
  return wish.pull == Pull::missing || (wish.pull == Pull::newer && isKnown);
}

// Answers that mean: nobody has it, or nobody could be asked. Others (a refused login, a damaged
// layer) are told as they are.
bool isAbsence(const Error& error) {
  static constexpr std::array<std::string_view, 6> kCodes{"manifest-unknown", "name-unknown",
                                                          "blob-unknown",     "unreachable",
                                                          "registry-blocked", "no-remote"};
  return std::find(kCodes.begin(), kCodes.end(), error.code()) != kCodes.end();
}

Error missingImage(const std::string& argument, const std::string& full, const Error* reason) {
  Error error = Error::make(Kind::notFound, "no such image: {}", text::escape(argument));
  error.code("image-not-found");
  std::string why = fmt::format("the store has no {}", text::escape(full));
  if (reason == nullptr) {
    why += ", and it is not to be pulled";
  } else {
    why += ", and it could not be pulled: " + reason->cause();
    if (!reason->why().empty()) why += ": " + reason->why();
  }
  error.why(why);
  if (reason != nullptr) {
    for (const std::string& hint : reason->hints()) error.hint(hint);
  }
  error.hint(
      "`img images` lists what is there; `img load -i FILE` brings an image in without a "
      "registry");
  return error;
}

// --pull=newer is content with what is there when the registry cannot be asked (podman-run(1)).
store::Image pullOrKeep(Context& context, const store::Reference& reference, const ImageWish& wish,
                        std::optional<store::Image> known) {
  try {
    return pullNow(context, reference, wish);
  } catch (const Error& error) {
    if (wish.pull != Pull::newer || !known || error.code() == "interrupted") throw;
    Error warning = error;
    warning.prefixCause("using the image that is there: ");
    context.warn(warning);
    return std::move(*known);
  }
}

std::pair<std::string, std::string> keyOf(const BaseImages::Named& image) {
  const auto& [name, platform] = image;
  if (!platform) return {name, ""};
  return {name, platform->os + "/" + platform->architecture + "/" + platform->variant};
}

struct PullOptions {
  ImageWish wish;
  bool allTags = false;
};

bool parsePullOptions(Context& context, const std::vector<std::string>& args, PullOptions& pull,
                      std::string& name) {
  std::string platform, policy = "always";
  Options options{context, "NAME[:TAG|@DIGEST]", "Pull an image from a registry"};
  options.flag("-q,--quiet", pull.wish.isQuiet, "Print nothing but the name")
      .text("--platform", platform, "OS/ARCH[/VARIANT]", "Platform of the image")
      .flag("-a,--all-tags", pull.allTags, "Pull all tags of the repository")
      .text("--policy", policy, "WHEN", "always, missing, newer or never (always)")
      .ignoredFlag("--disable-content-trust")
      .positionals(1, 1);
  addRegistryOptions(options, pull.wish.access);
  if (!options.parse(args)) return false;
  pull.wish.pull = parsePull(policy, "--policy");
  if (!platform.empty()) pull.wish.platform = parsePlatform(platform);
  name = options.words().front();
  return true;
}

std::vector<store::Reference> allTagsOf(const store::Reference& reference, const std::string& name,
                                        const ImageWish& wish) {
  const bool hasTag = name.find(':', name.rfind('/') == std::string::npos ? 0 : name.rfind('/')) !=
                      std::string::npos;
  if (reference.digest || hasTag)
    throw Error{Kind::usage, "--all-tags takes a name without a tag or digest"};
  distribution::Session session{reference, distribution::Action::pull, wish.access};
  std::vector<store::Reference> all;
  for (const std::string& tag : session.tags()) {
    // By the grammar of names: what a registry says is not believed (security.md M13).
    all.push_back(store::Reference::parse(withTag(reference, tag).full()));
  }
  if (all.empty()) {
    throw Error::make(Kind::notFound, "{} has no tags", reference.repository())
        .code("manifest-unknown");
  }
  return all;
}

int runPull(Context& context, const std::vector<std::string>& args) {
  PullOptions pull;
  std::string name;
  if (!parsePullOptions(context, args, pull, name)) return 0;
  const store::Reference reference = store::Reference::parse(name);
  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  std::vector<store::Reference> wanted{reference};
  if (pull.allTags) wanted = allTagsOf(reference, name, pull.wish);
  for (const store::Reference& each : wanted) {
    if (pull.wish.pull == Pull::always) {
      (void)pullNow(context, each, pull.wish);
    } else {
      (void)obtainImage(context, fullName(each), pull.wish);
    }
    context.print(fullName(each) + "\n");
  }
  return 0;
}

}  // namespace

Pull parsePull(const std::string& text, const std::string& option) {
  for (const auto& [word, pull] : kPulls) {
    if (text == word) return pull;
  }
  if (text == "true" || text == "1") return Pull::always;
  if (text == "false" || text == "0") return Pull::missing;
  throw Error::make(Kind::usage, "invalid value {} for {}", text::quote(text), option)
      .hint("use missing, always, newer or never");
}

store::Image obtainImage(Context& context, const std::string& argument, const ImageWish& wish) {
  const store::Images images{context.store(), wish.platform};
  const bool mayAsk = wish.pull == Pull::always || wish.pull == Pull::newer;
  std::optional<store::Image> known;
  try {
    known = images.find(argument);
  } catch (const Error& error) {
    // An index of which another platform was pulled.
    const bool isIncomplete = error.kind() == Kind::notFound && error.code().empty();
    if (wish.pull == Pull::never || !isIncomplete) throw;
  }
  if (known && !mayAsk) return std::move(*known);
  const store::Reference reference = store::Reference::parse(argument);
  if (wish.pull == Pull::never) throw missingImage(argument, fullName(reference), nullptr);
  ImageWish hasty = wish;
  if (isImplicitPull(wish, known.has_value()) && !wish.access.retries)
    hasty.access.connectTries = kImplicitTries;
  try {
    return pullOrKeep(context, reference, hasty, std::move(known));
  } catch (const Error& error) {
    if (known || !isAbsence(error)) throw;
    throw missingImage(argument, fullName(reference), &error);
  }
}

// What cannot be told by looking at the store is get()'s business.
bool BaseImages::mustPull(const Named& image) const {
  if (wish_.pull == Pull::never || known_.count(keyOf(image)) != 0) return false;
  if (wish_.pull != Pull::missing) return true;
  try {
    return !store::Images{context_.store(), image.second}.find(image.first);
  } catch (const Error&) {
    return false;
  }
}

void BaseImages::expect(const std::vector<Named>& images) {
  std::vector<Key> keys;
  std::vector<distribution::PullRequest> requests;
  for (const Named& image : images) {
    if (!mustPull(image)) continue;
    try {
      ImageWish wish = wish_;
      wish.platform = image.second;
      if (isImplicitPull(wish, false) && !wish.access.retries)
        wish.access.connectTries = kImplicitTries;
      requests.push_back(requestOf(store::Reference::parse(image.first), wish));
      keys.push_back(keyOf(image));
    } catch (const Error&) {
      continue;  // no reference: said with its place in the file
    }
  }
  if (requests.size() < 2) return;
  const auto display = makePullDisplay(context_, wish_.isQuiet, wish_.progress);
  auto failures = distribution::pullTogether(context_.store(), requests, *display);
  for (size_t i = 0; i < keys.size(); ++i) tried_[keys[i]] = std::move(failures[i]);
}

store::Image BaseImages::get(const std::string& name,
                             const std::optional<store::Platform>& platform) {
  const Key key = keyOf({name, platform});
  const auto found = known_.find(key);
  if (found != known_.end()) return found->second;
  ImageWish wish = wish_;
  wish.platform = platform;
  if (const auto tried = tried_.find(key); tried != tried_.end()) {
    wish.failure = tried->second;
    if (!wish.failure) wish.pull = Pull::missing;  // it is there now
  }
  return known_.emplace(key, obtainImage(context_, name, wish)).first->second;
}

void addPullCommand(CommandTable& table) {
  table.add({"pull,image pull", Group::images, "Pull an image from a registry", runPull});
}

}  // namespace img::cli
