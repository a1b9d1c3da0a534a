// push: images to a registry.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/compress.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/human.h"
#include "cli/image_facts.h"
#include "cli/options.h"
#include "cli/push_options.h"
#include "cli/registry_options.h"
#include "cli/values.h"
#include "store/images.h"

namespace img::cli {
namespace {

struct PushOptions {
  distribution::AccessOptions access;
  distribution::PushForm form;
  std::optional<store::Platform> platform;
  std::string digestFile;
  bool isQuiet = false, isAllTags = false;
  std::string name, destination;
};

bool isIndexRow(const store::ImageRow& row) {
  return store::isIndexType(row.descriptor.mediaType);
}

// By name: what the name points at, an index included. By id: the manifest with that id.
store::Descriptor sourceOf(const store::Layout& layout, const PushOptions& push) {
  const store::Images images{layout, push.platform};
  if (!push.platform) {
    const std::vector<store::ImageRow> rows = images.list();
    for (const std::string& name : namesMeantBy(push.name)) {
      const auto row =
          std::find_if(rows.begin(), rows.end(), [&](const store::ImageRow& candidate) {
            return candidate.name == name && isIndexRow(candidate);
          });
      if (row != rows.end()) return row->descriptor;
    }
  }
  return images.get(push.name).manifestDescriptor;
}

// podman and skopeo write "docker://" before it.
store::Reference destinationOf(const store::Layout& layout, const PushOptions& push) {
  constexpr std::string_view kTransport = "docker://";
  std::string text = push.destination.empty() ? push.name : push.destination;
  if (text.starts_with(kTransport)) text = text.substr(kTransport.size());
  if (push.destination.empty()) {
    const auto names = namesMeantBy(push.name);
    const auto rows = store::Images{layout}.list();
    const auto isName = [&](const store::ImageRow& row) {
      return row.name && std::find(names.begin(), names.end(), *row.name) != names.end();
    };
    const auto row = std::find_if(rows.begin(), rows.end(), isName);
    if (row == rows.end()) {
      throw Error::make(Kind::usage, "{} is an id, and says nothing about where to push to",
                        text::quote(push.name))
          .hint(fmt::format("img push {} HOST/NAME:TAG", push.name));
    }
    text = *row->name;
  }
  return store::Reference::parse(text);
}

void pushOne(Context& context, const PushOptions& push) {
  const store::Layout& layout = context.store();
  distribution::PushRequest request;
  request.source = sourceOf(layout, push);
  request.destination = destinationOf(layout, push);
  request.access = push.access;
  request.form = push.form;
  const store::Reference& to = request.destination;
  if (!push.isQuiet)
    context.notice(fmt::format("The push refers to repository [{}]\n", to.repository()));
  const auto display = makePushDisplay(context, push.isQuiet);
  const store::Descriptor pushed = distribution::pushImage(layout, request, *display);
  if (!push.digestFile.empty()) {
    // Written in place: it may be a pipe or a device.
    Fd file = sys::openat(AT_FDCWD, push.digestFile, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    writeAll(file.get(), pushed.digest.str(), push.digestFile);
    file.close(push.digestFile);
  }
  if (push.isQuiet) return context.print(to.full() + "\n");
  const std::string tag = to.tag.empty() ? to.full() : to.tag;
  context.print(fmt::format("{}: digest: {} size: {}\n", tag, pushed.digest.str(), pushed.size));
}

void pushAllTags(Context& context, const PushOptions& push) {
  const size_t slash = push.name.rfind('/');
  const bool hasTag =
      push.name.find_first_of(":@", slash == std::string::npos ? 0 : slash) != std::string::npos;
  if (hasTag) throw Error{Kind::usage, "--all-tags takes a name without a tag or digest"};
  if (!push.destination.empty())
    throw Error{Kind::usage, "--all-tags pushes names to where they say, and takes no destination"};
  std::vector<std::string> repositories;
  for (const std::string& name : namesMeantBy(push.name))
    repositories.push_back(store::Reference::parse(name).repository());
  std::vector<std::string> names;
  for (const store::ImageRow& row : store::Images{context.store()}.list()) {
    if (!row.name) continue;
    const std::string repository = store::Reference::parse(*row.name).repository();
    if (std::find(repositories.begin(), repositories.end(), repository) != repositories.end())
      names.push_back(*row.name);
  }
  if (names.empty()) {
    throw Error::make(Kind::notFound, "no image of the store is called {}", text::quote(push.name))
        .code("image-not-found");
  }
  for (const std::string& name : names) {
    PushOptions one = push;
    one.name = name;
    pushOne(context, one);
  }
}

void takeFormat(const std::string& text, distribution::PushForm& form) {
  if (text == "oci") {
    form.isDocker = false;
  } else if (text == "v2s2" || text == "docker") {
    form.isDocker = true;
  } else {
    throw Error::make(Kind::usage, "invalid value {} for --format", text::quote(text))
        .hint("use oci or v2s2");
  }
}

int runPush(Context& context, const std::vector<std::string>& args) {
  PushOptions push;
  Options options{context, "NAME [DESTINATION]", "Push an image to a registry"};
  options.flag("-q,--quiet", push.isQuiet, "Print nothing but the name")
      .flag("-a,--all-tags", push.isAllTags, "Push every tag of the repository")
      .text("--digestfile", push.digestFile, "FILE", "Write the digest of what was pushed to FILE")
      .value("--compression", "KIND[:LEVEL]",
             "Compress plain layers with gzip, zstd or not at all: none (gzip)",
             [&push](const std::string& value) { parseCompression(value, push.form); })
      .flag("--force-compression", push.form.isForced,
            "Also those that are compressed in another way")
      .value("--format", "FORMAT", "oci or v2s2, docker's (as it is stored)",
             [&push](const std::string& value) { takeFormat(value, push.form); })
      .value("--platform", "OS/ARCH[/VARIANT]", "Push the image of one platform only",
             [&push](const std::string& value) { push.platform = parsePlatform(value); })
      .ignoredFlag("--disable-content-trust")
      .ignoredFlag("--remove-signatures")
      .positionals(1, 2);
  addRegistryOptions(options, push.access);
  if (!options.parse(args)) return 0;
  if (push.form.isForced && !push.form.compression)
    throw Error{Kind::usage, "--force-compression needs --compression"};
  const bool isZstd = push.form.compression == Compression::zstd;
  if (isZstd && push.form.isDocker.value_or(false))
    throw Error{Kind::usage, "docker's format has no zstd"}.hint("--format oci");
  push.name = options.words().front();
  if (options.words().size() == 2) push.destination = options.words().back();
  const store::StoreUse use{context.store()};
  push.isAllTags ? pushAllTags(context, push) : pushOne(context, push);
  return 0;
}

class PushDisplay final : public distribution::PushProgress {
 public:
  PushDisplay(Context& context, bool isQuiet) : context_(context), isQuiet_(isQuiet) {}

  void blobDone(const store::Descriptor& blob, std::string_view how) override {
    if (isQuiet_) return;
    context_.notice(fmt::format("{}: {} ({})\n", blob.digest.hex().substr(0, kShortId), how,
                                formatSize(blob.size)));
  }
  void notice(const std::string& text) override { context_.notice(text + "\n"); }

 private:
  static constexpr size_t kShortId = 12;
  Context& context_;
  bool isQuiet_;
};

}  // namespace

void parseCompression(const std::string& text, distribution::PushForm& form) {
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  if (kind == "none" || kind == "uncompressed") {
    form.compression = Compression::none;
  } else if (kind == "gzip") {
    form.compression = Compression::gzip;
  } else if (kind == "zstd") {
    form.compression = Compression::zstd;
  } else {
    throw Error::make(Kind::usage, "invalid value {} for --compression", text::quote(text))
        .hint("use gzip, zstd or none, with a level as in zstd:9");
  }
  form.level.reset();
  if (colon == std::string::npos) return;
  constexpr unsigned long long kMaxLevel = 1000;
  const auto level = text::parseUnsigned(std::string_view{text}.substr(colon + 1));
  if (!level || *level > kMaxLevel) {
    throw Error::make(Kind::usage, "invalid value {} for --compression", text::quote(text))
        .hint("the level is a number, as in zstd:9");
  }
  checkCompressionLevel(*form.compression, static_cast<int>(*level));
  form.level = static_cast<int>(*level);
}

std::unique_ptr<distribution::PushProgress> makePushDisplay(Context& context, bool isQuiet) {
  return std::make_unique<PushDisplay>(context, isQuiet);
}

void addPushCommand(CommandTable& table) {
  table.add({"push,image push", Group::images, "Push images to a registry", runPush});
}

}  // namespace img::cli
