#include "builder/remote_url.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::builder {
namespace {

struct Classified {
  std::string_view text;
  SourceKind add, context;
};
void PrintTo(const Classified& c, std::ostream* out) {
  *out << c.text;
}

constexpr SourceKind kLocal = SourceKind::local, kHttp = SourceKind::http, kGit = SourceKind::git;
constexpr Classified kClassified[] = {
    {"file.txt", kLocal, kLocal},
    {"a/b.git", kLocal, kLocal},
    {"file:///etc/passwd", kLocal, kLocal},
    {"http://host/a", kHttp, kHttp},
    {"https://host/a.tar.gz", kHttp, kHttp},
    {"https://host/r.git", kGit, kGit},
    {"https://host/r.git?ref=x#y", kGit, kGit},
    {"https://host/a?x=r.git", kHttp, kHttp},
    {"https://host/a#r.git", kHttp, kHttp},
    {"git://host/r", kGit, kGit},
    {"ssh://user@host/r", kGit, kGit},
    {"git@host:r.git", kGit, kGit},
    {"user@host.example:path/r#v1", kGit, kGit},
    {"@host:r", kLocal, kLocal},
    {"a@b", kLocal, kLocal},
    {"dir/a@b:c", kLocal, kLocal},
    {"a*@b:c", kLocal, kLocal},
    {"github.com/x/y", kLocal, kGit},
};
class Classify : public testing::TestWithParam<Classified> {};
TEST_P(Classify, TellsWhatASourceIs) {
  EXPECT_EQ(classifySource(GetParam().text), GetParam().add);
  EXPECT_EQ(classifyContext(GetParam().text), GetParam().context);
}
INSTANTIATE_TEST_SUITE_P(Texts, Classify, testing::ValuesIn(kClassified));

TEST(GitUrl, HasItsPartsAfterTheHash) {
  const GitUrl url = parseGitUrl("https://host:8443/x/r.git#v1.2:/a//b/./c/");
  EXPECT_EQ(url.remote, "https://host:8443/x/r.git");
  EXPECT_EQ(url.origin, "https://host:8443");
  EXPECT_EQ(url.host, "host:8443");
  EXPECT_EQ(url.ref, "v1.2");
  EXPECT_EQ(url.subdir, "a/b/c");
  EXPECT_FALSE(url.keepGitDir);
  EXPECT_FALSE(url.submodules);
}

TEST(GitUrl, HasItsPartsAsParameters) {
  const GitUrl url = parseGitUrl(
      "https://host/r.git?tag=v%31&commit=ABCDEF12&subdir=s&keep-git-dir&submodules=false"
      "&mtime=commit");
  EXPECT_EQ(url.remote, "https://host/r.git");
  EXPECT_EQ(url.ref, "v1");
  EXPECT_EQ(url.refKind, GitUrl::RefKind::tag);
  EXPECT_EQ(url.commit, "abcdef12");
  EXPECT_EQ(url.subdir, "s");
  EXPECT_EQ(url.keepGitDir, true);
  EXPECT_EQ(url.submodules, false);
  EXPECT_TRUE(url.hasCommitTimes);
}

TEST(GitUrl, KnowsTheFormOfScp) {
  const GitUrl url = parseGitUrl("git@host:x/r.git#main:dir");
  EXPECT_EQ(url.remote, "git@host:x/r.git");
  EXPECT_EQ(url.host, "host");
  EXPECT_EQ(url.origin, "");
  EXPECT_EQ(url.ref, "main");
  EXPECT_EQ(url.subdir, "dir");
}

TEST(GitUrl, GivesAContextWithoutASchemeHttps) {
  EXPECT_EQ(parseGitUrl("github.com/x/y#v1").remote, "https://github.com/x/y");
}

TEST(GitUrl, TakesTheSameRefTwice) {
  EXPECT_EQ(parseGitUrl("https://host/r.git?ref=a#a").ref, "a");
}

struct Refused {
  std::string_view name, text, reason;
};
void PrintTo(const Refused& c, std::ostream* out) {
  *out << c.text;
}

constexpr Refused kRefused[] = {
    {"UnknownParameter", "https://h/r.git?token=x", "unknown parameter"},
    {"ParameterTwice", "https://h/r.git?ref=a&ref=a", "given twice"},
    {"CommitAndItsAlias", "https://h/r.git?commit=abcd&checksum=abcd", "given twice"},
    {"TagAndBranch", "https://h/r.git?tag=a&branch=b", "only one of"},
    {"OtherRefAfterTheHash", "https://h/r.git?ref=a#b", "contradicts"},
    {"OtherFolderAfterTheHash", "https://h/r.git?subdir=a#:b", "contradicts"},
    {"NoValue", "https://h/r.git?ref=", "no value"},
    {"BadFlag", "https://h/r.git?submodules=maybe", "use true or false"},
    {"BadTimes", "https://h/r.git?mtime=now", "use checkout or commit"},
    {"OptionAsRef", "https://h/r.git#--upload-pack=x", "no name of a branch"},
    {"RangeAsRef", "https://h/r.git#a..b", "no name of a branch"},
    {"BlankInRef", "https://h/r.git?ref=a%20b", "no name of a branch"},
    {"LineBreakInRef", "https://h/r.git?ref=a%0ab", "no name of a branch"},
    {"ColonInRef", "https://h/r.git?ref=a:b", "no name of a branch"},
    {"FolderOutside", "https://h/r.git#a:b/../../c", "refused"},
    {"CommitIsNoHash", "https://h/r.git?commit=main", "not a commit hash"},
    {"FetchByPartOfACommit", "https://h/r.git?commit=abcdef&fetch-by-commit=1", "whole hash"},
    {"HostIsAnOption", "ssh://-oProxyCommand=x/r.git", "refused"},
    {"HostIsAnOptionBehindAUser", "ssh://user@-oX/r.git", "refused"},
    {"ScpPathIsAnOption", "git@h:-x", "refused"},
    {"ScpWithoutPath", "git@h:", "no path"},
    {"NoHost", "git:///r", "no host"},
};
class RefusedGitUrl : public testing::TestWithParam<Refused> {};
TEST_P(RefusedGitUrl, SaysWhy) {
  try {
    parseGitUrl(GetParam().text);
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_NE(error.cause().find(GetParam().reason), std::string::npos) << error.cause();
  }
}
INSTANTIATE_TEST_SUITE_P(Texts, RefusedGitUrl, testing::ValuesIn(kRefused),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(FileNameOfUrl, IsTheLastElementDecodedOnce) {
  EXPECT_EQ(fileNameOfUrl("http://h/a/b.tar.gz"), "b.tar.gz");
  EXPECT_EQ(fileNameOfUrl("http://h/a%20b?c=/d#/e"), "a b");
  EXPECT_EQ(fileNameOfUrl("http://h/%2520"), "%20");
  EXPECT_EQ(fileNameOfUrl("http://h/100%"), "100%");
}

TEST(FileNameOfUrl, HasAStandInWhenThereIsNone) {
  EXPECT_EQ(fileNameOfUrl("http://h"), "__unnamed__");
  EXPECT_EQ(fileNameOfUrl("http://h/"), "__unnamed__");
  EXPECT_EQ(fileNameOfUrl("http://h/a/?b"), "__unnamed__");
}

TEST(FileNameOfUrl, RefusesWhatIsNoName) {
  for (const std::string url : {"http://h/..", "http://h/.", "http://h/a%2Fb", "http://h/%2e%2e",
                                "http://h/a%00b", "http://h/a%1bb"}) {
    EXPECT_THROW(fileNameOfUrl(url), Error) << url;
  }
  EXPECT_THROW(fileNameOfUrl("http://h/" + std::string(256, 'a')), Error);
}

TEST(WithoutCredentials, DropsUserAndPasswordOfHttp) {
  EXPECT_EQ(withoutCredentials("https://me:pw@host:1/a@b"), "https://host:1/a@b");
  EXPECT_EQ(withoutCredentials("https://host/a@b"), "https://host/a@b");
  EXPECT_EQ(withoutCredentials("ssh://git@host/r"), "ssh://git@host/r");
  EXPECT_EQ(withoutCredentials("git@host:r"), "git@host:r");
}

TEST(CommitPrefix, IsHexOfFourToSixtyFourDigits) {
  EXPECT_TRUE(isCommitPrefix("abcd"));
  EXPECT_TRUE(isCommitPrefix(std::string(64, '0')));
  EXPECT_FALSE(isCommitPrefix("abc"));
  EXPECT_FALSE(isCommitPrefix("abcg"));
  EXPECT_FALSE(isCommitPrefix(std::string(65, '0')));
  EXPECT_TRUE(isCommitHash(std::string(40, 'a')));
  EXPECT_FALSE(isCommitHash(std::string(41, 'a')));
}

}  // namespace
}  // namespace img::builder
