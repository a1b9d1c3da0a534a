#include "store/oci.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::store {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'b');

std::string descriptorText(const std::string& type, const std::string& size = "3") {
  return R"({"mediaType":")" + type + R"(","digest":")" + kDigest + R"(","size":)" + size + "}";
}
std::string manifestText(const std::string& config, const std::string& layers,
                         const std::string& more = "") {
  return R"({"schemaVersion":2,"config":)" + config + R"(,"layers":[)" + layers + "]" + more + "}";
}
const std::string kConfigText = descriptorText(media::kConfig);

ImageConfig fullConfig() {
  ImageConfig config;
  config.created = "2026-01-01T00:00:00Z";
  config.author = "A";
  config.platform = {"linux", "arm64", "v8", ""};
  config.user = "1:2";
  config.exposedPorts = {{"80/tcp", true}, {"53/udp", true}};
  config.env = {"PATH=/bin", "A=\xc3\xa9"};
  config.entrypoint = std::vector<std::string>{};
  config.cmd = std::vector<std::string>{"sh", "-c"};
  config.volumes = {{"/data", true}};
  config.workingDir = "/w";
  config.labels = {{"k", "v"}, {"a", ""}};
  config.stopSignal = "SIGINT";
  config.healthcheck = Healthcheck{{"CMD", "true"}, 1, 2, 3, 4, 5};
  config.onBuild = {"RUN x"};
  config.shell = {"/bin/bash", "-c"};
  config.diffIds = {Digest::of("a"), Digest::of("b")};
  config.history = {{"2026-01-01T00:00:00Z", "RUN x", "A", "c", false},
                    {"", "ENV y", "", "", true}};
  return config;
}

TEST(Oci, ConfigSurvivesARoundTripByteForByte) {
  const std::string text = toJson(fullConfig());
  const ImageConfig again = parseConfig(text, "config");
  EXPECT_EQ(toJson(again), text);
  EXPECT_EQ(again.healthcheck, fullConfig().healthcheck);
  EXPECT_EQ(again.entrypoint, fullConfig().entrypoint);
  EXPECT_TRUE(again.history[1].emptyLayer);
  EXPECT_EQ(again.diffIds, fullConfig().diffIds);
}

TEST(Oci, ConfigOmitsWhatIsEmptyAndSortsItsKeys) {
  ImageConfig config;
  config.platform = {"linux", "amd64", "", ""};
  EXPECT_EQ(toJson(config),
            R"({"architecture":"amd64","os":"linux","rootfs":{"diff_ids":[],"type":"layers"}})");
}

TEST(Oci, ConfigOfDockerWithNullsIsRead) {
  const ImageConfig config = parseConfig(
      R"({"architecture":"amd64","os":"linux","config":{"Cmd":null,"Env":null,"Labels":null,"Hostname":"x",
          "ArgsEscaped":true},"container":"x","history":null,"rootfs":{"type":"layers","diff_ids":null}})",
      "config");
  EXPECT_FALSE(config.cmd);
  EXPECT_TRUE(config.env.empty());
  EXPECT_TRUE(config.diffIds.empty());
}

TEST(Oci, ManifestSurvivesARoundTrip) {
  const std::string text = R"({"annotations":{"k":"v"},"config":{"digest":")" + kDigest +
                           R"(","mediaType":")" + media::kConfig +
                           R"(","size":3},"layers":[{"digest":")" + kDigest + R"(","mediaType":")" +
                           media::kLayerZstd + R"(","size":9007199254740991}],"mediaType":")" +
                           media::kManifest + R"(","schemaVersion":2})";
  EXPECT_EQ(toJson(parseManifest(text, "m")), text);
}

TEST(Oci, IndexSurvivesARoundTrip) {
  const std::string text =
      R"({"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"docker.io/library/a:1"},"digest":")" +
      kDigest + R"(","mediaType":")" + media::kManifest +
      R"(","platform":{"architecture":"arm64","os":"linux","variant":"v8"},"size":3}],"mediaType":")" +
      media::kIndex + R"(","schemaVersion":2})";
  EXPECT_EQ(toJson(parseIndex(text, "i")), text);
}

TEST(Oci, ArtifactsMayHaveLayersOfAnyType) {
  const Manifest manifest = parseManifest(
      manifestText(descriptorText("application/vnd.example+json"), descriptorText("text/plain")),
      "m");
  EXPECT_EQ(manifest.layers[0].mediaType, "text/plain");
}

struct Case {
  const char* name;
  enum { manifest, index, config } document;
  std::string text, message;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class BadDocuments : public testing::TestWithParam<Case> {};
TEST_P(BadDocuments, AreRefusedWithThePlaceInTheDocument) {
  const Case& c = GetParam();
  try {
    if (c.document == Case::manifest) parseManifest(c.text, "doc");
    if (c.document == Case::index) parseIndex(c.text, "doc");
    if (c.document == Case::config) parseConfig(c.text, "doc");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_TRUE(error.kind() == Kind::corrupt || error.kind() == Kind::unsupported);
    EXPECT_NE(error.cause().find(c.message), std::string::npos) << error.cause();
  }
}

const std::string kLayerText = descriptorText(media::kLayer);
INSTANTIATE_TEST_SUITE_P(
    Table, BadDocuments,
    testing::Values(
        Case{"NotJson", Case::manifest, "{", "doc"},
        Case{"NotAnObject", Case::manifest, "[]", "must be an object"},
        Case{"DuplicateKey", Case::manifest, R"({"schemaVersion":2,"schemaVersion":2})",
             "duplicate key"},
        Case{"Schema1", Case::manifest, R"({"schemaVersion":1,"fsLayers":[]})", "schema 1"},
        Case{"Schema3", Case::manifest, R"({"schemaVersion":3})", "/schemaVersion must be 2"},
        Case{"NoConfig", Case::manifest, R"({"schemaVersion":2,"layers":[]})", "lacks \"config\""},
        Case{"BothKinds", Case::manifest,
             manifestText(kConfigText, kLayerText, R"(,"manifests":[])"), "manifests"},
        Case{"IndexWithLayers", Case::index, R"({"schemaVersion":2,"manifests":[],"layers":[]})",
             "layers"},
        Case{"IndexWithConfig", Case::index, R"({"schemaVersion":2,"manifests":[],"config":{}})",
             "config"},
        Case{"WrongMediaType", Case::manifest,
             manifestText(kConfigText, kLayerText,
                          R"(,"mediaType":"application/vnd.oci.image.index.v1+json")"),
             "/mediaType"},
        Case{"UnknownLayerType", Case::manifest,
             manifestText(kConfigText, descriptorText("text/plain")), "/layers/0"},
        Case{"NegativeSize", Case::manifest,
             manifestText(kConfigText, descriptorText(media::kLayer, "-1")),
             "/layers/0/size is out of range"},
        Case{"HugeSize", Case::manifest,
             manifestText(kConfigText, descriptorText(media::kLayer, "9007199254740992")),
             "/layers/0/size is out of range"},
        Case{"FractionalSize", Case::manifest,
             manifestText(kConfigText, descriptorText(media::kLayer, "1.5")),
             "/layers/0/size must be an integer"},
        Case{"StringSize", Case::manifest,
             manifestText(kConfigText, descriptorText(media::kLayer, "\"3\"")),
             "/layers/0/size must be an integer"},
        Case{
            "TraversalDigest", Case::manifest,
            manifestText(R"({"mediaType":"x","digest":"sha256:../../../etc/passwd","size":1})", ""),
            "/config/digest is not a SHA-256 digest"},
        Case{"LayersNotAnArray", Case::manifest,
             R"({"schemaVersion":2,"config":)" + kConfigText + R"(,"layers":{}})",
             "/layers must be an array"},
        Case{"NoRootfs", Case::config, R"({"os":"linux"})", "lacks \"rootfs\""},
        Case{"RootfsType", Case::config, R"({"rootfs":{"type":"snapshots","diff_ids":[]}})",
             "/rootfs/type"},
        Case{"BadDiffId", Case::config, R"({"rootfs":{"type":"layers","diff_ids":["sha256:12"]}})",
             "/rootfs/diff_ids/0"},
        Case{"EnvNotStrings", Case::config,
             R"({"config":{"Env":[1]},"rootfs":{"type":"layers","diff_ids":[]}})",
             "/config/Env/0 must be a string"},
        Case{"NulInEnv", Case::config,
             R"({"config":{"Env":["A=\u0000"]},"rootfs":{"type":"layers","diff_ids":[]}})", "NUL"},
        Case{"Deep", Case::config, std::string(100, '[') + std::string(100, ']'), "deep"}),
    [](const auto& test) { return std::string{test.param.name}; });

TEST(Oci, HostPlatformIsNamedAsOciDoes) {
  EXPECT_EQ(Platform::host().os, "linux");
  EXPECT_NE(Platform::host().architecture, "x86_64");
  EXPECT_FALSE(Platform::host().architecture.empty());
}

}  // namespace
}  // namespace img::store
