#include "cli/push_options.h"

#include <gtest/gtest.h>

namespace img::cli {
namespace {

struct Good {
  std::string_view text;
  Compression kind;
  std::optional<int> level;
};
void PrintTo(const Good& c, std::ostream* out) {
  *out << c.text;
}
class CompressionOption : public testing::TestWithParam<Good> {};
TEST_P(CompressionOption, NamesKindAndLevel) {
  distribution::PushForm form;
  form.level = 3;  // of an option before
  parseCompression(std::string{GetParam().text}, form);
  EXPECT_EQ(form.compression, GetParam().kind);
  EXPECT_EQ(form.level, GetParam().level);
}
INSTANTIATE_TEST_SUITE_P(Push, CompressionOption,
                         testing::Values(Good{"gzip", Compression::gzip, {}},
                                         Good{"gzip:9", Compression::gzip, 9},
                                         Good{"zstd:19", Compression::zstd, 19},
                                         Good{"none", Compression::none, {}},
                                         Good{"uncompressed", Compression::none, {}}));

class BadCompressionOption : public testing::TestWithParam<std::string_view> {};
TEST_P(BadCompressionOption, IsRefused) {
  distribution::PushForm form;
  try {
    parseCompression(std::string{GetParam()}, form);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
  }
}
INSTANTIATE_TEST_SUITE_P(Push, BadCompressionOption,
                         testing::Values("", "xz", "gzip:", "gzip:0", "gzip:10", "zstd:x",
                                         "zstd:99999999999", "none:1"));

}  // namespace
}  // namespace img::cli
