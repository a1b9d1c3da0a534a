#include "cli/table.h"

#include <gtest/gtest.h>

namespace img::cli {
namespace {

TEST(Table, PadsToTheWidestCellWithThreeBlanks) {
  EXPECT_EQ(layoutTable({{"ID", "NAME"}, {"12345", "a"}, {"1", "long name"}}),
            "ID      NAME\n"
            "12345   a\n"
            "1       long name\n");
}

TEST(Table, IsEmptyWithoutRows) {
  EXPECT_EQ(layoutTable({}), "");
}

TEST(Table, CountsCharactersNotBytes) {
  EXPECT_EQ(layoutTable({{"ä…", "x"}, {"abc", "y"}}), "ä…    x\nabc   y\n");
}

TEST(Table, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(layoutTable({{"a\x1b]0;x\x07", "b\nc"}}), "a\\x1b]0;x\\x07   b\\x0ac\n");
}

TEST(Table, KeepsAnEmptyCellInTheMiddle) {
  EXPECT_EQ(layoutTable({{"A", "B", "C"}, {"1", "", "3"}}), "A   B   C\n1       3\n");
}

}  // namespace
}  // namespace img::cli
