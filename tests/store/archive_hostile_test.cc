// Archives made to harm: each is refused, and the store is as it was before (security.md 9,
// M1-M17).
#include <sys/stat.h>

#include <functional>

#include "base/process.h"
#include "tests/store/archive_fixture.h"

namespace img::store {
namespace {

using test::ArchiveTest;
using test::errorOf;
using test::makeTar;
using test::TarFile;
using Members = std::vector<TarFile>;

// A good archive of each kind, to be spoiled.
struct Parts {
  std::string layer = makeTar({{"file", "x"}});
  std::string config;
  Manifest manifest;
};

struct Case {
  const char* name;
  std::function<Members(const Parts&)> make;
  const char* message;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

std::string blobName(std::string_view content) {
  return "blobs/sha256/" + Digest::of(content).hex();
}
TarFile blob(const std::string& content) {
  return {blobName(content), content};
}
Descriptor describe(const char* type, std::string_view content) {
  return {type, Digest::of(content), content.size(), {}, {}, {}};
}
std::string docker(const std::string& config, const std::string& layers,
                   const std::string& tags = "null") {
  return R"([{"Config":")" + config + R"(","RepoTags":)" + tags + R"(,"Layers":)" + layers + "}]";
}

Members goodDocker(const Parts& parts, const std::string& manifest) {
  return {{"c.json", parts.config}, {"l.tar", parts.layer}, {"manifest.json", manifest}};
}
const TarFile kOciLayout = {"oci-layout", R"({"imageLayoutVersion":"1.0.0"})"};

// An OCI archive around a manifest text; the descriptor in index.json fits it unless the test says
// otherwise.
Members oci(const Parts& parts, const std::string& manifest,
            const std::function<void(Descriptor&)>& spoil = {}) {
  Descriptor top = describe(media::kManifest, manifest);
  if (spoil) spoil(top);
  return {kOciLayout,
          {"index.json", toJson(Index{{top}, {}})},
          blob(manifest),
          blob(parts.config),
          blob(parts.layer)};
}
Members ociOf(const Parts& parts, const std::function<void(Manifest&)>& spoil) {
  Manifest manifest = parts.manifest;
  spoil(manifest);
  return oci(parts, toJson(manifest));
}

class HostileArchive : public ArchiveTest {
 protected:
  HostileArchive() {
    parts.config = configFor({Digest::of(parts.layer)});
    parts.manifest.config = describe(media::kConfig, parts.config);
    parts.manifest.layers = {describe(media::kLayer, parts.layer)};
  }
  Parts parts;
};
class Hostile : public HostileArchive, public testing::WithParamInterface<Case> {};

TEST_P(Hostile, IsRefusedAndChangesNothing) {
  const Image before = makeImage("before", {"docker.io/library/before:latest"});
  const size_t blobs = countIn("blobs/sha256");
  const Error error = errorOf([&] { load(layout, makeTar(GetParam().make(parts))); });
  EXPECT_TRUE(error.kind() == Kind::corrupt || error.kind() == Kind::unsupported);
  EXPECT_NE(error.cause().find(GetParam().message), std::string::npos) << error.cause();
  EXPECT_EQ(countIn("blobs/sha256"), blobs);
  EXPECT_EQ(countIn("ingest"), 0U);
  EXPECT_EQ(names(), std::vector<std::string>{"docker.io/library/before:latest"});
}

const Case kCases[] = {
    {"Nothing",
     [](const Parts&) {
       return Members{{"readme", "x"}};
     },
     "holds no image"},
    {"ManifestIsAFifo",
     [](const Parts&) {
       return Members{{"manifest.json", "", TarEntry::Type::fifo}};
     },
     "\"manifest.json\" is not a regular file"},
    {"ManifestIsALinkOut",
     [](const Parts&) {
       return Members{{"manifest.json", "", TarEntry::Type::symlink, "/etc/passwd"}};
     },
     "is missing"},
    {"ManifestIsALinkUp",
     [](const Parts&) {
       return Members{{"manifest.json", "", TarEntry::Type::symlink, "../../etc/passwd"}};
     },
     "is missing"},
    {"LinkToALink",
     [](const Parts& p) {
       Members all = goodDocker(p, docker("c.json", R"(["b"])"));
       all.push_back({"a", "", TarEntry::Type::symlink, "l.tar"});
       all.push_back({"b", "", TarEntry::Type::symlink, "a"});
       return all;
     },
     "\"b\" is not a regular file"},
    {"HardLinkAsLayer",
     [](const Parts& p) {
       Members all = goodDocker(p, docker("c.json", R"(["h"])"));
       all.push_back({"h", "", TarEntry::Type::hardLink, "l.tar"});
       return all;
     },
     "\"h\" is not a regular file"},
    {"ManifestTwice",
     [](const Parts& p) {
       Members all = goodDocker(p, docker("c.json", R"(["l.tar"])"));
       all.push_back({"manifest.json", "[]"});
       return all;
     },
     "is there twice"},
    {"ManifestIsAnObject", [](const Parts& p) { return goodDocker(p, "{}"); }, "must be an array"},
    {"ManifestIsEmpty", [](const Parts& p) { return goodDocker(p, "[]"); }, "names no image"},
    {"ManifestIsGiant", [](const Parts& p) { return goodDocker(p, std::string(5 << 20, ' ')); },
     "is longer than"},
    {"ManifestIsDeep",
     [](const Parts& p) {
       return goodDocker(p, std::string(100'000, '[') + std::string(100'000, ']'));
     },
     "deep"},
    {"DuplicateKeys",
     [](const Parts& p) { return goodDocker(p, R"([{"Config":"a","Config":"b"}])"); },
     "duplicate key"},
    {"ConfigOutside",
     [](const Parts& p) { return goodDocker(p, docker("../../../etc/passwd", "[]")); },
     "is not in the archive"},
    {"ConfigAbsolute", [](const Parts& p) { return goodDocker(p, docker("/etc/passwd", "[]")); },
     "is not in the archive"},
    {"LayerOutside", [](const Parts& p) { return goodDocker(p, docker("c.json", R"(["../x"])")); },
     "is not in the archive"},
    {"LayerMissing",
     [](const Parts& p) { return goodDocker(p, docker("c.json", R"(["other.tar"])")); },
     "is missing"},
    {"TooFewLayers", [](const Parts& p) { return goodDocker(p, docker("c.json", "[]")); },
     "0 layers, its config 1"},
    {"TooManyLayers",
     [](const Parts& p) { return goodDocker(p, docker("c.json", R"(["l.tar","l.tar"])")); },
     "2 layers, its config 1"},
    {"WrongDiffId",
     [](const Parts& p) {
       Members all = goodDocker(p, docker("c.json", R"(["l.tar"])"));
       all[1].content = makeTar({{"file", "changed"}});
       return all;
     },
     "does not have the diff ID"},
    {"ConfigNamePromisesAnotherDigest",
     [](const Parts& p) {
       const std::string name = Digest::of("other").hex() + ".json";
       return Members{
           {name, p.config}, {"l.tar", p.layer}, {"manifest.json", docker(name, R"(["l.tar"])")}};
     },
     "has the digest"},
    {"BadTag",
     [](const Parts& p) {
       return goodDocker(p, docker("c.json", R"(["l.tar"])", R"(["../../x"])"));
     },
     "names an image"},
    {"TagIsNoString",
     [](const Parts& p) { return goodDocker(p, docker("c.json", R"(["l.tar"])", "[7]")); },
     "/0/RepoTags/0 must be a string"},
    {"Windows",
     [](const Parts& p) {
       ImageConfig config = parseConfig(p.config, "c");
       config.platform.os = "windows";
       return Members{{"c.json", toJson(config)},
                      {"l.tar", p.layer},
                      {"manifest.json", docker("c.json", R"(["l.tar"])")}};
     },
     "operating system \"windows\""},
    {"TraversalMember",
     [](const Parts& p) {
       Members all = goodDocker(p, docker("c.json", R"(["l.tar"])"));
       all.push_back({"../../escape", "x"});
       return all;
     },
     ".."},
    {"BlobOfOtherContent",
     [](const Parts& p) {
       Members all = ociOf(p, [](Manifest&) {});
       all[4].content[600] ^= 1;
       return all;
     },
     "has other content than its name says"},
    {"ManifestOfOtherContent",
     [](const Parts& p) {
       Members all = ociOf(p, [](Manifest&) {});
       all[2].content += " ";
       return all;
     },
     "has other content than its name says"},
    {"WrongSize",
     [](const Parts& p) { return ociOf(p, [](Manifest& m) { m.layers[0].size += 1; }); },
     "its descriptor says"},
    {"WrongManifestSize",
     [](const Parts& p) { return oci(p, toJson(p.manifest), [](Descriptor& d) { d.size -= 1; }); },
     "its descriptor says"},
    {"MissingLayer",
     [](const Parts& p) {
       return ociOf(p, [](Manifest& m) { m.layers[0].digest = Digest::of("gone"); });
     },
     "is missing"},
    {"LayerCount",
     [](const Parts& p) { return ociOf(p, [](Manifest& m) { m.layers.push_back(m.layers[0]); }); },
     "2 layers, its config 1"},
    {"GzipThatIsNone",
     [](const Parts& p) {
       return ociOf(p, [](Manifest& m) { m.layers[0].mediaType = media::kLayerGzip; });
     },
     "its media type says gzip"},
    {"ConfigTypeUnknown",
     [](const Parts& p) {
       return ociOf(p, [](Manifest& m) { m.config.mediaType = "text/plain"; });
     },
     "artifact"},
    {"ManifestThatIsAnIndexToo",
     [](const Parts& p) {
       std::string text = toJson(p.manifest);
       text.insert(1, R"("manifests":[],)");
       return oci(p, text);
     },
     "manifests"},
    {"DescriptorOfAnotherType",
     [](const Parts& p) {
       return oci(p, toJson(p.manifest),
                  [](Descriptor& d) { d.mediaType = media::kDockerManifest; });
     },
     "media type"},
    {"OciLayoutVersion",
     [](const Parts& p) {
       Members all = ociOf(p, [](Manifest&) {});
       all[0].content = R"({"imageLayoutVersion":"2.0.0"})";
       return all;
     },
     "imageLayoutVersion"},
    {"EmptyIndex",
     [](const Parts&) {
       return Members{kOciLayout, {"index.json", toJson(Index{})}};
     },
     "names no image"},
    {"IndexInIndexInIndex",
     [](const Parts& p) {
       Members all = ociOf(p, [](Manifest&) {});
       Descriptor inner = describe(media::kManifest, all[2].content);
       for (int i = 0; i < 6; ++i) {
         const std::string text = toJson(Index{{inner}, {{"level", std::to_string(i)}}});
         all.push_back(blob(text));
         inner = describe(media::kIndex, text);
       }
       all[1].content = toJson(Index{{inner}, {}});
       return all;
     },
     "nested too deeply"},
};
INSTANTIATE_TEST_SUITE_P(Corpus, Hostile, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_F(HostileArchive, FoldersAreNotFollowedOutOfEither) {
  const fs::TempDir dir;
  fs::replaceFile(dir.fd(), "secret", "[]", 0644, fs::Sync::none);
  fs::makeDirs(dir.fd(), "image").reset();
  const Fd image = sys::openDirectory(dir.fd(), "image");
  sys::symlinkat("../secret", image.get(), "manifest.json");
  EXPECT_EQ(errorOf([&] { loadDirectory(layout, image.get(), "image"); }).kind(), Kind::corrupt);
  sys::unlinkat(image.get(), "manifest.json", 0);
  sys::mknodat(image.get(), "manifest.json", S_IFIFO | 0644, 0);
  EXPECT_EQ(errorOf([&] { loadDirectory(layout, image.get(), "image"); }).kind(), Kind::corrupt);
}

TEST_F(HostileArchive, ACompressedLayerOfAnotherDiffIdIsFound) {
  const std::string other = runProgram({"gzip", "-c"}, makeTar({{"file", "other"}})).out;
  const Error error = errorOf([&] {
    load(layout, makeTar({{"c.json", parts.config},
                          {"l", other},
                          {"manifest.json", docker("c.json", R"(["l"])")}}));
  });
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_EQ(countIn("blobs/sha256"), 0U);
}

TEST_F(HostileArchive, AnArchiveThatEndsInTheMiddleIsRefused) {
  const std::string tar = makeTar(goodDocker(parts, docker("c.json", R"(["l.tar"])")));
  for (const size_t size : {size_t{100}, size_t{700}, tar.size() / 2}) {
    EXPECT_THROW(load(layout, tar.substr(0, size)), Error) << size;
  }
  EXPECT_EQ(countIn("blobs/sha256") + countIn("ingest"), 0U);
}

}  // namespace
}  // namespace img::store
