#include "cli/inspect.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/lists.h"
#include "cli/options.h"
#include "cli/template.h"

namespace img::cli {
namespace {

struct ObjectKind {
  std::string_view name;
  Inspector inspect;
};

// In the order of the search.
constexpr std::array<ObjectKind, 3> kKinds{
    {{"container", inspectContainer}, {"image", inspectImage}, {"volume", inspectVolume}}};

// Keys that docker leaves out of its JSON when they are empty, while a template may still ask for
// them.
constexpr std::array<std::string_view, 8> kLeftOutWhenEmpty{
    "ExposedPorts", "Healthcheck", "StopSignal", "StopTimeout",
    "Shell",        "Health",      "Variant",    "OsVersion"};

void leaveOutEmpty(Json& object) {
  for (const std::string_view key : kLeftOutWhenEmpty) {
    const auto found = object.find(key);
    if (found != object.end() && (found->empty() || *found == "")) object.erase(found);
  }
  for (const std::string_view part : {"Config", "State"}) {
    const auto found = object.find(part);
    if (found != object.end() && found->is_object()) leaveOutEmpty(*found);
  }
}

std::optional<Json> findFirst(Context& context, const std::string& name,
                              const std::vector<Inspector>& inspectors, bool withSize) {
  for (const Inspector inspect : inspectors) {
    if (auto found = inspect(context, name, withSize)) return found;
  }
  return std::nullopt;
}

void printFound(Context& context, std::vector<Json> found, const std::string& format) {
  constexpr int kIndent = 4;
  for (Json& object : found) leaveOutEmpty(object);
  const Json all = std::move(found);
  if (format == "json") {
    context.print(dumpJson(all) + "\n");
  } else {
    // Untrusted strings may hold bytes that are no UTF-8; JSON shows U+FFFD there.
    context.print(all.dump(kIndent, ' ', false, Json::error_handler_t::replace) + "\n");
  }
}

int runInspect(Context& context, const std::vector<std::string>& args) {
  std::string format;
  std::string type;
  bool withSize = false;
  Options options{context, "NAME...", "Show what is known about containers, images and volumes"};
  options.text("-f,--format", format, "FORMAT", "json or a template")
      .text("--type", type, "TYPE", "Only container, image or volume")
      .flag("-s,--size", withSize, "Sizes of containers too")
      .positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;

  std::vector<Inspector> inspectors;
  for (const ObjectKind& kind : kKinds) {
    if (type.empty() || type == kind.name) inspectors.push_back(kind.inspect);
  }
  if (inspectors.empty()) {
    throw Error::make(Kind::usage, "invalid value {} for --type", text::quote(type))
        .hint("use container, image or volume");
  }
  return inspectAll(context, options.words(), inspectors, format, withSize,
                    type.empty() ? "object" : type);
}

// `img image inspect` and the like look at one kind only.
template <size_t Which>
int runInspectOne(Context& context, const std::vector<std::string>& args) {
  const ObjectKind& kind = kKinds[Which];
  std::string format;
  bool withSize = false;
  Options options{context, "NAME...", fmt::format("Show what is known about {}s", kind.name)};
  options.text("-f,--format", format, "FORMAT", "json or a template")
      .flag("-s,--size", withSize, "Sizes of containers too")
      .positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  return inspectAll(context, options.words(), {kind.inspect}, format, withSize,
                    std::string{kind.name});
}

}  // namespace

int inspectAll(Context& context, const std::vector<std::string>& names,
               const std::vector<Inspector>& inspectors, const std::string& format, bool withSize,
               const std::string& what) {
  std::optional<Template> shape;
  const bool isTemplate = !format.empty() && format != "json";
  if (isTemplate) shape.emplace(format);
  std::vector<Json> found;
  std::vector<Error> errors;
  std::string out;
  for (const std::string& name : names) {
    try {
      auto object = findFirst(context, name, inspectors, withSize);
      if (!object) {
        throw Error::make(Kind::notFound, "no such {}: {}", what, text::escape(name))
            .code("not-found");
      }
      if (shape) out += shape->run(*object) + "\n";
      found.push_back(std::move(*object));
    } catch (const Error& error) {
      errors.push_back(error);
    }
  }
  if (isTemplate) {
    context.print(out);
  } else {
    printFound(context, std::move(found), format);
  }
  for (const Error& error : errors) context.fail(error);
  return context.status();
}

void addInspectCommands(CommandTable& table) {
  table.add(
      {"inspect", Group::system, "Show details of containers, images and volumes", runInspect});
  table.add(
      {"container inspect", Group::containers, "Show details of containers", runInspectOne<0>});
  table.add({"image inspect", Group::images, "Show details of images", runInspectOne<1>});
  table.add({"volume inspect", Group::volumes, "Show details of volumes", runInspectOne<2>});
}

}  // namespace img::cli
