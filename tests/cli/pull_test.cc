#include "cli/pull.h"

#include <gtest/gtest.h>

#include "cli/pull_display.h"

namespace img::cli {
namespace {

struct Drawn {
  const char* name;
  LayerLine line;
  size_t columns;
  const char* expected;
};
void PrintTo(const Drawn& drawn, std::ostream* out) {
  *out << drawn.name;
}

using State = LayerLine::State;
const Drawn kDrawn[] = {
    {"Waiting", {"0123456789ab", 0, 100, State::waiting}, 80, "0123456789ab  waiting"},
    {"Begun",
     {"0123456789ab", 0, 100, State::running},
     80,
     "0123456789ab  [>                             ] 0B/100B"},
    {"Half",
     {"0123456789ab", 5'000'000, 10'000'000, State::running},
     80,
     "0123456789ab  [===============>              ] 5MB/10MB"},
    {"Full",
     {"0123456789ab", 100, 100, State::running},
     80,
     "0123456789ab  [==============================] 100B/100B"},
    {"OfNothing",
     {"0123456789ab", 0, 0, State::running},
     80,
     "0123456789ab  [==============================] 0B/0B"},
    {"Done", {"0123456789ab", 100, 100, State::pulled}, 80, "0123456789ab  done 100B"},
    {"There", {"0123456789ab", 0, 100, State::there}, 80, "0123456789ab  already there"},
    {"Narrow", {"0123456789ab", 0, 100, State::there}, 16, "0123456789ab  al"},
};

class PullLine : public testing::TestWithParam<Drawn> {};
TEST_P(PullLine, ShowsHowFarALayerIs) {
  EXPECT_EQ(renderLayer(GetParam().line, GetParam().columns), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Lines, PullLine, testing::ValuesIn(kDrawn),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(PullWord, IsOneOfFourOrABoolean) {
  EXPECT_EQ(parsePull("missing", "--pull"), Pull::missing);
  EXPECT_EQ(parsePull("always", "--pull"), Pull::always);
  EXPECT_EQ(parsePull("newer", "--pull"), Pull::newer);
  EXPECT_EQ(parsePull("never", "--pull"), Pull::never);
  EXPECT_EQ(parsePull("true", "--pull"), Pull::always);
  EXPECT_EQ(parsePull("false", "--pull"), Pull::missing);
  try {
    parsePull("often", "--policy");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    EXPECT_EQ(error.cause(), "invalid value \"often\" for --policy");
  }
}

}  // namespace
}  // namespace img::cli
