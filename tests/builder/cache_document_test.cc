#include "builder/cache_document.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace img::builder {
namespace {

const std::string kHex(64, 'a');
const std::string kOther(64, 'b');

std::string manifestOf(int layers) {
  std::string list;
  for (int i = 0; i < layers; ++i) {
    list += fmt::format(
        R"({}{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{}","size":1}})",
        i == 0 ? "" : ",", kHex);
  }
  return fmt::format(
      R"({{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{}","size":2}},"layers":[{}]}})",
      kHex, list);
}

std::string configOf(const std::string& records, int layers) {
  std::string list;
  for (int i = 0; i < layers; ++i)
    list += fmt::format("{}\"sha256:{}\"", i == 0 ? "" : ",", kOther);
  return fmt::format(
      R"({{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[{}]}},"dev.img.cache.v1":{}}})",
      list, records);
}

CacheDocument twoSteps() {
  CacheEntry first;
  first.keys = {Digest::of("a"), Digest::of("b")};
  first.content = Digest::of("c");
  first.own = Digest::of("d");
  first.state = Digest::of("e");
  first.layer = 1;
  first.bytes = 17;
  first.created = "2026-01-02T03:04:05.6Z";
  first.instruction = "RUN make";
  CacheEntry second;
  second.keys = {Digest::of("f")};
  second.state = Digest::of("g");
  second.created = "2026-01-02T03:04:05Z";
  return {{first, second}, {{Digest::of("h"), 0}}};
}

TEST(CacheDocument, ComesBackAsItWasWritten) {
  const CacheDocument document = twoSteps();
  const std::string config = cacheConfig(document, {Digest::of("x"), Digest::of("y")});
  const auto image = parseCacheImage(manifestOf(2), config, "test");
  ASSERT_TRUE(image);
  EXPECT_EQ(image->document, document);
  EXPECT_EQ(image->diffIds, (std::vector<Digest>{Digest::of("x"), Digest::of("y")}));
  EXPECT_EQ(image->layers.size(), 2U);
  EXPECT_EQ(cacheConfig(image->document, image->diffIds), config);
}

TEST(CacheDocument, AnImageWithoutRecordsHasNone) {
  const std::string config =
      R"({"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}})";
  EXPECT_FALSE(parseCacheImage(manifestOf(0), config, "test"));
}

TEST(CacheDocument, ALongInstructionIsCut) {
  CacheDocument document = twoSteps();
  document.steps[0].instruction = "RUN " + std::string(5000, 'x');
  const std::string config = cacheConfig(document, {Digest::of("x"), Digest::of("y")});
  EXPECT_EQ(parseCacheImage(manifestOf(2), config, "test")->document.steps[0].instruction.size(),
            1000U);
}

// A step with everything it needs; %s stands for more.
std::string stepWith(const std::string& fields) {
  return fmt::format(
      R"({{"steps":[{{"keys":["{}"],"state":"{}","created":"2026-01-02T03:04:05Z"{}}}]}})", kHex,
      kHex, fields);
}

struct Hostile {
  std::string name, records, message;
};
void PrintTo(const Hostile& hostile, std::ostream* out) {
  *out << hostile.name;
}
class HostileDocument : public testing::TestWithParam<Hostile> {};
TEST_P(HostileDocument, IsRefusedWithItsPlace) {
  try {
    std::ignore = parseCacheImage(manifestOf(1), configOf(GetParam().records, 1), "cache X");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt);
    EXPECT_TRUE(error.cause().starts_with("cache X: ")) << error.cause();
    EXPECT_NE(error.cause().find(GetParam().message), std::string::npos) << error.cause();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Table, HostileDocument,
    testing::Values(
        Hostile{"RecordsAreAList", "[]", "must be an object"},
        Hostile{"StepsAreText", R"({"steps":"x"})", "/steps"},
        Hostile{"StepIsANumber", R"({"steps":[1]})", "/steps/0"},
        Hostile{"NoKeys", R"({"steps":[{"keys":[],"state":"","created":""}]})", "has no keys"},
        Hostile{"KeyIsAPath", R"({"steps":[{"keys":["../../../etc/passwd"]}]})", "is no digest"},
        Hostile{"KeyIsShort", R"({"steps":[{"keys":["abc"]}]})", "is no digest"},
        Hostile{"NoState", fmt::format(R"({{"steps":[{{"keys":["{}"]}}]}})", kHex), "state"},
        Hostile{"LayerBeyond", stepWith(R"(,"layer":1)"), "number of no layer"},
        Hostile{"LayerNegative", stepWith(R"(,"layer":-1)"), "/layer"},
        Hostile{"LayerHuge", stepWith(R"(,"layer":18446744073709551615)"), "/layer"},
        Hostile{"LayerText", stepWith(R"(,"layer":"0")"), "/layer"},
        Hostile{"BytesHuge", stepWith(R"(,"bytes":18446744073709551615)"), "/bytes"},
        Hostile{"OwnWrong", stepWith(R"(,"own":"zz")"), "is no digest"},
        Hostile{"ContentWrong", stepWith(R"(,"content":7)"), "/content"},
        Hostile{"TextLong", stepWith(R"(,"instruction":")" + std::string(1001, 'x') + '"'),
                "is too long"},
        Hostile{"TimeIsText",
                fmt::format(R"({{"steps":[{{"keys":["{}"],"state":"{}","created":"\u001b[2J"}}]}})",
                            kHex, kHex),
                "is no time"},
        Hostile{"MountLayer", fmt::format(R"({{"mounts":[{{"id":"{}","layer":5}}]}})", kHex),
                "number of no layer"},
        Hostile{"MountId", R"({"mounts":[{"id":"../x","layer":0}]})", "is no digest"}),
    [](const auto& test) { return test.param.name; });

TEST(CacheDocument, TooManyStepsOrKeysAreRefused) {
  std::string keys = "\"" + kHex + "\"";
  for (int i = 0; i < 8; ++i) keys += ",\"" + kHex + "\"";
  EXPECT_THROW(std::ignore = parseCacheImage(
                   manifestOf(0), configOf(R"({"steps":[{"keys":[)" + keys + "]}]}", 0), "x"),
               Error);
  std::string steps = "{}";
  for (int i = 0; i < 20'000; ++i) steps += ",{}";
  EXPECT_THROW(std::ignore =
                   parseCacheImage(manifestOf(0), configOf(R"({"steps":[)" + steps + "]}", 0), "x"),
               Error);
}

TEST(CacheDocument, EveryLayerHasItsDiffId) {
  EXPECT_THROW(std::ignore = parseCacheImage(manifestOf(2), configOf("{}", 1), "x"), Error);
  EXPECT_THROW(std::ignore = parseCacheImage(manifestOf(0), configOf("{}", 1), "x"), Error);
}

TEST(CacheDocument, WhatIsNoJsonIsRefused) {
  EXPECT_THROW(std::ignore = parseCacheImage(manifestOf(0), "{", "x"), Error);
  EXPECT_THROW(std::ignore = parseCacheImage("{", configOf("{}", 0), "x"), Error);
}

}  // namespace
}  // namespace img::builder
