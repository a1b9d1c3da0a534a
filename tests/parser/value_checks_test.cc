#include "parser/value_checks.h"

#include <gtest/gtest.h>

#include <csignal>

#include "base/error.h"

namespace img::parser {
namespace {

using Strings = std::vector<std::string>;

template <class Call>
std::string messageOf(Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "parse");
    std::string text = error.cause();
    for (const std::string& hint : error.hints()) text += "; " + hint;
    return text;
  }
  return "(no error)";
}

struct ModeCase {
  std::string_view change;
  mode_t file, fileAfter;
  mode_t folder, folderAfter;
};
void PrintTo(const ModeCase& c, std::ostream* out) {
  *out << c.change;
}

// The results are those of chmod(1) with umask 0, but for octal modes, which replace all bits.
constexpr ModeCase kModes[] = {
    {"755", 0644, 0755, 0700, 0755},
    {"0", 0644, 0, 0700, 0},
    {"7777", 0, 07777, 0, 07777},
    {"00644", 0777, 0644, 02755, 0644},
    {"u=rwX,go=rX", 0600, 0644, 0700, 0755},
    {"u=rwX,go=rX", 0711, 0755, 02700, 02755},
    {"+x", 0644, 0755, 0644, 0755},
    {"a+x", 0600, 0711, 0600, 0711},
    {"-w", 0666, 0444, 0777, 0555},
    {"go-rwx", 0777, 0700, 0777, 0700},
    {"u+s", 0755, 04755, 0755, 04755},
    {"g+s", 0755, 02755, 0755, 02755},
    {"+t", 0755, 01755, 0755, 01755},
    {"u+t", 0755, 0755, 0755, 0755},
    {"o+s", 0755, 0755, 0755, 0755},
    {"g=u", 0740, 0770, 0740, 0770},
    {"o=g", 0750, 0755, 0750, 0755},
    {"u=", 0755, 0055, 0755, 0055},
    {"=", 0755, 0, 0755, 0},
    {"=r", 06755, 0444, 06755, 06444},
    {"ug-s", 06755, 0755, 06755, 0755},
    {"u+r-w", 0200, 0400, 0200, 0400},
    {"a=r,u+w", 0, 0644, 0, 0644},
    {"+X", 0644, 0644, 0600, 0711},
    {"a-x,a+X", 0755, 0644, 0755, 0755},
    {"ugo=rw", 0, 0666, 0, 0666},
};

class Mode : public ::testing::TestWithParam<ModeCase> {};
TEST_P(Mode, ChangesFilesAndFolders) {
  const auto change = ModeChange::parse(GetParam().change);
  EXPECT_EQ(change.apply(GetParam().file, false), GetParam().fileAfter);
  EXPECT_EQ(change.apply(GetParam().folder, true), GetParam().folderAfter);
  EXPECT_EQ(change.octal().has_value(),
            GetParam().change.find_first_not_of("01234567") == std::string_view::npos);
}
INSTANTIATE_TEST_SUITE_P(Chmod, Mode, ::testing::ValuesIn(kModes));

TEST(Mode, IgnoresTheTypeBits) {
  EXPECT_EQ(ModeChange::parse("u+x").apply(0100644, false), mode_t{0744});
}

TEST(Mode, RefusesWhatChmodWould) {
  for (const std::string_view bad : {"", "8", "10000", "u", "ug", "x", "u+z", "u=rw,", ",u=r",
                                     "u=rwX go=rX", "755,u+x", "u+gr", "-1", "0x1ff", "$MODE"}) {
    EXPECT_THROW(ModeChange::parse(bad), Error) << bad;
  }
  EXPECT_EQ(messageOf([] { ModeChange::parse("9"); }),
            "--chmod \"9\": use octal 0-7777 or a symbolic mode such as u=rwX,go=rX");
}

TEST(Expose, ExpandsPortsAndRanges) {
  EXPECT_EQ(parseExposeWord("80").ports, Strings{"80/tcp"});
  EXPECT_EQ(parseExposeWord("53/UDP").ports, Strings{"53/udp"});
  EXPECT_TRUE(parseExposeWord("53/UDP").protocolNotLowerCase);
  EXPECT_FALSE(parseExposeWord("53/udp").protocolNotLowerCase);
  EXPECT_EQ(parseExposeWord("80/").ports, Strings{"80/tcp"});
  EXPECT_EQ(parseExposeWord("1-3/sctp").ports, (Strings{"1/sctp", "2/sctp", "3/sctp"}));
  EXPECT_EQ(parseExposeWord("0").ports, Strings{"0/tcp"});
  EXPECT_EQ(parseExposeWord("65535").ports, Strings{"65535/tcp"});
}

TEST(Expose, DropsTheHostPart) {
  for (const std::string_view word :
       {"8080:80", "127.0.0.1:8080:80", "127.0.0.1::80", "[::1]:8080:80", "8000-8010:80"}) {
    const ExposeWord exposed = parseExposeWord(word);
    EXPECT_EQ(exposed.ports, Strings{"80/tcp"}) << word;
    EXPECT_TRUE(exposed.hasHostPart) << word;
  }
  EXPECT_FALSE(parseExposeWord("80").hasHostPart);
}

TEST(Expose, RefusesBadWords) {
  EXPECT_EQ(messageOf([] { parseExposeWord("http"); }), "bad port \"http\"");
  EXPECT_EQ(messageOf([] { parseExposeWord("65536"); }), "bad port \"65536\"");
  EXPECT_EQ(messageOf([] { parseExposeWord("80/icmp"); }), "bad protocol \"icmp\"");
  EXPECT_EQ(messageOf([] { parseExposeWord("90-80"); }), "range \"90-80\" ends before it starts");
  for (const std::string_view bad :
       {"", "-1", "1-", "-", ":80", "host:1:80", "1.2.3:1:80", "1-2:3-5", "80:", "/tcp", "8 0"}) {
    EXPECT_THROW(parseExposeWord(bad), Error) << bad;
  }
}

TEST(Signals, AreKnownByNameAndNumber) {
  EXPECT_EQ(signalNumber("9"), 9);
  EXPECT_EQ(signalNumber("KILL"), SIGKILL);
  EXPECT_EQ(signalNumber("sigterm"), SIGTERM);
  EXPECT_EQ(signalNumber("SigUsr1"), SIGUSR1);
  EXPECT_EQ(signalNumber("RTMIN"), 34);
  EXPECT_EQ(signalNumber("rtmin+3"), 37);
  EXPECT_EQ(signalNumber("SIGRTMAX-1"), 63);
  EXPECT_EQ(signalNumber("SIGRTMAX"), 64);
  for (const std::string_view bad :
       {"", "0", "-1", "SIG", "TERMX", "RTMIN-1", "RTMAX+1", "RTMIN+31", "RTMIN+", "9 "}) {
    EXPECT_FALSE(signalNumber(bad).has_value()) << bad;
  }
  EXPECT_NO_THROW(checkStopSignal("SIGQUIT"));
  EXPECT_EQ(messageOf([] { checkStopSignal("NOPE"); }), "unknown signal \"NOPE\"");
}

TEST(Durations, AreReadToTheNanosecond) {
  EXPECT_EQ(parseDuration("0"), 0);
  EXPECT_EQ(parseDuration("30s"), 30'000'000'000);
  EXPECT_EQ(parseDuration("1h30m"), 5'400'000'000'000);
  EXPECT_EQ(parseDuration("1.5s"), 1'500'000'000);
  EXPECT_EQ(parseDuration(".5s"), 500'000'000);
  EXPECT_EQ(parseDuration("1.s"), 1'000'000'000);
  EXPECT_EQ(parseDuration("1ms2us3ns"), 1'002'003);
  EXPECT_EQ(parseDuration("2\xC2\xB5s"), 2000);
  EXPECT_EQ(parseDuration("-2s"), -2'000'000'000);
  EXPECT_EQ(parseDuration("+2s"), 2'000'000'000);
  EXPECT_EQ(parseDuration("1s1s"), 2'000'000'000);
  for (const std::string_view bad :
       {"", "5", "s", "1x", "1s ", " 1s", "1.2.3s", "-", ".s", "1 s", "9999999999h"}) {
    EXPECT_THROW(parseDuration(bad), Error) << bad;
  }
}

struct PlatformCase {
  std::string_view written, normalised;
};
void PrintTo(const PlatformCase& c, std::ostream* out) {
  *out << c.written;
}

constexpr PlatformCase kPlatforms[] = {
    {"linux", "linux/arm/v6"},
    {"amd64", "linux/amd64"},
    {"linux/amd64", "linux/amd64"},
    {"Linux/AMD64", "linux/amd64"},
    {"linux/x86_64", "linux/amd64"},
    {"linux/x86-64", "linux/amd64"},
    {"linux/aarch64", "linux/arm64"},
    {"linux/arm64/v8", "linux/arm64"},
    {"linux/amd64/v1", "linux/amd64"},
    {"linux/amd64/v3", "linux/amd64/v3"},
    {"i386", "linux/386"},
    {"armhf", "linux/arm/v7"},
    {"armel", "linux/arm/v6"},
    {"arm", "linux/arm/v7"},
    {"linux/arm/6", "linux/arm/v6"},
    {"windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"},
};

class PlatformText : public ::testing::TestWithParam<PlatformCase> {};
TEST_P(PlatformText, IsNormalised) {
  const Platform host{"linux", "", "arm", "v6"};
  EXPECT_EQ(parsePlatform(GetParam().written, host).str(), GetParam().normalised);
}
INSTANTIATE_TEST_SUITE_P(Table, PlatformText, ::testing::ValuesIn(kPlatforms));

TEST(PlatformText, IsRefusedWhenMalformed) {
  for (const std::string_view bad : {"", "/", "linux/", "/amd64", "a/b/c/d", "li nux/amd64",
                                     "linux/a$b", "windows(/amd64", "windows()/x"}) {
    EXPECT_THROW(parsePlatform(bad), Error) << bad;
  }
  EXPECT_EQ(messageOf([] { parsePlatform("a b"); }), "bad platform \"a b\"");
  EXPECT_EQ(hostPlatform().os, "linux");
  EXPECT_FALSE(hostPlatform().architecture.empty());
}

TEST(Csv, HonoursQuotedFields) {
  EXPECT_EQ(splitCsv("a,b"), (Strings{"a", "b"}));
  EXPECT_EQ(splitCsv("a,\"b,c\",\"d\"\"e\""), (Strings{"a", "b,c", "d\"e"}));
  EXPECT_EQ(splitCsv("a,"), (Strings{"a", ""}));
  EXPECT_EQ(splitCsv(""), Strings{});
  EXPECT_FALSE(splitCsv("a\"b").has_value());
  EXPECT_FALSE(splitCsv("\"a").has_value());
  EXPECT_FALSE(splitCsv("\"a\"b").has_value());
}

TEST(RunMount, HasTheDefaultsOfItsType) {
  const RunMount bind = parseRunMount("target=/t");
  EXPECT_EQ(bind.type, RunMount::Type::bind);
  EXPECT_EQ(bind.target, "/t");
  EXPECT_TRUE(bind.readOnly);
  const RunMount cache = parseRunMount("target=/c/./d/,type=cache");
  EXPECT_EQ(cache.id, "/c/d");
  EXPECT_FALSE(cache.readOnly);
  EXPECT_EQ(cache.sharing, RunMount::Sharing::shared);
  EXPECT_FALSE(cache.mode.has_value());
  EXPECT_FALSE(parseRunMount("type=tmpfs,dst=/t").readOnly);
  EXPECT_EQ(parseRunMount("type=ssh").id, "default");
  EXPECT_EQ(parseRunMount("type=secret,target=/run/x/key").id, "key");
  EXPECT_EQ(parseRunMount("type=secret,source=key").id, "key");
  EXPECT_EQ(parseRunMount("type=secret,source=key").source, "");
}

TEST(RunMount, ReadsEveryOption) {
  const RunMount cache = parseRunMount(
      "TYPE=Cache,destination=/c,from=base,src=/s,sharing=locked,id=x,uid=1,gid=2,mode=0750,ro");
  EXPECT_EQ(cache.type, RunMount::Type::cache);
  EXPECT_EQ(cache.source, "/s");
  EXPECT_EQ(cache.from, "base");
  EXPECT_EQ(cache.sharing, RunMount::Sharing::locked);
  EXPECT_EQ(cache.id, "x");
  EXPECT_EQ(cache.uid, uid_t{1});
  EXPECT_EQ(cache.gid, gid_t{2});
  EXPECT_EQ(cache.mode, mode_t{0750});
  EXPECT_TRUE(cache.readOnly);
  EXPECT_EQ(parseRunMount("type=cache,target=/c,sharing=private").sharing,
            RunMount::Sharing::exclusive);
  EXPECT_FALSE(parseRunMount("target=/t,rw").readOnly);
  EXPECT_TRUE(parseRunMount("target=/t,rw=false").readOnly);
  EXPECT_FALSE(parseRunMount("target=/t,readonly=F").readOnly);
  EXPECT_EQ(parseRunMount("type=tmpfs,target=/t,size=4096").size, std::uint64_t{4096});
  EXPECT_EQ(parseRunMount("type=tmpfs,target=/t,size=2k").size, std::uint64_t{2048});
  EXPECT_EQ(parseRunMount("type=tmpfs,target=/t,size=1GiB").size, std::uint64_t{1} << 30);
  EXPECT_EQ(parseRunMount("type=tmpfs,target=/t,size=3mb").size, std::uint64_t{3} << 20);
  const RunMount secret = parseRunMount("type=secret,id=tok,env=TOKEN,required");
  EXPECT_EQ(secret.env, "TOKEN");
  EXPECT_TRUE(secret.required);
  EXPECT_EQ(secret.target, "");
}

TEST(RunMount, DoesNotDependOnTheOrderOfItsOptions) {
  EXPECT_TRUE(parseRunMount("required,id=a,type=secret").required);
  EXPECT_EQ(parseRunMount("size=1k,target=/t,type=tmpfs").size, std::uint64_t{1024});
}

TEST(RunMount, ExpandsValuesAfterSplitting) {
  const auto expandValue = [](std::string_view value) {
    return value == "$T" ? std::string{"/a,b"} : std::string{value};
  };
  EXPECT_EQ(parseRunMount("target=$T", expandValue).target, "/a,b");
  EXPECT_EQ(parseRunMount("target=/t,from=a$", expandValue).from, "a$");
}

struct MountError {
  std::string_view mount, message;
};
void PrintTo(const MountError& c, std::ostream* out) {
  *out << c.mount;
}

constexpr MountError kMountErrors[] = {
    {"foo", "mount option \"foo\" needs a value"},
    {"target", "mount option \"target\" needs a value"},
    {"tarhet=/x", "unknown mount option \"tarhet\"; did you mean \"target\"?"},
    {"=x", "unknown mount option \"\""},
    {"type=cahce,target=/x", "unknown mount type \"cahce\"; did you mean \"cache\"?"},
    {"type=cache,target=/x,sharing=share",
     "unknown sharing mode \"share\"; did you mean \"shared\"?"},
    {"type=ssh,source=x", "mount option \"source\" is not valid for type \"ssh\""},
    {"type=secret,id=a,from=x", "mount option \"from\" is not valid for type \"secret\""},
    {"target=/x,size=1", "mount option \"size\" is not valid for type \"bind\""},
    {"type=tmpfs,target=/x,size=many", "mount option \"size\": bad value \"many\""},
    {"type=cache,target=/x,mode=888", "mount option \"mode\": bad value \"888\""},
    {"type=cache,target=/x,uid=-1", "mount option \"uid\": bad value \"-1\""},
    {"target=/x,ro=maybe", "mount option \"ro\": bad value \"maybe\""},
    {"type=cache", "mount of type \"cache\" needs a target"},
    {"", "mount of type \"bind\" needs a target"},
    {"target=/", "cannot mount over /"},
    {"target=/a/..", "cannot mount over /"},
    {"target=/x,sharing=shared", "sharing is only valid for cache mounts"},
    {"type=secret,id=a,sharing=shared", "sharing is only valid for cache mounts"},
    {"type=secret", "secret mount needs id or target"},
    {"type=secret,id=a,source=b",
     "mount options \"id\" and \"source\" both name the secret; use one"},
    {"target=/x,from=$IMG", "mount option from does not take variables; use a stage alias"},
    {"target=/x\"", "bad quoting in mount \"target=/x\"\""},
};

class RunMountError : public ::testing::TestWithParam<MountError> {};
TEST_P(RunMountError, SaysWhatIsWrong) {
  EXPECT_EQ(messageOf([] { parseRunMount(GetParam().mount); }), GetParam().message);
}
INSTANTIATE_TEST_SUITE_P(Table, RunMountError, ::testing::ValuesIn(kMountErrors));

}  // namespace
}  // namespace img::parser
