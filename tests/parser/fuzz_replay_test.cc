// What the fuzzers found worth keeping, testdata/fuzz/TARGET, through the same functions: a finding
// once fixed stays fixed.
#include <gtest/gtest.h>

#include "base/fs.h"
#include "base/sys.h"
#include "tests/parser/fuzz_targets.h"

namespace img::parser {
namespace {

struct Target {
  std::string_view name;
  void (*run)(std::string_view);
};
void PrintTo(const Target& target, std::ostream* out) {
  *out << target.name;
}

constexpr Target kTargets[] = {
    {"parser_syntax", testing::fuzzSyntax},
    {"parser_expand", testing::fuzzExpand},
    {"parser_ignore", testing::fuzzIgnore},
    {"parser_values", testing::fuzzValues},
};

class FuzzCorpus : public ::testing::TestWithParam<Target> {};

TEST_P(FuzzCorpus, KeepsItsPromises) {
  const std::string path =
      std::string{IMG_SOURCE_DIR} + "/testdata/fuzz/" + std::string{GetParam().name};
  const Fd folder = sys::openDirectory(AT_FDCWD, path);
  const auto entries = fs::listSorted(folder.get());
  EXPECT_FALSE(entries.empty());
  for (const auto& entry : entries) {
    const std::string input = fs::readFile(folder.get(), entry.name);
    EXPECT_NO_THROW(GetParam().run(input)) << entry.name;
  }
}
INSTANTIATE_TEST_SUITE_P(Parser, FuzzCorpus, ::testing::ValuesIn(kTargets),
                         [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::parser
