// The sentences of dockerfile.md 3.2, 3.8, 3.10, 3.11 and 3.13 as a build says them, with the line.
// Those that the parser says are in testdata/parser-fail.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/builder/support.h"

namespace img::builder {
namespace {

struct MessageCase {
  const char *name, *dockerfile, *cause;
  int line;
};
void PrintTo(const MessageCase& test, std::ostream* out) {
  *out << test.dockerfile;
}

constexpr MessageCase kMessages[] = {
    // 3.2
    {"FromNothing", "FROM ${NOPE}", "FROM: image name \"${NOPE}\" expands to nothing", 1},
    {"PlatformNothing", "ARG P\nFROM --platform=$P scratch",
     "FROM: --platform \"$P\" expands to nothing", 2},
    {"BadPlatform", "FROM --platform=linux//x scratch", "FROM: bad platform \"linux//x\"", 1},
    {"BadReference", "FROM a/Upper", "FROM: bad image reference \"a/Upper\"", 1},
    {"UnknownImage", "FROM no/such:1", "FROM: no/such:1: not found", 1},
    // 3.8
    {"BadMode", "FROM scratch\nCOPY --chmod=9 f /",
     "COPY: --chmod \"9\": use octal 0-7777 or a symbolic mode such as u=rwX,go=rX", 2},
    {"BadModeFromVariable", "FROM scratch\nARG M=u=q\nCOPY --chmod=$M f /",
     "COPY: --chmod \"u=q\": use octal 0-7777 or a symbolic mode such as u=rwX,go=rX", 3},
    {"UnknownUser", "FROM scratch\nCOPY passwd /etc/passwd\nCOPY --chown=bob f /",
     "COPY: --chown: user \"bob\" not in /etc/passwd of the stage", 3},
    {"UnknownGroup", "FROM scratch\nCOPY passwd /etc/passwd\nCOPY --chown=0:bobs f /",
     "COPY: --chown: group \"bobs\" not in /etc/group of the stage", 3},
    {"NameWithoutUsers", "FROM scratch\nCOPY --chown=app f /",
     "COPY: --chown with a name needs /etc/passwd from the stage; use numeric ids here", 2},
    {"NameWithLink", "FROM scratch\nCOPY passwd /etc/passwd\nCOPY --link --chown=app f /",
     "COPY: --chown with a name needs /etc/passwd from the stage; use numeric ids here", 3},
    {"FolderOntoFile", "FROM scratch\nCOPY f /x/d\nCOPY tree /x",
     "COPY: /x/d exists and is not a directory (it is a file)", 3},
    {"FileOntoFolder", "FROM scratch\nCOPY tree /x\nCOPY other /x/",
     "COPY: /x/d exists and is a directory", 3},
    {"UrlInCopy", "FROM scratch\nCOPY https://h.test/f /",
     "COPY: \"https://h.test/f\" is a remote source; use ADD", 2},
    {"GitInCopy", "FROM scratch\nCOPY git://h.test/r.git /",
     "COPY: \"git://h.test/r.git\" is a remote source; use ADD", 2},
    {"LaterStage", "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /",
     "COPY: stage \"b\" is defined later", 2},
    {"OwnStage", "FROM scratch AS a\nCOPY --from=a / /",
     "COPY: stages depend on each other: a -> a", 2},
    {"NoSuchNumber", "FROM scratch AS a\nFROM scratch\nCOPY --from=7 / /",
     "COPY: there is no stage 7 (0..1)", 3},
    {"BadPattern", "FROM scratch\nCOPY f[ /", "COPY: bad pattern \"f[\": [ without ]", 2},
    {"SeveralFilesOntoOne", "FROM scratch\nCOPY f g /dest",
     "COPY: 2 files would be written to /dest; end it with \"/\"", 2},
    {"OfAPattern", "FROM scratch\nCOPY [fg] f /dest",
     "COPY: 3 files would be written to /dest; end it with \"/\"", 2},
    {"MissingSource", "FROM scratch\nCOPY h /", "COPY: source \"h\" not found in the build context",
     2},
    {"MissingInStage", "FROM scratch AS s\nCOPY f /\nFROM scratch\nCOPY --from=s /h /",
     "COPY: source \"h\" not found in stage \"s\"", 4},
    // 3.10
    {"ChecksumOfAFile", "FROM scratch\nADD --checksum=sha256:00 f /",
     "ADD: --checksum needs a single HTTP or git source", 2},
    {"ChecksumOfTwo",
     "FROM scratch\nADD "
     "--checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 "
     "http://h.test/a http://h.test/b /",
     "ADD: --checksum needs a single HTTP or git source", 2},
    {"BadChecksum", "FROM scratch\nADD --checksum=md5:00 http://h.test/a /",
     "ADD: --checksum must be sha256:<64 hex digits>", 2},
    // 3.11
    {"WorkdirOnAFile", "FROM scratch\nCOPY f /a/w\nWORKDIR /a/w/x",
     "WORKDIR: /a/w exists and is not a directory", 3},
    {"WorkdirOnAFileOfTheRoot", "FROM scratch\nCOPY f /w\nWORKDIR /w/x",
     "WORKDIR: /w exists and is not a directory", 3},
    // 3.13
    {"BadPort", "FROM scratch\nEXPOSE 70000", "EXPOSE: bad port \"70000\"", 2},
    {"BadProtocol", "FROM scratch\nEXPOSE 80/icmp", "EXPOSE: bad protocol \"icmp\"", 2},
    {"BackwardRange", "FROM scratch\nEXPOSE 90-80", "EXPOSE: range \"90-80\" ends before it starts",
     2},
};

class Messages : public testing::TestWithParam<MessageCase> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: layers are mounted";
    const int context = fixture_.context.get();
    writeFile(context, "f", "x");
    writeFile(context, "g", "x");
    writeFile(context, "passwd", "app:x:7:7::/:/bin/sh\n");
    writeFile(context, "tree/d/e", "x");
    writeFile(context, "other/d", "x");
  }
  BuildFixture fixture_;
};

TEST_P(Messages, AreThoseOfTheSpecification) {
  const Error error = fixture_.failure(GetParam().dockerfile);
  EXPECT_EQ(error.cause(), GetParam().cause);
  ASSERT_TRUE(error.position().has_value());
  EXPECT_EQ(error.position()->line, GetParam().line);
  EXPECT_TRUE(error.others().empty());
}
INSTANTIATE_TEST_SUITE_P(Builder, Messages, testing::ValuesIn(kMessages),
                         [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::builder
