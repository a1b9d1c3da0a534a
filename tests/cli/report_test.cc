#include "cli/report.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/fs.h"
#include "base/json.h"
#include "base/sys.h"

namespace img::cli {
namespace {

const std::string kFolder = std::string{IMG_SOURCE_DIR} + "/testdata/cli/errors";

std::vector<std::string> caseNames() {
  std::vector<std::string> names;
  const Fd folder = sys::openDirectory(AT_FDCWD, kFolder);
  for (const fs::Entry& entry : fs::listSorted(folder.get())) names.push_back(entry.name);
  return names;
}

std::string readCase(const std::string& name, const char* file) {
  return fs::tryReadFile(AT_FDCWD, kFolder + "/" + name + "/" + file).value_or("");
}

// error.json: what Error::toJson writes, empty fields left out, and "style" with fields of
// ReportStyle.
class GoldenReport : public testing::TestWithParam<std::string> {};
TEST_P(GoldenReport, ReadsAsWrittenDown) {
  const std::string text = readCase(GetParam(), "error.json");
  Json document = parseJson(text, GetParam());
  const Json styleOf = document.value("style", Json::object());
  document.erase("style");
  Json full =
      Json::parse(R"({"kind": 0, "errno": 0, "cause": "", "steps": [], "hints": [], "why": "",
                              "code": "", "logTail": [], "stage": ""})");
  full.update(document);
  const Error error = Error::fromJson(full.dump());
  ReportStyle style;
  style.json = styleOf.value("json", false);
  style.isWarning = styleOf.value("warning", false);
  style.color = styleOf.value("color", false);
  style.chain = styleOf.value("chain", false);
  style.command = styleOf.value("command", "");
  const std::string actual = renderReport(error, style);
  if (std::getenv("IMG_UPDATE_GOLDEN") != nullptr) {
    fs::replaceFile(AT_FDCWD, kFolder + "/" + GetParam() + "/expected.txt", actual, 0644,
                    fs::Sync::none);
    GTEST_SKIP() << "rewritten";
  }
  EXPECT_EQ(actual, readCase(GetParam(), "expected.txt"));
}
INSTANTIATE_TEST_SUITE_P(Cases, GoldenReport, testing::ValuesIn(caseNames()), [](const auto& test) {
  std::string name = test.param;
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
});

TEST(ExitStatus, FollowsFromTheKindUnlessTheErrorSaysOne) {
  EXPECT_EQ(exitStatusOf(Error{Kind::usage, "x"}), 125);
  EXPECT_EQ(exitStatusOf(Error{Kind::failed, "x"}), 1);
  EXPECT_EQ(exitStatusOf(Error{Kind::internal, "x"}), 1);
  EXPECT_EQ(exitStatusOf(Error{Kind::failed, "x"}.exitCode(7)), 7);
}

TEST(Report, FirstLineStaysShortWhateverAnImageBringsAlong) {
  const std::string text = renderReport(Error{Kind::failed, std::string(100'000, 'x')}, {});
  EXPECT_LE(text.size(), 1000U);
  const std::string wide = renderReport(Error{Kind::failed,
                                              [] {
                                                std::string umlauts;
                                                for (int i = 0; i < 50'000; ++i) umlauts += "ä";
                                                return umlauts;
                                              }()},
                                        {});
  EXPECT_LE(wide.size(), 1000U);
  EXPECT_NE(wide.find("ä..."), std::string::npos);
}

TEST(Report, NeverSendsControlBytesOfOthersToTheTerminal) {
  Error error{Kind::failed, "bad name \x1b]0;x\x07\nerror: fake \xE2\x80\xAE"};
  error.why("\x1b[2J");
  error.hint("a\rb");
  error.logTail({"\x1b[31mred", "tab\there"});
  error.at({"File\x1b[0m", 1, 1, 1, 3, "FR\x1bOM x\n"});
  const std::string text = renderReport(error, {});
  for (const char c : text) {
    EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << text;
  }
  EXPECT_EQ(text.find("\xE2\x80\xAE"), std::string::npos);
  EXPECT_NE(text.find("tab    here"), std::string::npos);
}

TEST(Report, SurvivesPositionsOutsideTheText) {
  for (const int line : {-1, 0, 5, 1'000'000}) {
    for (const int column : {-3, 0, 1, 9999}) {
      Error error{Kind::failed, "x"};
      error.at({"f", line, line - 2, column, column, "one\ntwo\n"});
      EXPECT_TRUE(renderReport(error, {}).starts_with("error: x\n"));
    }
  }
}

TEST(Columns, AreScalarValues) {
  EXPECT_EQ(columnsOf("aä…"), 3U);
  EXPECT_EQ(columnsOf(""), 0U);
}

}  // namespace
}  // namespace img::cli
