#include "cli/container_facts.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::cli {
namespace {

using Status = store::ContainerState::Status;

constexpr long long kNow = 1'767'312'000;  // 2026-01-02T00:00:00Z

TEST(StatusText, SaysWhatTheContainerDoes) {
  store::ContainerState state;
  EXPECT_EQ(statusText(state, kNow), "Created");
  state.status = Status::running;
  state.startedAt = "2026-01-01T23:57:00.5Z";
  EXPECT_EQ(statusText(state, kNow), "Up 3 minutes");
  state.status = Status::paused;
  EXPECT_EQ(statusText(state, kNow), "Up 3 minutes (Paused)");
  state.status = Status::exited;
  state.exitCode = 137;
  state.finishedAt = "2026-01-01T22:00:00Z";
  EXPECT_EQ(statusText(state, kNow), "Exited (137) 2 hours ago");
  state.status = Status::restarting;
  state.exitCode = 1;
  EXPECT_EQ(statusText(state, kNow), "Restarting (1) 2 hours ago");
}

TEST(StatusText, SaysHowAContainerWithAHealthCheckIs) {
  store::ContainerState state;
  state.status = Status::running;
  state.startedAt = "2026-01-01T23:57:00Z";
  state.healthStatus = "starting";
  EXPECT_EQ(statusText(state, kNow), "Up 3 minutes (health: starting)");
  state.healthStatus = "unhealthy";
  EXPECT_EQ(statusText(state, kNow), "Up 3 minutes (unhealthy)");
}

TEST(CommandText, IsQuotedAndShort) {
  EXPECT_EQ(commandText({"true"}, false), "\"true\"");
  EXPECT_EQ(commandText({"sleep", "infinity", "and", "more"}, false), "\"sleep infinity and …\"");
  EXPECT_EQ(commandText({"sh", "-c", "echo \"a\""}, true), R"("sh -c 'echo \"a\"'")");
  EXPECT_EQ(commandText({"a\nb\t\\"}, true), R"("a\nb\t\\")");
}

store::ContainerRecord sample() {
  store::ContainerRecord record;
  record.config.id = "abcdef" + std::string(58, '0');
  record.config.name = "web-1";
  record.config.createdAt = "2026-01-01T00:00:00Z";
  record.config.imageName = "app";
  record.config.imageId = Digest::of("image");
  record.config.labels = {{"tier", "front"}, {"x", ""}};
  record.config.network = "none";
  record.config.exposedPorts = {"80/tcp"};
  record.config.networkOptions.ports = {{"", 4000, 53, "udp"}};
  record.state.ports = {{"0.0.0.0", 4000, 53, "udp"}, {"0.0.0.0", 4001, 80, "tcp"}};
  record.config.mounts.emplace_back();
  record.config.mounts[0].name = "data";
  record.config.mounts[0].destination = "/data";
  record.state.status = Status::exited;
  record.state.exitCode = 3;
  return record;
}

struct Case {
  std::string_view name;
  std::vector<std::string> filters;
  bool passes;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}
const Case kCases[] = {
    {"NoFilter", {}, true},
    {"IdPrefix", {"id=abc"}, true},
    {"OtherId", {"id=bcd"}, false},
    {"PartOfTheName", {"name=eb"}, true},
    {"EitherName", {"name=db", "name=web"}, true},
    {"BothKinds", {"name=web", "exited=0"}, false},
    {"ExitCode", {"exited=3"}, true},
    {"State", {"status=exited"}, true},
    {"EitherState", {"status=running", "status=exited"}, true},
    {"OtherState", {"status=running"}, false},
    {"LabelKey", {"label=tier"}, true},
    {"LabelValue", {"label=tier=front"}, true},
    {"EmptyLabelValue", {"label=x="}, true},
    {"AllLabelsMustMatch", {"label=tier", "label=nope"}, false},
    {"NotALabel", {"label!=nope"}, true},
    {"NoneOfTheLabels", {"label!=nope", "label!=tier=front"}, false},
    {"AncestorName", {"ancestor=app"}, true},
    {"AncestorWithTag", {"ancestor=app:latest"}, true},
    {"OtherTag", {"ancestor=app:1"}, false},
    {"VolumeName", {"volume=data"}, true},
    {"VolumePath", {"volume=/data"}, true},
    {"OtherVolume", {"volume=cache"}, false},
    {"Network", {"network=none"}, true},
    {"NoHealthCheck", {"health=none"}, true},
    {"OtherHealth", {"health=healthy", "health=starting"}, false},
    {"Expose", {"expose=80"}, true},
    {"OtherPort", {"expose=80/udp"}, false},
    {"ExposeInARange", {"expose=70-90/tcp"}, true},
    {"ExposeByPublishing", {"expose=53/udp"}, true},
    {"PublishOfWhatDoesNotRun", {"publish=4000"}, false},
};
class Filters : public testing::TestWithParam<Case> {};
TEST_P(Filters, SelectContainers) {
  ContainerFilter filter;
  for (const std::string& text : GetParam().filters) filter.add(text);
  EXPECT_EQ(filter.passes(sample()), GetParam().passes);
}
INSTANTIATE_TEST_SUITE_P(Kinds, Filters, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Filter, ByAncestorsId) {
  for (const std::string& id :
       {Digest::of("image").str(), Digest::of("image").hex().substr(0, 12)}) {
    ContainerFilter filter;
    filter.add("ancestor=" + id);
    EXPECT_TRUE(filter.passes(sample())) << id;
  }
}

TEST(Filter, ByPublishedPortsOfWhatRuns) {
  store::ContainerRecord record = sample();
  record.state.status = Status::running;
  for (const auto& [text, passes] : {std::pair{"publish=4001", true},
                                     {"publish=4000/udp", true},
                                     {"publish=4000", false},
                                     {"publish=3000-5000", true},
                                     {"publish=80", false}}) {
    ContainerFilter filter;
    filter.add(text);
    EXPECT_EQ(filter.passes(record), passes) << text;
  }
}

TEST(Filter, BeforeAndSinceCompareTimes) {
  ContainerFilter filter;
  filter.add("before=other");
  EXPECT_EQ(filter.wanted("before"), std::vector<std::string>{"other"});
  filter.resolve("before", {store::sortableTime("2026-01-01T00:00:00.1Z")});
  EXPECT_TRUE(filter.passes(sample()));
  filter.resolve("before", {store::sortableTime("2026-01-01T00:00:00Z")});
  EXPECT_FALSE(filter.passes(sample()));
}

TEST(Filter, UnknownKindsAndStatesAreRefused) {
  ContainerFilter filter;
  EXPECT_THROW(filter.add("colour=red"), Error);
  EXPECT_THROW(filter.add("status=asleep"), Error);
  EXPECT_THROW(filter.add("exited=x"), Error);
}

}  // namespace
}  // namespace img::cli
