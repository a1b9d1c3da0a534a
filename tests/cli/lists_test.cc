#include "cli/lists.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/error.h"
#include "base/fd.h"
#include "base/sys.h"

namespace img::cli {
namespace {

const std::vector<ListField> kFields{{"ID", "CONTAINER ID"}, {"Names", "NAMES"}, {"Size", "SIZE"}};

std::string listed(const std::string& format, bool noHeading = false, bool empty = false) {
  const Fd out{sys::check([] { return memfd_create("out", MFD_CLOEXEC); }, "create a file")};
  Context context{out.get(), 2};
  std::vector<Json> rows{
      {{"ID", "1234"}, {"Names", "web"}, {"Size", "1B"}, {"Label", {{"org.tier", "front"}}}},
      {{"ID", "5"}, {"Names", "database"}, {"Size", "2B"}, {"Label", Json::object()}}};
  if (empty) rows.clear();
  printList(context, kFields, {format, {"ID", "Names"}, noHeading}, rows);
  sys::check([&] { return lseek(out.get(), 0, SEEK_SET); }, "rewind");
  return readAll(out.get(), "out");
}

struct Case {
  std::string_view format, expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << '"' << c.format << '"';
}

class ListFormat : public testing::TestWithParam<Case> {};
TEST_P(ListFormat, Prints) {
  EXPECT_EQ(listed(std::string{GetParam().format}), GetParam().expected);
}
constexpr Case kCases[] = {
    {"", "CONTAINER ID   NAMES\n1234           web\n5              database\n"},
    {"table", "CONTAINER ID   NAMES\n1234           web\n5              database\n"},
    {"json",
     "{\"ID\":\"1234\",\"Names\":\"web\",\"Size\":\"1B\"}\n"
     "{\"ID\":\"5\",\"Names\":\"database\",\"Size\":\"2B\"}\n"},
    {"{{.Names}}", "web\ndatabase\n"},
    {"{{.ID}}\\t{{.Size}}", "1234\t1B\n5\t2B\n"},
    {"{{.ID}}\\n-", "1234\n-\n5\n-\n"},
    {"{{.Label \"org.tier\"}}", "front\n\n"},
    {"table {{.Names}}\\t{{.Size}}", "NAMES      SIZE\nweb        1B\ndatabase   2B\n"},
    {"table {{upper .Names}}", "NAMES\nWEB\nDATABASE\n"},
    {"table {{.ID}}\\t{{.Label \"org.tier\"}}",
     "CONTAINER ID   tier\n1234           front\n5              \n"},
    {"x", "x\nx\n"},
};
INSTANTIATE_TEST_SUITE_P(Formats, ListFormat, testing::ValuesIn(kCases));

TEST(List, PrintsItsHeadingWhenThereIsNothing) {
  EXPECT_EQ(listed("", false, true), "CONTAINER ID   NAMES\n");
  EXPECT_EQ(listed("json", false, true), "");
  EXPECT_EQ(listed("{{.ID}}", false, true), "");
}

TEST(List, LeavesTheHeadingOutWhenAsked) {
  EXPECT_EQ(listed("", true), "1234   web\n5      database\n");
  EXPECT_EQ(listed("table {{.Names}}", true), "web\ndatabase\n");
}

TEST(List, NamesTheFieldsWhenOneIsUnknown) {
  try {
    (void)listed("{{.Nope}}");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "template: no field \"Nope\"; fields here: ID, Label, Names, Size");
  }
}

}  // namespace
}  // namespace img::cli
