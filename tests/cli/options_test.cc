#include "cli/options.h"

#include <gtest/gtest.h>

#include <ostream>

#include "base/error.h"
#include "base/text.h"
#include "tests/cli/command_line.h"

namespace img::cli {
namespace {

// A table with one option of each sort, and what a line makes of it.
struct Parsed {
  bool interactive = false, tty = false, remove = false;
  std::string name = "none";
  std::optional<std::string> user;
  std::vector<std::string> env, ports;
  std::optional<long long> memory, count, wait;
  std::string pull = "missing";
  std::vector<std::string> words;

  std::string str() const {
    std::string out;
    if (interactive) out += "i ";
    if (tty) out += "t ";
    if (remove) out += "rm ";
    if (name != "none") out += "name=" + name + " ";
    if (user) out += "user=" + *user + " ";
    if (!env.empty()) out += "env=" + text::join(env, "|") + " ";
    if (!ports.empty()) out += "ports=" + text::join(ports, "|") + " ";
    if (memory) out += "memory=" + std::to_string(*memory) + " ";
    if (count) out += "count=" + std::to_string(*count) + " ";
    if (wait) out += "wait=" + std::to_string(*wait) + " ";
    if (pull != "missing") out += "pull=" + pull + " ";
    return out + "[" + text::join(words, "|") + "]";
  }
};

void define(Options& options, Parsed& parsed) {
  options.flag("-i,--interactive", parsed.interactive, "Keep stdin open")
      .flag("-t,--tty", parsed.tty, "A terminal")
      .flag("--rm", parsed.remove, "Remove it")
      .text("--name", parsed.name, "NAME", "Name")
      .text("-u,--user", parsed.user, "USER", "User")
      .list("-e,--env", parsed.env, "K=V", "Environment")
      .list("-p,--publish", parsed.ports, "PORT", "Ports")
      .size("-m,--memory", parsed.memory, "Memory", true)
      .number("-n,--count", parsed.count, "N", "A number")
      .duration("--wait", parsed.wait, "A duration")
      .optionalValue("--pull", "always", "WHEN", "Pull",
                     [&parsed](const std::string& value) { parsed.pull = value; })
      .ignoredFlag("--compress")
      .ignoredValue("--isolation");
}

Parsed parseWords(const std::vector<std::string>& args, bool stops) {
  Context context;
  context.command = "test";
  Parsed parsed;
  Options options{context, "WORDS", "A test"};
  define(options, parsed);
  if (stops) options.stopAtPositional();
  EXPECT_TRUE(options.parse(args));
  parsed.words = options.words();
  return parsed;
}

struct Case {
  std::string_view line;  // words separated by single blanks; '' is an empty word
  std::string_view expected;
  bool stops = false;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.line;
}

std::vector<std::string> wordsOf(std::string_view line) {
  if (line.empty()) return {};
  std::vector<std::string> words = text::split(line, ' ');
  for (std::string& word : words) {
    if (word == "''") word.clear();
  }
  return words;
}

class OptionSyntax : public testing::TestWithParam<Case> {};
TEST_P(OptionSyntax, IsDockers) {
  EXPECT_EQ(parseWords(wordsOf(GetParam().line), GetParam().stops).str(), GetParam().expected);
}
constexpr Case kCases[] = {
    {"", "[]"},
    {"a b", "[a|b]"},
    {"--name=x a", "name=x [a]"},
    {"--name x a", "name=x [a]"},
    {"--name= a", "name= [a]"},
    {"--name '' a", "name= [a]"},
    {"--name --rm", "name=--rm []"},
    {"--name -- a", "name=-- [a]"},
    {"--name a=b=c", "name=a=b=c []"},
    {"--rm a", "rm [a]"},
    {"--rm=false a", "[a]"},
    {"--rm=T", "rm []"},
    {"--rm false", "rm [false]"},
    {"--rm --rm=0", "[]"},
    {"-it a", "i t [a]"},
    {"-i=false -t=1", "t []"},
    {"-it=false", "i []"},
    {"-p4000:80", "ports=4000:80 []"},
    {"-p 4000:80 -p=5:5", "ports=4000:80|5:5 []"},
    {"-itp 80:80 x", "i t ports=80:80 [x]"},
    {"-ite=A=1", "i t env=A=1 []"},
    {"-uroot", "user=root []"},
    {"-u ''", "user= []"},
    {"-e A=1 --env B --env=C=", "env=A=1|B|C= []"},
    {"-e [a,b] -e ['x']", "env=[a,b]|['x'] []"},
    {"-e -x", "env=-x []"},
    {"--name a --name b", "name=b []"},
    {"-m 1k --count -3 --wait 1m", "memory=1024 count=-3 wait=60000000000 []"},
    {"-m -1", "memory=-1 []"},
    {"--pull", "pull=always []"},
    {"--pull a", "pull=always [a]"},
    {"--pull=never a", "pull=never [a]"},
    {"--compress --isolation x --isolation=y a", "[a]"},
    {"a --rm b", "rm [a|b]"},
    {"a - b", "[a|-|b]"},
    {"--rm -- --name -x", "rm [--name|-x]"},
    {"'' --rm", "rm []"},
    {"--rm img --rm -x", "rm [img|--rm|-x]", true},
    {"-i -- -x -y", "i [-x|-y]", true},
    {"-i a -- b", "i [a|--|b]", true},
    {"--root /x a --verbose", "[a]"},
};
INSTANTIATE_TEST_SUITE_P(Lines, OptionSyntax, testing::ValuesIn(kCases));

class OptionMistake : public testing::TestWithParam<Case> {};
TEST_P(OptionMistake, IsAUsageError) {
  try {
    (void)parseWords(wordsOf(GetParam().line), false);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    std::string text = error.cause();
    for (const std::string& hint : error.hints()) text += "; " + hint;
    EXPECT_EQ(text, GetParam().expected);
  }
}
constexpr Case kMistakes[] = {
    {"--xyzzy", "unknown flag: --xyzzy"},
    {"--xyzzy=x", "unknown flag: --xyzzy"},
    {"--nam x", "unknown flag: --nam; did you mean --name?"},
    {"--Rm", "unknown flag: --Rm; did you mean --rm?"},
    {"-ix", "unknown shorthand flag: 'x' in -ix"},
    {"--name", "flag needs an argument: --name"},
    {"-p", "flag needs an argument: -p"},
    {"-ip", "flag needs an argument: -p"},
    {"--rm=maybe", "invalid value \"maybe\" for --rm: expected true or false"},
    {"-n x", "invalid value \"x\" for -n,--count: expected a whole number"},
    {"-n 9223372036854775808",
     "invalid value \"9223372036854775808\" for -n,--count: expected a whole number"},
    {"-m lots", "invalid value \"lots\" for -m,--memory: expected a size such as 512m or 1.5g"},
    {"--log-level loud",
     "invalid value \"loud\" for --log-level: expected trace, debug, info, warn, error or fatal"},
};
INSTANTIATE_TEST_SUITE_P(Lines, OptionMistake, testing::ValuesIn(kMistakes));

TEST(Options, MarkTheWordAtFault) {
  try {
    (void)parseWords({"a", "--foo=1", "b"}, false);
    FAIL();
  } catch (const Error& error) {
    ASSERT_TRUE(error.position());
    EXPECT_EQ(error.position()->text, "img test a --foo=1 b");
    EXPECT_EQ(error.position()->column, 12);
    EXPECT_EQ(error.position()->width, 7);
  }
}

TEST(Options, CountThePositionals) {
  Context context;
  context.command = "test";
  const auto causeOf = [&](size_t least, size_t most, const std::vector<std::string>& words) {
    Options options{context, "", ""};
    options.positionals(least, most);
    try {
      (void)options.parse(words);
      return std::string{};
    } catch (const Error& error) {
      return error.cause();
    }
  };
  EXPECT_EQ(causeOf(1, 1, {}), "\"img test\" requires exactly 1 argument");
  EXPECT_EQ(causeOf(2, kAnyNumber, {"a"}), "\"img test\" requires at least 2 arguments");
  EXPECT_EQ(causeOf(0, 1, {"a", "b"}), "\"img test\" requires at most 1 argument");
  EXPECT_EQ(causeOf(0, 0, {"a"}), "\"img test\" accepts no arguments");
  EXPECT_EQ(causeOf(1, 2, {"a"}), "");
}

TEST(Options, TellWhichWereGiven) {
  Context context;
  bool a = false;
  bool b = false;
  Options options{context, "", ""};
  options.flag("-a,--all", a, "").flag("--other", b, "");
  ASSERT_TRUE(options.parse({"-a=false"}));
  EXPECT_TRUE(options.isGiven("--all"));
  EXPECT_TRUE(options.isGiven("-a"));
  EXPECT_FALSE(options.isGiven("--other"));
  EXPECT_FALSE(options.isGiven("--nothing"));
}

TEST(Options, TakeTheGlobalOnesUnlessTheCommandHasItsOwn) {
  Context context;
  std::string hostname;
  Options options{context, "", ""};
  options.text("-h,--hostname", hostname, "NAME", "Host name");
  ASSERT_TRUE(options.parse({"-h", "box", "--root=/r", "--color", "never", "--error-format=json"}));
  EXPECT_EQ(hostname, "box");
  EXPECT_EQ(context.globals.root, "/r");
  EXPECT_EQ(context.globals.color, When::never);
  EXPECT_TRUE(context.globals.jsonErrors);
}

TEST(Options, ApplyWhatStandsBeforeAMistake) {
  Context context;
  Options options{context, "", ""};
  EXPECT_THROW((void)options.parse({"--error-format=json", "--foo"}), Error);
  EXPECT_TRUE(context.globals.jsonErrors);
}

TEST(Options, HelpNamesEveryOptionOnceAndHidesTheIgnoredOnes) {
  Context context;
  context.command = "test";
  Parsed parsed;
  Options options{context, "WORDS", "A test"};
  define(options, parsed);
  const std::string help = options.help();
  EXPECT_TRUE(help.starts_with("A test\n\nUsage: img test [OPTIONS] WORDS\n")) << help;
  EXPECT_NE(help.find("  -p,--publish PORT             Ports\n"), std::string::npos) << help;
  EXPECT_NE(help.find("--root DIR"), std::string::npos);
  EXPECT_EQ(help.find("--compress"), std::string::npos);
  EXPECT_TRUE(help.ends_with("Show this text\n")) << help;
}

}  // namespace
}  // namespace img::cli
