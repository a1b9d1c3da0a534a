// Fixtures are folders: testdata/parser/<case>/{Dockerfile,expected.json} holds the X3 form, and
// testdata/parser-fail/<case>/{Dockerfile,error.txt} the error with its hints.
// IMG_UPDATE_GOLDEN=1 rewrites what is expected.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "parser/dockerfile.h"
#include "parser/syntax.h"

namespace img::parser {
namespace {

std::vector<std::string> casesIn(const std::string& folder) {
  const Fd dir = sys::openDirectory(AT_FDCWD, std::string{IMG_SOURCE_DIR} + "/testdata/" + folder);
  std::vector<std::string> names;
  for (const auto& entry : fs::listSorted(dir.get())) names.push_back(entry.name);
  return names;
}

void compareGolden(const std::string& path, const std::string& actual) {
  if (std::getenv("IMG_UPDATE_GOLDEN") != nullptr) {  // NOLINT(concurrency-mt-unsafe): one thread
    fs::replaceFile(AT_FDCWD, path, actual, 0644, fs::Sync::none);
    GTEST_SKIP() << "rewritten: " << path;
  }
  EXPECT_EQ(fs::tryReadFile(AT_FDCWD, path).value_or("(no such file)"), actual);
}

std::string caseName(const ::testing::TestParamInfo<std::string>& test) {
  std::string name = test.param;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

class Golden : public ::testing::TestWithParam<std::string> {};

TEST_P(Golden, SyntaxTree) {
  const std::string folder = std::string{IMG_SOURCE_DIR} + "/testdata/parser/" + GetParam();
  const std::string text = fs::readFile(AT_FDCWD, folder + "/Dockerfile");
  compareGolden(folder + "/expected.json", printSyntax(parseSyntax(text, "Dockerfile")));
}
INSTANTIATE_TEST_SUITE_P(Parser, Golden, ::testing::ValuesIn(casesIn("parser")), caseName);

std::string describe(const Error& error) {
  std::string out =
      "Dockerfile:" + std::to_string(error.position()->line) + ": " + error.cause() + "\n";
  for (const std::string& hint : error.hints()) out += "hint: " + hint + "\n";
  return out;
}

class GoldenError : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenError, NamesLineAndCause) {
  const std::string folder = std::string{IMG_SOURCE_DIR} + "/testdata/parser-fail/" + GetParam();
  const std::string text = fs::readFile(AT_FDCWD, folder + "/Dockerfile");
  try {
    parseDockerfile(text, "Dockerfile");
    FAIL() << "no error";
  } catch (const Error& error) {
    ASSERT_TRUE(error.position().has_value()) << error.cause();
    EXPECT_EQ(error.kind(), Kind::failed);
    EXPECT_EQ(error.code(), "parse");
    EXPECT_EQ(error.position()->file, "Dockerfile");
    EXPECT_GE(error.position()->endLine, error.position()->line);
    EXPECT_EQ(error.position()->text, text);
    compareGolden(folder + "/error.txt", describe(error));
  }
}
INSTANTIATE_TEST_SUITE_P(Parser, GoldenError, ::testing::ValuesIn(casesIn("parser-fail")),
                         caseName);

}  // namespace
}  // namespace img::parser
