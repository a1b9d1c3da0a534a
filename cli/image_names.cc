// tag and rmi: names given to images and taken away, and images that go with their last name.
#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/image_facts.h"
#include "cli/options.h"
#include "store/gc.h"

namespace img::cli {
namespace {

int runTag(Context& context, const std::vector<std::string>& args) {
  Options options{context, "SOURCE NAME...", "Give an image more names"};
  options.positionals(2, kAnyNumber);
  if (!options.parse(args)) return 0;
  const auto& words = options.words();

  std::vector<std::string> names;
  for (size_t i = 1; i < words.size(); ++i) {
    const store::Reference name = store::Reference::parse(words[i]);
    if (name.digest) {
      throw Error::make(Kind::usage, "a name to give cannot hold a digest: {}",
                        text::quote(words[i]));
    }
    names.push_back(name.full());
  }
  const store::StoreUse use{context.store()};
  const store::Images images{context.store()};
  // The entry itself where the source is a name, not what it resolves to on this machine: an index
  // stays an index.
  store::Descriptor descriptor = images.get(words[0]).manifestDescriptor;
  const std::vector<store::ImageRow> rows = images.list();
  for (const std::string& name : namesMeantBy(words[0])) {
    const auto row = std::find_if(rows.begin(), rows.end(),
                                  [&](const store::ImageRow& r) { return r.name == name; });
    if (row == rows.end()) continue;
    descriptor = row->descriptor;
    break;
  }
  images.publish(descriptor, names);
  return 0;
}

// What one argument of rmi means.
struct Target {
  store::Image image;
  std::optional<std::string> name;  // full form, when the argument is a name; else it is an id
  std::vector<std::string> names;   // all names of the image
};

bool isIdOf(const store::Image& image, std::string_view argument) {
  const size_t at = argument.find('@');  // NAME@DIGEST
  if (at != std::string_view::npos) return true;
  if (argument.starts_with("sha256:")) argument.remove_prefix(7);
  return image.id.hex().starts_with(argument);
}

Target findTarget(const store::Layout& layout, store::Documents& documents,
                  const std::string& argument) {
  const store::Images images{layout};
  Target target;
  target.image = images.get(argument);
  target.names = namesOf(layout, documents, target.image);
  for (const std::string& candidate : namesMeantBy(argument)) {
    const auto found = std::find(target.names.begin(), target.names.end(), candidate);
    if (found == target.names.end()) continue;
    target.name = candidate;
    break;
  }
  if (target.name || isIdOf(target.image, argument)) return target;
  // The name was moved or taken away between the two looks.
  throw Error::make(Kind::notFound, "no such image: {}", text::escape(argument))
      .code("image-not-found");
}

// A container needs its image's config and layers; a running one keeps them whatever is asked.
void refuseUsed(const store::Layout& layout, const Target& target, const std::string& argument,
                bool force) {
  const std::vector<ContainerUser> users = usersOf(layout, target.image);
  if (users.empty()) return;
  const auto alive = std::find_if(users.begin(), users.end(),
                                  [](const ContainerUser& user) { return user.isAlive; });
  const bool isAlive = alive != users.end();
  if (force && !isAlive) return;
  const ContainerUser& user = isAlive ? *alive : users.front();
  Error error = Error::make(Kind::busy, "image {} is used by {}container {}",
                            text::escape(argument), isAlive ? "running " : "", user.name);
  error.code("image-in-use");
  error.why(fmt::format("container {} ({}) was made from it", user.id.substr(0, 12), user.name));
  error.hint(isAlive ? fmt::format("stop it first: img rm -f {}", user.name)
                     : fmt::format("remove it with 'img rm {}', or give -f", user.name));
  throw error;
}

// Removes the entries that are left, and says what went. An image that a container still needs
// stays, without a name.
std::string deleteImage(Context& context, store::Collector& collector, const Target& target) {
  const store::Images images{context.store()};
  const auto rowsOf = [&] {
    std::vector<store::ImageRow> rows = images.list();
    std::erase_if(rows, [&](const auto& row) {
      return !resolvesTo(context.store(), collector.documents(), row, target.image);
    });
    return rows;
  };
  // Only what has no name: one that was given meanwhile is somebody's.
  std::set<Digest> nameless;
  for (const store::ImageRow& row : rowsOf()) {
    if (!row.name) nameless.insert(row.descriptor.digest);
  }
  std::ignore = images.removeUnused(nameless, false);
  const std::vector<store::ImageRow> left = rowsOf();
  if (!left.empty()) {
    const bool hasName =
        std::any_of(left.begin(), left.end(), [](const auto& row) { return row.name.has_value(); });
    if (!hasName) {
      context.notice(fmt::format("image {} stays without a name until its containers are removed\n",
                                 target.image.id.shortHex()));
    }
    return {};
  }
  std::string out = fmt::format("Deleted: {}\n", target.image.id.str());
  for (const Digest& layer : store::collectGarbage(collector).layers) {
    out += fmt::format("Deleted: {}\n", layer.str());
  }
  return out;
}

// False: somebody else was faster.
bool tryUntag(const store::Images& images, const std::string& name) {
  try {
    (void)images.untag(name);
    return true;
  } catch (const Error& error) {
    if (error.kind() != Kind::notFound) throw;
    return false;
  }
}

// `collector`: one for all arguments of a command, so that each document is read once.
void removeTarget(Context& context, store::Collector& collector, const std::string& argument,
                  bool force) {
  const store::Layout& layout = context.store();
  const store::Images images{layout};
  const Target target = findTarget(layout, collector.documents(), argument);
  if (target.name && target.names.size() > 1) {  // the image stays
    (void)images.untag(*target.name);
    context.print(fmt::format("Untagged: {}\n", familiarName(*target.name)));
    return;
  }
  if (!target.name && target.names.size() > 1 && !force) {
    std::vector<std::string> familiar;
    for (const std::string& name : target.names) familiar.push_back(familiarName(name));
    throw Error::make(Kind::busy, "image {} has several names", text::escape(argument))
        .code("image-in-use")
        .why("its names are " + text::join(familiar, ", "))
        .hint("remove it with all its names: img rmi -f " + argument);
  }
  refuseUsed(layout, target, argument, force);
  std::string out;
  for (const std::string& name : target.names) {
    if (!tryUntag(images, name)) continue;
    out += fmt::format("Untagged: {}\n", familiarName(name));
  }
  context.print(out + deleteImage(context, collector, target));
}

int runRmi(Context& context, const std::vector<std::string>& args) {
  bool force = false;
  bool ignoreMissing = false;
  bool all = false;
  Options options{context, "NAME...", "Remove names, and images with their last name"};
  options.flag("-f,--force", force, "Also an image with several names or of stopped containers")
      .flag("-i,--ignore", ignoreMissing, "A missing image is no error")
      .flag("-a,--all", all, "All images")
      .ignoredFlag("--no-prune")
      .positionals(0, kAnyNumber);
  if (!options.parse(args)) return 0;
  std::vector<std::string> targets = options.words();
  if (targets.empty() && !all) {
    throw Error{Kind::usage, "\"img rmi\" requires at least 1 argument"};
  }
  if (all) {
    for (const store::ImageRow& row : store::Images{context.store()}.list()) {
      const store::Image image = store::Images{context.store()}.load(row.descriptor);
      targets.push_back(row.name ? *row.name : image.id.str());
    }
  }
  store::Collector collector{context.store()};
  for (const std::string& target : targets) {
    try {
      removeTarget(context, collector, target, force);
    } catch (const Error& error) {
      const bool isMissing = error.kind() == Kind::notFound && error.code() == "image-not-found";
      if (isMissing && ignoreMissing) continue;
      if (isMissing && force) {  // a message, but success: cli.md section 3
        context.report(error);
        continue;
      }
      context.fail(error);
    }
  }
  return context.status();
}

}  // namespace

void addImageNameCommands(CommandTable& table) {
  table.add({"tag,image tag", Group::images, "Give an image more names", runTag});
  table.add({"rmi,image rm,image remove", Group::images, "Remove images", runRmi});
}

}  // namespace img::cli
