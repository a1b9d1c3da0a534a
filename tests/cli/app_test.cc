#include "cli/app.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <ostream>

#include "base/fd.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/options.h"
#include "tests/cli/command_line.h"

namespace img::cli {
namespace {

// Says which command ran and what it got.
int echo(Context& context, const std::vector<std::string>& args) {
  Options options{context, "[WORD...]", "Print the words"};
  if (!options.parse(args)) return 0;
  context.print(context.command + ":" + text::join(options.words(), "|") + "\n");
  return 0;
}

CommandTable testTable() {
  CommandTable table;
  table.add({"images,ls,image ls", Group::images, "List images", echo});
  table.add({"rm,container rm", Group::containers, "Remove containers", echo});
  table.add({"volume create", Group::volumes, "Create a volume", echo});
  table.add({"fails", Group::system, "Fail", [](Context&, const std::vector<std::string>&) -> int {
               throw Error{Kind::failed, "it failed"}.exitCode(42);
             }});
  table.add(
      {"breaks", Group::system, "Break", [](Context&, const std::vector<std::string>&) -> int {
         throw std::out_of_range{"map::at"};
       }});
  table.add({"targets", Group::system, "Fail for one target",
             [](Context& context, const std::vector<std::string>&) {
               context.print("one\n");
               context.fail(Error{Kind::notFound, "no such thing: two"});
               context.print("three\n");
               return context.status();
             }});
  table.add(
      {"warns", Group::system, "Warn twice", [](Context& context, const std::vector<std::string>&) {
         context.warn(Error{Kind::failed, "careful"});
         context.warn(Error{Kind::failed, "careful"});
         return 0;
       }});
  return table;
}

struct Case {
  std::vector<std::string> argv;
  int status;
  std::string_view out, err;  // err: how it begins
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << text::join(c.argv, " ");
}

class Dispatch : public testing::TestWithParam<Case> {};
TEST_P(Dispatch, RunsTheCommandThatIsMeant) {
  const CommandResult result = runWith(testTable(), GetParam().argv);
  EXPECT_EQ(result.status, GetParam().status);
  EXPECT_EQ(result.out, GetParam().out);
  EXPECT_TRUE(result.err.starts_with(GetParam().err)) << result.err;
  EXPECT_EQ(result.err.empty(), GetParam().err.empty()) << result.err;
}
const Case kCases[] = {
    {{"img", "images", "a", "b"}, 0, "images:a|b\n", ""},
    {{"img", "ls"}, 0, "ls:\n", ""},
    {{"img", "image", "ls", "x"}, 0, "image ls:x\n", ""},
    {{"/usr/bin/imgls", "x"}, 0, "ls:x\n", ""},
    {{"imgrm", "x"}, 0, "rm:x\n", ""},
    {{"imgvolume", "create", "v"}, 0, "volume create:v\n", ""},
    {{"./img", "volume", "create", "v"}, 0, "volume create:v\n", ""},
    {{"something-else", "ls"}, 0, "ls:\n", ""},
    {{"img-0.1", "ls"}, 0, "ls:\n", ""},
    {{"img", "--root", "/x", "ls", "--root=/y"}, 0, "ls:\n", ""},
    {{"img", "--log-level=info", "volume", "--color", "never", "create"},
     0,
     "volume create:\n",
     ""},
    {{"img", "--", "ls"}, 0, "ls:\n", ""},
    {{"img", "ls", "--", "-x"}, 0, "ls:-x\n", ""},
    {{"img", "--version"}, 0, "img version " IMG_VERSION "\n", ""},
    {{"img", "-v"}, 0, "img version " IMG_VERSION "\n", ""},
    {{"img", "lss"},
     125,
     "",
     "error: unknown command \"lss\"\n   = hint: did you mean ls?\nSee 'img --help'\n"},
    {{"img", "image", "lx"},
     125,
     "",
     "error: unknown command \"image lx\"\n   = hint: did you mean ls?\nSee 'img image --help'\n"},
    {{"img", "events", "x"},
     125,
     "",
     "error: unknown command \"events\"\n   = hint: this version of img has no events command\nSee "
     "'img --help'\n"},
    {{"imgevents", "x"}, 125, "", "error: unknown command \"events\"\n   = hint: this version"},
    {{"img", "\x1b[2J"}, 125, "", "error: unknown command \"\\x1b[2J\"\n"},
    {{"img", "ls", "--nope"}, 125, "", "error: unknown flag: --nope\n"},
    {{"img", "--nope", "ls"}, 125, "", "error: unknown flag: --nope\n"},
    {{"img", "--error-format=json", "ls", "--nope"},
     125,
     "",
     "{\"error\":\"unknown flag: --nope\",\"exit_code\":125"},
    {{"img", "ls", "--error-format=json", "--nope"},
     125,
     "",
     "{\"error\":\"unknown flag: --nope\",\"exit_code\":125"},
    {{"img", "fails"}, 42, "", "error: it failed\n"},
    {{"img", "breaks"}, 1, "", "error: internal error: map::at\n"},
    {{"img", "targets"}, 1, "one\nthree\n", "error: no such thing: two\n"},
    {{"img", "warns"}, 0, "", "warning: careful\n"},
};
INSTANTIATE_TEST_SUITE_P(Lines, Dispatch, testing::ValuesIn(kCases));

TEST(App, ShowsTheSameWarningOnce) {
  EXPECT_EQ(runWith(testTable(), {"img", "warns"}).err, "warning: careful\n");
}

TEST(App, ListsItsCommandsAndOptions) {
  for (const std::vector<std::string>& argv :
       {std::vector<std::string>{"img"}, {"img", "--help"}, {"img", "-h"}}) {
    const CommandResult result = runWith(testTable(), argv);
    EXPECT_EQ(result.status, 0);
    EXPECT_NE(result.out.find("\nImages:\n  images              List images\n"), std::string::npos)
        << result.out;
    EXPECT_NE(result.out.find("--error-format FORMAT"), std::string::npos);
    EXPECT_EQ(result.err, "");
  }
}

TEST(App, ListsTheCommandsOfAGroup) {
  for (const std::vector<std::string>& argv :
       {std::vector<std::string>{"img", "volume"}, {"img", "volume", "--help"}, {"imgvolume"}}) {
    const CommandResult result = runWith(testTable(), argv);
    EXPECT_EQ(result.status, 0);
    EXPECT_NE(result.out.find("  create          Create a volume\n"), std::string::npos)
        << result.out;
  }
}

TEST(App, PrintsTheHelpOfACommand) {
  const CommandResult result = runWith(testTable(), {"img", "image", "ls", "--help"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("Usage: img image ls [OPTIONS] [WORD...]"), std::string::npos);
}

TEST(App, EndsQuietlyWhenTheReaderHasGone) {
  const auto old = signal(SIGPIPE, SIG_IGN);
  Pipe pipe = Pipe::make();
  pipe.read.reset();
  const Fd err{sys::check([] { return open("/dev/null", O_WRONLY | O_CLOEXEC); }, "open")};
  Context context{pipe.write.get(), err.get()};
  EXPECT_EQ(runCommandLine(testTable(), context, {"img", "ls"}), 0);
  signal(SIGPIPE, old);
}

TEST(App, ReportsOutputThatCannotBeWritten) {
  const Fd full{
      sys::check([] { return open("/dev/full", O_WRONLY | O_CLOEXEC); }, "open /dev/full")};
  Pipe pipe = Pipe::make();
  Context context{full.get(), pipe.write.get()};
  EXPECT_EQ(runCommandLine(testTable(), context, {"img", "ls"}), 1);
  pipe.write.reset();
  EXPECT_EQ(readAll(pipe.read.get(), "stderr"),
            "error: write to stdout: No space left on device (ENOSPC)\n");
}

TEST(App, RefusesABadLogLevelOfTheEnvironment) {
  const ScopedVariable level{"IMG_LOG_LEVEL", "loud"};
  const CommandResult result = runWith(testTable(), {"img", "ls"});
  EXPECT_EQ(result.status, 125);
  EXPECT_TRUE(result.err.starts_with("error: invalid value \"loud\"")) << result.err;
}

TEST(Colour, FollowsTheOptionThenTheEnvironment) {
  const ScopedVariable noColor{"NO_COLOR", nullptr};
  const ScopedVariable cliForce{"CLICOLOR_FORCE", nullptr};
  const ScopedVariable force{"FORCE_COLOR", nullptr};
  Pipe pipe = Pipe::make();
  Context context{pipe.write.get(), pipe.write.get()};
  const int fd = pipe.write.get();
  EXPECT_FALSE(context.useColor(fd));  // no terminal
  context.globals.color = When::always;
  EXPECT_TRUE(context.useColor(fd));
  {
    const ScopedVariable no{"NO_COLOR", "1"};
    EXPECT_FALSE(context.useColor(fd));
  }
  context.globals.color = When::automatic;
  {
    const ScopedVariable on{"FORCE_COLOR", "1"};
    EXPECT_TRUE(context.useColor(fd));
    context.globals.color = When::never;
    EXPECT_FALSE(context.useColor(fd));
    context.globals.color = When::automatic;
  }
  {
    const ScopedVariable off{"CLICOLOR_FORCE", "0"};
    EXPECT_FALSE(context.useColor(fd));
  }
}

TEST(Program, HasItsCommands) {
  const CommandResult help = runImg({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* name :
       {"build", "run", "images", "tag", "rmi", "history", "save", "load", "import", "inspect",
        "volume create", "volume ls", "volume rm", "version", "info"}) {
    EXPECT_NE(help.out.find("\n  " + std::string{name} + " "), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace img::cli
