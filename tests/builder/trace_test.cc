#include "builder/trace.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace img::builder {
namespace {

class TraceTest : public testing::Test {
 protected:
  Json written() const { return parseJson(trace.json(), "trace").at("traceEvents"); }
  Json event(const std::string& name) const {
    for (const Json& item : written()) {
      if (item.at("name") == name) return item;
    }
    return {};
  }
  std::string laneOf(const std::string& name) const {
    const Json tid = event(name).at("tid");
    for (const Json& item : written()) {
      if (item.at("name") == "thread_name" && item.at("tid") == tid) return item["args"]["name"];
    }
    return {};
  }

  std::int64_t now = 1000;
  Trace trace{[this] { return now; }};
};

TEST_F(TraceTest, WritesASpanWithItsTimeAndArguments) {
  {
    Trace::Span span = Trace::begin(&trace, "sealer", "run", "RUN make \"x\"");
    span.arg("step", std::int64_t{3});
    span.arg("cached", false);
    span.arg("reason", std::string{"src/\"a\" changed"});
    now += 250;
  }
  EXPECT_EQ(event("RUN make \"x\""),
            (Json{{"ph", "X"},
                  {"name", "RUN make \"x\""},
                  {"cat", "run"},
                  {"pid", 1},
                  {"tid", 1},
                  {"ts", 1000},
                  {"dur", 250},
                  {"args", {{"step", 3}, {"cached", false}, {"reason", "src/\"a\" changed"}}}}));
}

TEST_F(TraceTest, GivesOverlappingSpansOfALaneRowsOfTheirOwn) {
  Trace::Span first = Trace::begin(&trace, "step", "run", "a");
  Trace::Span second = Trace::begin(&trace, "step", "run", "b");
  first.end();
  Trace::Span third = Trace::begin(&trace, "step", "run", "c");
  EXPECT_EQ(laneOf("a"), "step");
  EXPECT_EQ(laneOf("b"), "step 2");
  EXPECT_EQ(laneOf("c"), "step") << "the row of the first is free again";
}

TEST_F(TraceTest, PutsTheSpansOfAStepIntoOneRow) {
  Trace::Span outer = Trace::beginStep(&trace, 7, 12, "run", "outer");
  Trace::Span other = Trace::beginStep(&trace, 8, 13, "run", "other");
  Trace::Span inner = Trace::beginStep(&trace, 7, 12, "mount", "inner");
  inner.end();
  Trace::Span next = Trace::beginStep(&trace, 9, 14, "run", "next");
  outer.end();
  Trace::Span again = Trace::beginStep(&trace, 7, 12, "export", "again");
  EXPECT_EQ(laneOf("inner"), "step");
  EXPECT_EQ(laneOf("other"), "step 2");
  EXPECT_EQ(laneOf("next"), "step 3") << "the end of the inner one does not free the row";
  EXPECT_EQ(laneOf("again"), "step");
  EXPECT_EQ(event("inner").at("args"), (Json{{"step", 7}, {"line", 12}}));
}

TEST_F(TraceTest, EndsOpenSpansWhenItIsWritten) {
  const Trace::Span span = Trace::begin(&trace, "sealer", "seal", "layer");
  now += 40;
  EXPECT_EQ(event("layer").at("dur"), 40);
  EXPECT_EQ(event("layer").at("args").at("unfinished"), true);
}

TEST_F(TraceTest, CountsOnceASecond) {
  trace.sample();
  now += 999'000;
  trace.sample();
  EXPECT_EQ(trace.msToNextSample(), 1);
  now += 1'000;
  trace.sample();
  int samples = 0;
  for (const Json& item : written()) {
    if (item.at("name") != "rss") continue;
    ++samples;
    EXPECT_EQ(item.at("ph"), "C");
    EXPECT_GT(item.at("args").at("value"), 4096);
  }
  EXPECT_EQ(samples, 2);
}

TEST(NoTrace, CostsNothingAndDoesNothing) {
  Trace::Span span = Trace::begin(nullptr, "step", "run", "x");
  span.arg("step", std::int64_t{1});
  Trace::Span inner = Trace::beginStep(nullptr, 1, 2, "mount", "y");
  inner.end();
  span.end();
}

}  // namespace
}  // namespace img::builder
