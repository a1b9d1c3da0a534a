#include "cli/process_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"

namespace img::cli {
namespace {

constexpr char kStat[] =
    "4711 (odd ) (name) S 1 4711 4711 34817 4711 4194560 1 2 3 4 1234 66 7 8 20 0 2 0 360000 "
    "2322432 400 "
    "18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";
constexpr char kStatus[] =
    "Name:\tx\nUid:\t1\t1000\t1\t1\nGid:\t1\t1001\t1\t1\nVmLck:\t       0 kB\n";

SystemFacts system() {
  SystemFacts facts;
  facts.uptimeTicks = 360000 + 100 * 100;  // the process is 100 s old
  facts.memoryBytes = std::uint64_t{4096} * 4000;
  facts.now = 1'767'312'000;
  facts.userName = [](uid_t uid) { return uid == 1000 ? "app" : std::to_string(uid); };
  facts.groupName = [](gid_t gid) { return std::to_string(gid); };
  return facts;
}

ProcessFacts process() {
  return parseProcess(kStat, kStatus, std::string_view("sh\0-c\0x y\0", 10)).value();
}

TEST(ParseProcess, ReadsNamesWithBlanksAndParentheses) {
  const ProcessFacts facts = process();
  EXPECT_EQ(facts.pid, 4711);
  EXPECT_EQ(facts.ppid, 1);
  EXPECT_EQ(facts.comm, "odd ) (name");
  EXPECT_EQ(facts.uid, 1000u);
  EXPECT_EQ(facts.gid, 1001u);
  EXPECT_EQ(facts.args, "sh -c x y");
  EXPECT_EQ(facts.threads, 2);
  EXPECT_EQ(facts.start, 360000u);
}

TEST(ParseProcess, KnowsItsNumberInEveryPidNamespace) {
  EXPECT_EQ(parseProcess(kStat, "NSpid:\t4711\t12\t1\n", "")->pids,
            (std::vector<pid_t>{4711, 12, 1}));
  EXPECT_TRUE(process().pids.empty()) << "a kernel that does not say";
}

TEST(ParseProcess, WhatIsNoStatLineIsNothing) {
  EXPECT_FALSE(parseProcess("", "", ""));
  EXPECT_FALSE(parseProcess("1 (x) S 1", "", ""));
}

TEST(ReadProcess, ReadsThisOneAndNoMissingOne) {
  EXPECT_EQ(readProcess(::getpid())->pid, ::getpid());
  EXPECT_FALSE(readProcess(0x3fffffff));
}

std::string headings(const std::vector<std::string>& options) {
  std::string text;
  for (const ProcessColumn& column : parseColumns(options)) text += column.heading + " ";
  return text;
}

TEST(Columns, FollowTheOptionsOfPs) {
  EXPECT_EQ(headings({}), "UID PID PPID C STIME TTY TIME CMD ");
  EXPECT_EQ(headings({"-ef"}), headings({}));
  EXPECT_EQ(headings({"-e", "-f"}), headings({}));
  EXPECT_EQ(headings({"aux"}), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND ");
  EXPECT_EQ(headings({"-o", "pid,args"}), "PID COMMAND ");
  EXPECT_EQ(headings({"-eo", "pid,cmd=What,%cpu"}), "PID What %CPU ");
  EXPECT_EQ(headings({"-opid", "-o", "ni"}), "PID NI ");
}

TEST(Columns, UnknownOnesAreRefused) {
  EXPECT_THROW(parseColumns({"-o", "colour"}), Error);
  EXPECT_THROW(parseColumns({"-o"}), Error);
  EXPECT_THROW(parseColumns({"--forest"}), Error);
}

struct Case {
  std::string_view column, expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.column;
}
constexpr Case kCases[] = {
    {"pid", "4711"},      {"user", "app"},    {"uid", "1000"},      {"group", "1001"},
    {"time", "00:00:13"}, {"etime", "01:40"}, {"rss", "1600"},      {"vsz", "2268"},
    {"nlwp", "2"},        {"pcpu", "13.0"},   {"c", "13"},          {"pmem", "10.0"},
    {"tty", "pts/1"},     {"stat", "Ssl+"},   {"state", "S"},       {"comm", "odd ) (name"},
    {"psr", "1"},         {"nice", "0"},      {"cmd", "sh -c x y"},
};
class Cells : public testing::TestWithParam<Case> {};
TEST_P(Cells, ShowTheProcess) {
  const auto columns = parseColumns({"-o", std::string{GetParam().column}});
  EXPECT_EQ(columns.at(0).cell(process(), system()), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Columns, Cells, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.column}; });

}  // namespace
}  // namespace img::cli
