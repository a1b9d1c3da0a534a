#include "cli/build_output.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::cli {
namespace {

using builder::Annotation;
using builder::Output;

TEST(BuildOutput, ABarePathIsAFolderAndADashATar) {
  EXPECT_EQ(parseOutput("out/dir").type, Output::Type::local);
  EXPECT_EQ(parseOutput("out/dir").dest, "out/dir");
  EXPECT_EQ(parseOutput("-").type, Output::Type::tar);
  EXPECT_EQ(parseOutput("-").dest, "-");
}

TEST(BuildOutput, ReadsEveryAttribute) {
  const Output output = parseOutput(
      "type=oci,dest=x.tar,\"name=a,b:1\",oci-mediatypes=true,compression=zstd,compression-level=7,"
      "force-compression=true,rewrite-timestamp=true,source-date-epoch=9,"
      "annotation.Some.Key=v=w,annotation-index[linux/arm64].k=x");
  EXPECT_EQ(output.type, Output::Type::oci);
  EXPECT_EQ(output.names,
            (std::vector<std::string>{"docker.io/library/a:latest", "docker.io/library/b:1"}));
  EXPECT_EQ(output.form.isDocker, false);
  EXPECT_EQ(output.form.compression, (builder::LayerCompression{Compression::zstd, 7, true}));
  EXPECT_TRUE(output.form.isRewritten);
  EXPECT_EQ(**output.form.epoch, 9);
  ASSERT_EQ(output.form.annotations.size(), 2U);
  EXPECT_EQ(output.form.annotations[0].key, "Some.Key");
  EXPECT_EQ(output.form.annotations[0].value, "v=w");
  EXPECT_EQ(output.form.annotations[1].level, Annotation::Level::index);
  EXPECT_EQ(output.form.annotations[1].platform->architecture, "arm64");
}

TEST(BuildOutput, AnEmptyEpochTurnsItOff) {
  const Output output = parseOutput("type=image,source-date-epoch=");
  ASSERT_TRUE(output.form.epoch);
  EXPECT_FALSE(*output.form.epoch);
}

TEST(BuildOutput, ADockerOutputWithoutAFileIsTheStore) {
  EXPECT_EQ(parseOutput("type=docker").type, Output::Type::image);
  EXPECT_EQ(parseOutput("type=docker,dest=a.tar").type, Output::Type::docker);
  EXPECT_EQ(parseOutput("type=tar").dest, "-");
}

struct Bad {
  std::string_view name, text, message;
};
void PrintTo(const Bad& bad, std::ostream* out) {
  *out << bad.text;
}
class BadOutput : public testing::TestWithParam<Bad> {};
TEST_P(BadOutput, IsRefused) {
  try {
    parseOutput(GetParam().text);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(error.cause().find(GetParam().message), std::string::npos) << error.cause();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Texts, BadOutput,
    testing::Values(Bad{"Empty", "", "it is empty"}, Bad{"NoType", "dest=a", "it has no type"},
                    Bad{"Type", "type=zip", "no type of output"},
                    Bad{"Attribute", "type=tar,colour=red", "unknown attribute"},
                    Bad{"NoValue", "type=tar,dest", "is no KEY=VALUE"},
                    Bad{"NoFolder", "type=local", "needs dest=DIR"},
                    Bad{"FolderToStdout", "type=local,dest=-", "cannot go to stdout"},
                    Bad{"Mode", "type=local,dest=a,mode=wipe", "use copy or delete"},
                    Bad{"ModeOfTar", "type=tar,mode=delete", "is for type=local"},
                    Bad{"FolderOfDocker", "type=docker,dest=a,tar=false", "is for type=oci"},
                    Bad{"Compression", "type=oci,compression=xz", "use none, gzip or zstd"},
                    Bad{"Level", "type=oci,compression=gzip,compression-level=20",
                        "gzip has 1 to 9"},
                    Bad{"PushedTar", "type=tar,dest=a,push=true", "push=true is for type=image"},
                    Bad{"AnnotationLevel", "type=oci,annotation-layer.k=v", "is no level"},
                    Bad{"AnnotationKey", "type=oci,annotation=v", "names no key"}),
    [](const auto& test) { return std::string{test.param.name}; });

TEST(BuildAnnotation, MayNameLevelsAndAPlatform) {
  EXPECT_EQ(parseAnnotation("a=b:c").front().value, "b:c");
  EXPECT_EQ(parseAnnotation("a=b").front().level, Annotation::Level::manifest);
  const auto two = parseAnnotation("index,manifest[linux/arm/v7]:a=b");
  ASSERT_EQ(two.size(), 2U);
  EXPECT_EQ(two[0].level, Annotation::Level::index);
  EXPECT_EQ(two[1].platform->variant, "v7");
  EXPECT_THROW(parseAnnotation("layer:a=b"), Error);
  EXPECT_THROW(parseAnnotation("key"), Error);
  EXPECT_THROW(parseAnnotation("=v"), Error);
}

TEST(BuildCompression, IsANameAndALevel) {
  EXPECT_EQ(parseCompression("zstd:19", "x").level, 19);
  EXPECT_EQ(parseCompression("none", "x").kind, Compression::none);
  EXPECT_THROW(parseCompression("gzip:0", "x"), Error);
  EXPECT_THROW(parseCompression("none:1", "x"), Error);
}

}  // namespace
}  // namespace img::cli
