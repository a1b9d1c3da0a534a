#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"
#include "cli/progress_ci.h"
#include "cli/progress_rawjson.h"
#include "tests/cli/command_line.h"
#include "tests/cli/progress_support.h"

namespace img::cli {
namespace {

Error placedError() {
  Error error{Kind::failed, "RUN failed with exit code 2"};
  Position position;
  position.file = "a,b:c/Dockerfile";
  position.line = 12;
  position.endLine = 13;
  error.at(position);
  error.why("50% of it\nreturned 2");
  return error;
}

class GhaTest : public testing::Test {
 protected:
  GhaTest() {
    build.show(
        [](DisplayHost host) { return std::make_unique<GhaProgress>(std::move(host), "TOKEN"); });
  }
  PlayedBuild build;
};

TEST_F(GhaTest, PutsAStepIntoAGroupInWhichNoCommandIsObeyed) {
  build.start(2, "first build");
  build.pass(512);
  build.output(2, "::set-output name=x::y\n##[error]no\n");
  build.pass(500);
  build.done(2);
  build.sealed(2, 10);
  build.cached(1);
  build.succeed();
  EXPECT_EQ(build.text,
            "::group::[build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "reason: first build\n"
            "::stop-commands::TOKEN\n"
            "0.512 ::set-output name=x::y\n"
            "0.512 ##[error]no\n"
            "::TOKEN::\n"
            "DONE 1.0s\n"
            "::endgroup::\n"
            "::group::[base 1/1] FROM debian:12 (Dockerfile:11)\n"
            "CACHED\n"
            "::endgroup::\n"
            "built app\n");
}

TEST_F(GhaTest, ClosesTheGroupOfASilentStepAndOpensAnotherLater) {
  build.start(2);
  build.start(3);
  build.pass(5000);
  build.hub.tick();
  build.output(2, "more\n");
  build.done(3);
  build.done(2);
  EXPECT_EQ(build.text,
            "::group::[build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "still running, see below\n"
            "::endgroup::\n"
            "::group::[docs 1/1] RUN mkdocs build (Dockerfile:13)\n"
            "DONE 5.0s\n"
            "::endgroup::\n"
            "::group::[build 1/2] RUN make -j2 (Dockerfile:12) (continued)\n"
            "::stop-commands::TOKEN\n"
            "5.000 more\n"
            "::TOKEN::\n"
            "DONE 5.0s\n"
            "::endgroup::\n");
}

TEST_F(GhaTest, AnnotatesTheErrorAndObeysNothingInItsReport) {
  build.start(2);
  build.fail(2, "RUN failed with exit code 2");
  build.taken();
  build.breakDown(placedError());
  EXPECT_EQ(build.text,
            "::error file=a%2Cb%3Ac/Dockerfile,line=12,endLine=13,title=img build::"
            "RUN failed with exit code 2%0Awhy: 50%25 of it\\x0areturned 2\n"
            "::stop-commands::TOKEN\n"
            "error: report\n"
            "::TOKEN::\n");
}

TEST_F(GhaTest, AnnotatesWarnings) {
  build.hub.warning(Error{Kind::failed, "stage ##[name] is odd"});
  build.hub.warning(Error{Kind::failed, "stage ##[name] is odd"});  // shown once
  EXPECT_EQ(build.text, "::warning title=img build::stage ## [name] is odd\n");
}

TEST(GitlabProgress, PutsAStepIntoACollapsedSection) {
  PlayedBuild build;
  build.show([](DisplayHost host) { return std::make_unique<GitlabProgress>(std::move(host)); });
  build.start(2, "first build");
  build.output(2, "x\n");
  build.start(3);
  build.pass(6000);
  build.hub.tick();
  build.done(3);
  build.done(2);
  EXPECT_EQ(build.text,
            "\x1b[0Ksection_start:1700001000:step_2[collapsed=true]\r\x1b[0K"
            "[build 1/2] RUN make -j2 (Dockerfile:12)\n"
            "reason: first build\n"
            "0.000 x\n"
            "still running, see below\n"
            "\x1b[0Ksection_end:1700001006:step_2\r\x1b[0K\n"
            "\x1b[0Ksection_start:1700001006:step_3[collapsed=true]\r\x1b[0K"
            "[docs 1/1] RUN mkdocs build (Dockerfile:13)\n"
            "DONE 6.0s\n"
            "\x1b[0Ksection_end:1700001006:step_3\r\x1b[0K\n"
            "\x1b[0Ksection_start:1700001006:step_2_2[collapsed=true]\r\x1b[0K"
            "[build 1/2] RUN make -j2 (Dockerfile:12) (continued)\n"
            "DONE 6.0s\n"
            "\x1b[0Ksection_end:1700001006:step_2_2\r\x1b[0K\n");
}

class RawJsonTest : public testing::Test {
 protected:
  RawJsonTest() {
    build.show([](DisplayHost host) { return std::make_unique<RawJsonProgress>(std::move(host)); });
  }
  // The items of one kind, in order; every line must be an object with one array.
  std::vector<Json> items(const std::string& kind) {
    std::vector<Json> found;
    for (const std::string& line : text::split(text::trim(build.text), '\n')) {
      const Json object = parseJson(line, "line");
      EXPECT_EQ(object.size(), 1u) << line;
      if (object.contains(kind)) {
        for (const Json& item : object.at(kind)) found.push_back(item);
      }
    }
    return found;
  }
  PlayedBuild build;
};

TEST_F(RawJsonTest, TellsTheLifeOfAStep) {
  build.start(2, "first build");
  build.pass(1500);
  build.output(2, std::string_view{"a\0\xff", 3});
  build.done(2);
  build.sealed(2, 42);
  const std::vector<Json> vertexes = items("vertexes");
  ASSERT_EQ(vertexes.size(), 3u);
  EXPECT_EQ(vertexes[0].at("name"), "[build 1/2] RUN make -j2");
  EXPECT_EQ(vertexes[0].at("started"), "2023-11-14T22:30:00Z");
  EXPECT_FALSE(vertexes[0].contains("completed"));
  EXPECT_EQ(vertexes[0].at("img"), (Json{{"step", 2}, {"line", 12}, {"reason", "first build"}}));
  EXPECT_EQ(vertexes[1].at("completed"), "2023-11-14T22:30:01.5Z");
  EXPECT_EQ(vertexes[2].at("img").at("layer"), Digest::of("layer").str());
  EXPECT_EQ(vertexes[2].at("img").at("bytes"), 42);
  EXPECT_TRUE(Digest::tryParse(vertexes[0].at("digest").get<std::string>()));
  const std::vector<Json> logs = items("logs");
  ASSERT_EQ(logs.size(), 1u);
  EXPECT_EQ(logs[0].at("vertex"), vertexes[0].at("digest"));
  EXPECT_EQ(logs[0].at("data"), "YQD/");
  EXPECT_EQ(logs[0].at("stream"), 1);
  EXPECT_EQ(items("statuses").at(0).at("total"), 42);
}

TEST_F(RawJsonTest, LinksTheStepsOfAStage) {
  build.start(2);
  build.done(2);
  build.cached(1);
  build.start(4);
  const std::vector<Json> vertexes = items("vertexes");
  ASSERT_EQ(vertexes.size(), 4u);
  EXPECT_FALSE(vertexes[0].contains("inputs"));
  EXPECT_TRUE(vertexes[2].at("cached").get<bool>());
  EXPECT_EQ(vertexes[3].at("inputs"), Json::array({vertexes[0].at("digest")}));
}

TEST_F(RawJsonTest, TellsErrorsAndWarnings) {
  build.start(2);
  build.fail(2, "RUN failed with exit code 2");
  build.hub.warning(placedError());
  EXPECT_EQ(items("vertexes").at(1).at("error"), "RUN failed with exit code 2");
  const Json warning = items("warnings").at(0);
  EXPECT_EQ(warning.at("short"), text::base64("RUN failed with exit code 2"));
  EXPECT_EQ(warning.at("range").at(0).at("start").at("line"), 12);
  EXPECT_EQ(warning.at("range").at(0).at("end").at("line"), 13);
}

class ChooseStyle : public testing::Test {
 protected:
  ProgressStyle chosen(const std::string& option, bool isQuiet = false) {
    return chooseStyle(context, option, isQuiet);
  }
  const ScopedVariable clean_[9] = {
      {"CI", nullptr},           {"GITHUB_ACTIONS", nullptr},    {"GITLAB_CI", nullptr},
      {"BUILDKITE", nullptr},    {"JENKINS_URL", nullptr},       {"TF_BUILD", nullptr},
      {"IMG_PROGRESS", nullptr}, {"BUILDKIT_PROGRESS", nullptr}, {"TEAMCITY_VERSION", nullptr}};
  Context context{-1, -1};  // no terminal
};

TEST_F(ChooseStyle, IsPlainWithoutATerminal) {
  EXPECT_EQ(chosen(""), ProgressStyle::plain);
  EXPECT_EQ(chosen("auto"), ProgressStyle::plain);
  EXPECT_EQ(chosen("tty"), ProgressStyle::plain);
}

TEST_F(ChooseStyle, FollowsTheCiServiceUnlessToldOtherwise) {
  const ScopedVariable gitlab{"GITLAB_CI", "true"};
  EXPECT_EQ(chosen(""), ProgressStyle::gitlab);
  const ScopedVariable github{"GITHUB_ACTIONS", "true"};
  EXPECT_EQ(chosen("auto"), ProgressStyle::gha);
  EXPECT_EQ(chosen("rawjson"), ProgressStyle::rawjson);
  const ScopedVariable variable{"BUILDKIT_PROGRESS", "none"};
  EXPECT_EQ(chosen(""), ProgressStyle::none);
  const ScopedVariable ours{"IMG_PROGRESS", "gitlab"};
  EXPECT_EQ(chosen(""), ProgressStyle::gitlab);
  EXPECT_EQ(chosen("", true), ProgressStyle::quiet);
}

TEST_F(ChooseStyle, RefusesOtherWordsAndSaysWhereTheyStand) {
  const auto cause = [&](const std::string& option) {
    try {
      chosen(option);
    } catch (const Error& error) {
      return error.cause();
    }
    return std::string{};
  };
  const std::string styles = ": use auto, tty, plain, rawjson, gha, gitlab, quiet or none";
  EXPECT_EQ(cause("fancy"), "--progress \"fancy\"" + styles);
  const ScopedVariable variable{"BUILDKIT_PROGRESS", "fancy"};
  EXPECT_EQ(cause(""), "BUILDKIT_PROGRESS \"fancy\"" + styles);
}

}  // namespace
}  // namespace img::cli
