#include "cli/build_cache.h"

#include <algorithm>
#include <array>

#include "base/compress.h"
#include "base/text.h"
#include "cli/build_output.h"
#include "cli/values.h"
#include "store/reference.h"

namespace img::cli {
namespace {

using builder::CachePlace;

constexpr std::string_view kForms =
    "use REF, type=registry,ref=REF, type=local,src=DIR (dest=DIR for --cache-to) or type=inline";

// Reads the attributes of one value.
class PlaceParser {
 public:
  PlaceParser(std::string_view text, CacheSide side)
      : side_(side),
        what_(fmt::format("{} {}", side == CacheSide::from ? "--cache-from" : "--cache-to", text)) {
  }

  CachePlace parse(std::string_view text) {
    const std::vector<std::string> fields = parseCsv(text, what_);
    if (fields.empty() || fields.front().empty()) fail("it is empty", kForms);
    if (fields.size() == 1 && fields.front().find('=') == std::string::npos) {
      place_.reference = fields.front();
    } else {
      for (const std::string& field : fields) {
        if (field.find('=') == std::string::npos)
          fail(fmt::format("{} is no KEY=VALUE", text::quote(field)), kForms);
        const auto [key, value] = splitAssignment(field);
        take(text::lower(key), value);
      }
    }
    finish();
    return place_;
  }

 private:
  [[noreturn]] void fail(std::string_view problem, std::string_view hint) const {
    Error error = Error::make(Kind::usage, "{}: {}", text::escape(what_), problem);
    if (!hint.empty()) error.hint(std::string{hint});
    throw error;
  }

  void take(const std::string& key, const std::string& value) {
    if (key == "type") return takeType(value);
    if (takePlace(key, value) || takeForm(key, value)) return;
    // Of the form of a manifest, where there is only one here, and of what becomes of old blobs,
    // which always go.
    static constexpr std::array<std::string_view, 4> kIgnored = {"oci-mediatypes", "image-manifest",
                                                                 "force-compression", "reset"};
    if (std::find(kIgnored.begin(), kIgnored.end(), key) != kIgnored.end()) {
      std::ignore = boolean(key, value);
      return;
    }
    fail(fmt::format("unknown attribute {}", text::quote(key)),
         "there are type, ref, src, dest, tag, digest, mode, mounts, compression, "
         "compression-level and ignore-error");
  }

  void takeType(const std::string& value) {
    if (value == "registry") {
      place_.type = CachePlace::Type::registry;
    } else if (value == "local") {
      place_.type = CachePlace::Type::local;
    } else if (value == "inline") {
      place_.type = CachePlace::Type::inlined;
    } else {
      fail(fmt::format("{} is no type of cache", text::quote(value)), kForms);
    }
    hasType_ = true;
  }

  bool takePlace(const std::string& key, const std::string& value) {
    if (key == "ref") {
      place_.reference = value;
    } else if (key == "src" || key == "dest") {
      const bool isSource = key == "src";
      if (isSource != (side_ == CacheSide::from))
        fail(fmt::format("{}= is for the other direction", key),
             isSource ? "name the folder with dest=DIR" : "name the folder with src=DIR");
      place_.directory = value;
    } else if (key == "tag") {
      place_.tag = value;
    } else if (key == "digest") {
      if (!Digest::tryParse(value)) fail("digest= is no sha256:HEX", {});
      place_.digest = value;
    } else {
      return false;
    }
    return true;
  }

  bool takeForm(const std::string& key, const std::string& value) {
    if (key == "mode") {
      if (value != "min" && value != "max")
        fail(fmt::format("mode={}", text::quote(value)), "use mode=min or mode=max");
      place_.hasAllStages = value == "max";
    } else if (key == "mounts") {
      place_.hasMounts = boolean(key, value);
    } else if (key == "ignore-error") {
      place_.isErrorIgnored = boolean(key, value);
    } else if (key == "compression") {
      place_.compression.kind = parseCompression(value, what_).kind;
    } else if (key == "compression-level") {
      const auto level = text::parseUnsigned(value);
      if (!level || *level > 1000) fail("compression-level= is no number", {});
      place_.compression.level = static_cast<int>(*level);
    } else {
      return false;
    }
    return true;
  }

  void finish() {
    using Type = CachePlace::Type;
    const bool isSource = side_ == CacheSide::from;
    if (isSource && place_.type == Type::inlined)
      fail("the records of an image are imported by its name", "use --cache-from NAME");
    if (place_.type == Type::local) {
      if (place_.directory.empty())
        fail("it names no folder", isSource ? "add src=DIR" : "add dest=DIR");
    } else if (!place_.directory.empty()) {
      fail("a folder is for type=local", hasType_ ? "" : "add type=local");
    }
    if (place_.type == Type::registry) {
      if (place_.reference.empty()) fail("it names no image of a registry", "add ref=REF");
      checkReference();
    } else if (!place_.reference.empty()) {
      fail("ref= is for type=registry", {});
    }
    if (place_.compression.level)
      checkCompressionLevel(place_.compression.kind, *place_.compression.level);
  }

  void checkReference() const {
    try {
      const store::Reference reference = store::Reference::parse(place_.reference);
      if (side_ == CacheSide::to && reference.digest)
        fail("a digest cannot be chosen", "name a tag");
    } catch (const Error& error) {
      if (!error.hints().empty()) throw;
      fail(error.cause(), kForms);
    }
  }

  [[nodiscard]] bool boolean(const std::string& key, const std::string& value) const {
    return parseBool(value, what_ + ": " + key);
  }

  CacheSide side_;
  std::string what_;
  CachePlace place_;
  bool hasType_ = false;
};

// BUILDKIT_INLINE_CACHE=1 as a build argument; the last one counts.
bool asksForInline(const builder::Request& request) {
  for (auto arg = request.buildArgs.rbegin(); arg != request.buildArgs.rend(); ++arg) {
    if (arg->first == "BUILDKIT_INLINE_CACHE")
      return !arg->second.empty() && parseBool(arg->second, "BUILDKIT_INLINE_CACHE");
  }
  return false;
}

}  // namespace

CachePlace parseCachePlace(std::string_view text, CacheSide side) {
  return PlaceParser{text, side}.parse(text);
}

void CacheOptions::addTo(Options& options) {
  options
      .list("--cache-from", from, "SPEC",
            "Take results of steps from REF, type=registry,ref=REF or type=local,src=DIR")
      .list("--cache-to", to, "SPEC",
            "Put them into REF, type=registry,ref=REF, type=local,dest=DIR or type=inline "
            "[,mode=min|max,mounts=true,compression=zstd|gzip|none]");
}

void CacheOptions::apply(builder::Request& request) const {
  for (const std::string& text : from)
    request.cacheFrom.push_back(parseCachePlace(text, CacheSide::from));
  for (const std::string& text : to) {
    CachePlace place = parseCachePlace(text, CacheSide::to);
    if (place.type == CachePlace::Type::inlined) {
      request.hasInlineCache = true;
    } else {
      request.cacheTo.push_back(std::move(place));
    }
  }
  if (asksForInline(request)) request.hasInlineCache = true;
}

}  // namespace img::cli
