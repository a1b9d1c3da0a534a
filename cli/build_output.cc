#include "cli/build_output.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "base/compress.h"
#include "base/environment.h"
#include "base/text.h"
#include "builder/build.h"
#include "cli/values.h"
#include "store/reference.h"

namespace img::cli {
namespace {

using builder::Annotation;
using builder::Output;

constexpr std::array<std::pair<std::string_view, Annotation::Level>, 4> kLevels = {
    {{"manifest", Annotation::Level::manifest},
     {"index", Annotation::Level::index},
     {"manifest-descriptor", Annotation::Level::manifestDescriptor},
     {"index-descriptor", Annotation::Level::indexDescriptor}}};

[[noreturn]] void fail(std::string_view what, std::string_view problem) {
  throw Error::make(Kind::usage, "{}: {}", text::escape(what), problem);
}

parser::Platform platformOf(std::string_view text, std::string_view what) {
  if (text == "local") return parser::hostPlatform();
  try {
    return parser::parsePlatform(text);
  } catch (const Error& error) {
    fail(what, error.cause());
  }
}

// "manifest[linux/arm64]", the level and its platform.
Annotation levelOf(std::string_view text, std::string_view what) {
  Annotation annotation;
  std::string_view name = text;
  if (const size_t open = text.find('['); open != std::string_view::npos) {
    if (!text.ends_with(']')) fail(what, "a \"[\" without its \"]\"");
    annotation.platform = platformOf(text.substr(open + 1, text.size() - open - 2), what);
    name = text.substr(0, open);
  }
  const auto found = std::find_if(kLevels.begin(), kLevels.end(),
                                  [&](const auto& level) { return level.first == name; });
  if (found == kLevels.end()) {
    fail(what, fmt::format("{} is no level: use manifest, index, manifest-descriptor or "
                           "index-descriptor",
                           text::quote(name)));
  }
  annotation.level = found->second;
  return annotation;
}

std::optional<int> levelNumber(std::string_view text, std::string_view what) {
  const auto number = text::parseUnsigned(text);
  if (!number || *number > 1000) fail(what, "the level is no number: " + text::quote(text));
  return static_cast<int>(*number);
}

Compression compressionNamed(std::string_view name, std::string_view what) {
  if (name == "none" || name == "uncompressed") return Compression::none;
  if (name == "gzip") return Compression::gzip;
  if (name == "zstd") return Compression::zstd;
  fail(what, fmt::format("{}: use none, gzip or zstd", text::quote(name)));
}

// Reads the attributes of one -o into an Output.
class OutputParser {
 public:
  explicit OutputParser(std::string_view text) : what_("--output " + std::string{text}) {}

  Output parse(const std::vector<std::string>& fields) {
    for (const std::string& field : fields) {
      if (field.find('=') == std::string::npos)
        fail(what_, fmt::format("{} is no KEY=VALUE", text::quote(field)));
      take(splitAssignment(field));
    }
    finish();
    return output_;
  }

 private:
  void take(const std::pair<std::string, std::string>& field) {
    const auto& [written, value] = field;
    if (written.starts_with("annotation")) return takeAnnotation(written, value);
    const std::string key = text::lower(written);
    if (takeGeneral(key, value) || takeForm(key, value)) return;
    fail(what_, fmt::format("unknown attribute {}", text::quote(written)));
  }

  bool takeGeneral(const std::string& key, const std::string& value) {
    if (key == "type") {
      type_ = value;
    } else if (key == "dest") {
      output_.dest = value;
    } else if (key == "name") {
      for (const std::string& name : text::split(value, ','))
        output_.names.push_back(store::Reference::parse(name).full());
    } else if (key == "tar") {
      output_.isFolder = !boolean(key, value);
    } else if (key == "mode") {
      if (value != "delete" && value != "copy")
        fail(what_, fmt::format("mode={}: use copy or delete", text::quote(value)));
      output_.deletesOthers = value == "delete";
    } else if (key == "platform-split") {
      output_.isPlatformSplit = boolean(key, value);
    } else if (key == "push" || key == "push-by-digest") {
      isPushed_ = isPushed_ || boolean(key, value);
    } else {
      // About containerd's image store, which there is none of here.
      return key == "store" || key == "unpack" || key == "name-canonical" ||
             key == "dangling-name-prefix";
    }
    return true;
  }

  bool takeForm(const std::string& key, const std::string& value) {
    builder::ImageForm& form = output_.form;
    if (key == "oci-mediatypes") {
      form.isDocker = !boolean(key, value);
    } else if (key == "compression") {
      compression().kind = compressionNamed(value, what_);
      hasCompression_ = true;
    } else if (key == "compression-level") {
      compression().level = levelNumber(value, what_);
    } else if (key == "force-compression") {
      compression().isForced = boolean(key, value);
    } else if (key == "rewrite-timestamp") {
      form.isRewritten = boolean(key, value);
    } else if (key == "source-date-epoch") {
      form.epoch.emplace();
      if (!value.empty()) *form.epoch = builder::parseEpoch(value);
    } else {
      return false;
    }
    return true;
  }

  // annotation[-LEVEL][[PLATFORM]].KEY=VALUE (dockerfile.md 7.7)
  void takeAnnotation(std::string_view written, const std::string& value) {
    std::string_view rest = written.substr(std::string_view{"annotation"}.size());
    // The platform may hold dots: windows(10.0)/amd64.
    const size_t close = rest.find(']');
    const size_t dot = rest.find('.', close == std::string_view::npos ? 0 : close);
    if (dot == std::string_view::npos || dot + 1 == rest.size())
      fail(what_, fmt::format("{} names no key", text::quote(written)));
    std::string level{rest.substr(0, dot)};
    level = level.starts_with('-') ? level.substr(1) : "manifest" + level;
    Annotation annotation = levelOf(level, what_);
    annotation.key = rest.substr(dot + 1);
    annotation.value = value;
    output_.form.annotations.push_back(std::move(annotation));
  }

  void finish() {
    static const std::map<std::string, Output::Type> kTypes = {
        {"image", Output::Type::image},      {"local", Output::Type::local},
        {"tar", Output::Type::tar},          {"oci", Output::Type::oci},
        {"docker", Output::Type::docker},    {"cacheonly", Output::Type::cacheOnly},
        {"registry", Output::Type::registry}};
    if (type_.empty()) fail(what_, "it has no type");
    const auto found = kTypes.find(type_);
    if (found == kTypes.end()) {
      fail(what_, fmt::format("{} is no type of output: use image, local, tar, oci, docker, "
                              "cacheonly or registry",
                              text::quote(type_)));
    }
    output_.type = found->second;
    output_.isPushed = isPushed_ && output_.type != Output::Type::registry;
    if (output_.isPushed && output_.type != Output::Type::image)
      fail(what_, "push=true is for type=image");
    settle();
  }

  void settle() {
    using Type = Output::Type;
    const Type type = output_.type;
    // Into the store, as docker's local daemon would take it.
    if (type == Type::docker && output_.dest.empty()) output_.type = Type::image;
    if (type == Type::local && output_.dest.empty()) fail(what_, "it needs dest=DIR");
    if (type == Type::local && output_.dest == "-") fail(what_, "a folder cannot go to stdout");
    if (output_.isFolder && type != Type::oci) fail(what_, "tar=false is for type=oci");
    if (output_.isFolder && (output_.dest.empty() || output_.dest == "-"))
      fail(what_, "tar=false needs dest=DIR");
    if ((type == Type::tar || type == Type::oci) && output_.dest.empty()) output_.dest = "-";
    if (output_.deletesOthers && type != Type::local) fail(what_, "mode=delete is for type=local");
    if (!output_.form.compression) return;
    // A level or force alone is about gzip, docker's compression.
    if (!hasCompression_) compression().kind = Compression::gzip;
    if (const auto level = compression().level) checkCompressionLevel(compression().kind, *level);
  }

  [[nodiscard]] bool boolean(const std::string& key, const std::string& value) const {
    return parseBool(value, what_ + ": " + key);
  }
  builder::LayerCompression& compression() {
    if (!output_.form.compression) output_.form.compression.emplace();
    return *output_.form.compression;
  }

  std::string what_;
  Output output_;
  std::string type_;
  bool isPushed_ = false, hasCompression_ = false;
};

std::vector<parser::Platform> platformsOf(const std::vector<std::string>& lists) {
  std::vector<std::string> words = lists;
  if (words.empty()) words.push_back(variableOrEmpty("DOCKER_DEFAULT_PLATFORM"));
  std::vector<parser::Platform> platforms;
  for (const std::string& list : words) {
    for (const std::string& word : text::split(list, ',')) {
      if (word.empty()) continue;
      const parser::Platform platform = platformOf(word, "--platform " + word);
      if (std::find(platforms.begin(), platforms.end(), platform) == platforms.end())
        platforms.push_back(platform);
    }
  }
  return platforms;
}

void setTimes(const OutputOptions& options, builder::Request& request) {
  using Times = builder::OutputRequest::LayerTimes;
  if (!options.timestamp.empty() && !options.epoch.empty())
    throw Error{Kind::usage, "--timestamp and --source-date-epoch exclude each other"};
  const std::string& seconds = options.timestamp.empty() ? options.epoch : options.timestamp;
  // The last one given wins, over --build-arg and the environment (cli.md 9.6).
  if (!seconds.empty()) request.buildArgs.emplace_back("SOURCE_DATE_EPOCH", seconds);
  if (!parseBool(options.rewritesTimes, "--rewrite-timestamp")) {
    request.output.layerTimes = Times::keep;
  } else if (!options.timestamp.empty()) {
    request.output.layerTimes = Times::set;
  }
}

void setForm(const OutputOptions& options, const std::string& format, builder::ImageForm& form) {
  if (!format.empty()) {
    if (format != "oci" && format != "docker")
      throw Error::make(Kind::usage, "--format {}: use oci or docker", text::quote(format));
    form.isDocker = format == "docker";
  }
  if (!options.compression.empty())
    form.compression = parseCompression(options.compression, "--compression");
  for (const std::string& text : options.annotations) {
    for (Annotation& annotation : parseAnnotation(text))
      form.annotations.push_back(std::move(annotation));
  }
}

// An image that is stored anyway is pushed in its form; else what was built is (buildx: --push is
// short for --output=type=registry).
void addPush(builder::OutputRequest& request) {
  bool isThere = false;
  for (Output& output : request.outputs) {
    if (output.type == Output::Type::image) output.isPushed = true;
    isThere = isThere || output.isPushed || output.type == Output::Type::registry;
  }
  if (isThere) return;
  request.outputs.emplace_back().type = Output::Type::registry;
}

}  // namespace

builder::LayerCompression parseCompression(std::string_view text, std::string_view what) {
  builder::LayerCompression compression;
  const size_t colon = text.find(':');
  compression.kind = compressionNamed(text.substr(0, colon), what);
  if (colon == std::string_view::npos) return compression;
  compression.level = levelNumber(text.substr(colon + 1), what);
  checkCompressionLevel(compression.kind, *compression.level);
  return compression;
}

std::vector<builder::Annotation> parseAnnotation(std::string_view text) {
  const std::string what = "--annotation " + std::string{text};
  std::string_view rest = text;
  std::vector<Annotation> annotations;
  const size_t equals = text.find('=');
  const size_t colon = text.find(':');
  if (colon < equals) {
    for (const std::string& level : text::split(text.substr(0, colon), ','))
      annotations.push_back(levelOf(level, what));
    rest = text.substr(colon + 1);
  } else {
    annotations.emplace_back();
  }
  const auto [key, value] = splitAssignment(rest);
  if (key.empty() || equals == std::string_view::npos) fail(what, "it is no KEY=VALUE");
  for (Annotation& annotation : annotations) {
    annotation.key = key;
    annotation.value = value;
  }
  return annotations;
}

builder::Output parseOutput(std::string_view text) {
  const std::string what = "--output " + std::string{text};
  const std::vector<std::string> fields = parseCsv(text, what);
  if (fields.empty() || fields.front().empty()) fail(what, "it is empty");
  if (fields.size() > 1 || fields.front().find('=') != std::string::npos)
    return OutputParser{text}.parse(fields);
  Output output;
  output.dest = fields.front();
  output.type = output.dest == "-" ? Output::Type::tar : Output::Type::local;
  return output;
}

void OutputOptions::addTo(Options& options) {
  options.group("The result")
      .list(
          "-o,--output", outputs, "SPEC",
          "Where it goes: DIR, - or type=image|local|tar|oci|docker|registry|cacheonly[,dest=...]")
      .list("--platform", platforms, "OS/ARCH[/VARIANT][,...]",
            "Platforms of the result ($DOCKER_DEFAULT_PLATFORM, this machine's)")
      .flag("--squash", squash, "All layers of this build become one on top of the base")
      .flag("--squash-all", squashAll, "The layers of the base as well")
      .list("--annotation", annotations, "[LEVEL:]K=V",
            "Add an annotation to the manifest (or index, manifest-descriptor, index-descriptor)")
      .text("--compression", compression, "none|gzip|zstd[:LEVEL]", "Of the layers (none)")
      .text("--source-date-epoch", epoch, "SECONDS",
            "Time of the image; no file of a new layer is later ($SOURCE_DATE_EPOCH)")
      .text("--timestamp", timestamp, "SECONDS", "The same, and every file gets this time")
      .list("--env", env, "K=V", "Set a variable in the finished config")
      .list("--unsetenv", unsetEnv, "K", "Remove a variable from it")
      .list("--unsetlabel", unsetLabels, "K", "Remove a label from it")
      .list("--unsetannotation", unsetAnnotations, "K", "Remove an annotation")
      .flag("--push", push, "Push the result to its names; -o type=registry");
  options.optionalValue("--rewrite-timestamp", "true", "BOOL",
                        "false: file times stay, whatever the time of the image is",
                        [this](const std::string& value) { rewritesTimes = value; });
}

void OutputOptions::apply(Context& context, const std::string& format,
                          builder::Request& request) const {
  builder::OutputRequest& output = request.output;
  for (const std::string& text : outputs) output.outputs.push_back(parseOutput(text));
  if (push) addPush(output);
  output.stdoutFd = context.out();
  if (output.usesStdout() && context.outIsTerminal()) {
    throw Error{Kind::failed, "refusing to write an archive to a terminal"}.hint(
        "name a file: -o type=tar,dest=FILE");
  }
  if (squash) output.squash = builder::OutputRequest::Squash::build;
  if (squashAll) output.squash = builder::OutputRequest::Squash::all;
  request.platforms = platformsOf(platforms);
  setTimes(*this, request);
  setForm(*this, format, output.form);
  for (const std::string& item : env) {
    auto pair = splitAssignment(item);
    if (pair.first.empty()) fail("--env " + item, "it has no name before the \"=\"");
    output.edits.env.push_back(std::move(pair));
  }
  output.edits.unsetEnv = unsetEnv;
  output.edits.unsetLabels = unsetLabels;
  output.edits.unsetAnnotations = unsetAnnotations;
}

}  // namespace img::cli
