#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <new>
#include <stdexcept>

namespace img {
namespace {

Error fullError() {
  Error error = Error::fromErrno(EACCES, "open etc/shadow");
  error.during("reading {} of {}", "users", 3).during("running step {}", 4);
  error.hint("run as root").hint("or choose another user");
  error.why("the kernel said no").code("user-lookup").exitCode(126).stage("stage \"b\", step 4/9");
  error.logTail({"first line", "last line \xf0\x9f\x90\x8b"});
  error.at(Position{"Dockerfile", 12, 13, 5, 7, "FROM scratch\nUSER me\n"});
  return error;
}

void expectSame(const Error& a, const Error& b) {
  EXPECT_EQ(a.kind(), b.kind());
  EXPECT_EQ(a.errnum(), b.errnum());
  EXPECT_EQ(a.cause(), b.cause());
  EXPECT_EQ(a.steps(), b.steps());
  EXPECT_EQ(a.hints(), b.hints());
  EXPECT_EQ(a.why(), b.why());
  EXPECT_EQ(a.code(), b.code());
  EXPECT_EQ(a.exitCode(), b.exitCode());
  EXPECT_EQ(a.logTail(), b.logTail());
  EXPECT_EQ(a.stage(), b.stage());
  ASSERT_EQ(a.position().has_value(), b.position().has_value());
  if (!a.position()) return;
  EXPECT_EQ(a.position()->file, b.position()->file);
  EXPECT_EQ(a.position()->line, b.position()->line);
  EXPECT_EQ(a.position()->endLine, b.position()->endLine);
  EXPECT_EQ(a.position()->column, b.position()->column);
  EXPECT_EQ(a.position()->width, b.position()->width);
  EXPECT_EQ(a.position()->text, b.position()->text);
}

TEST(Error, CrossesAsJsonWithEveryField) {
  const Error error = fullError();
  expectSame(Error::fromJson(error.toJson()), error);
}

TEST(Error, CrossesAsJsonWithNothingButACause) {
  const Error error{Kind::busy, "in use"};
  const Error back = Error::fromJson(error.toJson());
  expectSame(back, error);
  EXPECT_FALSE(back.position());
  EXPECT_FALSE(back.exitCode());
}

TEST(Error, CrossesAsJsonWhateverItsKind) {
  for (int kind = 0; kind <= static_cast<int>(Kind::internal); ++kind) {
    const Error error{static_cast<Kind>(kind), "x"};
    EXPECT_EQ(Error::fromJson(error.toJson()).kind(), error.kind()) << kindName(error.kind());
  }
}

TEST(Error, CrossesAsJsonWithBytesThatAreNoText) {
  const Error back = Error::fromJson(Error{Kind::corrupt, "name a\xff z\n\"q\""}.toJson());
  EXPECT_EQ(back.kind(), Kind::corrupt);
  EXPECT_EQ(back.cause(), "name a\xef\xbf\xbd z\n\"q\"");
}

TEST(Error, CopyKeepsTheWholeStory) {
  const Error error = fullError();
  const Error copy{error};  // NOLINT(performance-unnecessary-copy-initialization): what is tested
  expectSame(copy, error);
  EXPECT_STREQ(copy.what(), error.cause().c_str());
}

struct GarbageCase {
  std::string_view name, text;
};
void PrintTo(const GarbageCase& c, std::ostream* out) {
  *out << c.name;
}
class ErrorGarbage : public testing::TestWithParam<GarbageCase> {};

TEST_P(ErrorGarbage, BecomesAnInternalErrorWithoutThrowing) {
  const Error error = Error::fromJson(GetParam().text);
  EXPECT_EQ(error.kind(), Kind::internal);
  EXPECT_EQ(error.cause(), "a child process ended without a readable error");
}

INSTANTIATE_TEST_SUITE_P(
    Table, ErrorGarbage,
    testing::Values(GarbageCase{"Empty", ""}, GarbageCase{"NotJson", "Segmentation fault"},
                    GarbageCase{"Truncated", R"({"kind":1,"cause":"x)"}, GarbageCase{"Array", "[]"},
                    GarbageCase{"Null", "null"},
                    GarbageCase{"MissingFields", R"({"kind":1,"cause":"x"})"},
                    GarbageCase{"KindIsText", R"({"kind":"busy","cause":"x","errno":0})"},
                    GarbageCase{"InvalidUtf8", "{\"cause\":\"\xff\"}"}),
    [](const auto& one) { return std::string{one.param.name}; });

TEST(Error, AnUnknownKindIsReadAsInternalButKeepsItsCause) {
  std::string json = Error{Kind::failed, "from a newer program"}.toJson();
  const size_t at = json.find("\"kind\":0");
  ASSERT_NE(at, std::string::npos);
  json.replace(at, 8, "\"kind\":99");
  const Error error = Error::fromJson(json);
  EXPECT_EQ(error.kind(), Kind::internal);
  EXPECT_EQ(error.cause(), "from a newer program");
}

struct ErrnoCase {
  int errnum;
  Kind kind;
  std::string_view text;
};
void PrintTo(const ErrnoCase& c, std::ostream* out) {
  *out << c.text;
}
class ErrorFromErrno : public testing::TestWithParam<ErrnoCase> {};

TEST_P(ErrorFromErrno, HasTheKindAndTheTextOfTheNumber) {
  const Error error = Error::fromErrno(GetParam().errnum, "open x");
  EXPECT_EQ(error.kind(), GetParam().kind);
  EXPECT_EQ(error.errnum(), GetParam().errnum);
  EXPECT_EQ(error.cause(), "open x: " + std::string{GetParam().text});
}

INSTANTIATE_TEST_SUITE_P(
    Table, ErrorFromErrno,
    testing::Values(ErrnoCase{ENOENT, Kind::notFound, "No such file or directory (ENOENT)"},
                    ErrnoCase{ENOTDIR, Kind::notFound, "Not a directory (ENOTDIR)"},
                    ErrnoCase{EEXIST, Kind::exists, "File exists (EEXIST)"},
                    ErrnoCase{EBUSY, Kind::busy, "Device or resource busy (EBUSY)"},
                    ErrnoCase{EAGAIN, Kind::busy, "Resource temporarily unavailable (EAGAIN)"},
                    ErrnoCase{ETXTBSY, Kind::busy, "Text file busy (ETXTBSY)"},
                    ErrnoCase{EACCES, Kind::denied, "Permission denied (EACCES)"},
                    ErrnoCase{EPERM, Kind::denied, "Operation not permitted (EPERM)"},
                    ErrnoCase{EROFS, Kind::denied, "Read-only file system (EROFS)"},
                    ErrnoCase{ENOSYS, Kind::unsupported, "Function not implemented (ENOSYS)"},
                    ErrnoCase{EOPNOTSUPP, Kind::unsupported,
                              "Operation not supported (EOPNOTSUPP)"},
                    ErrnoCase{ENODEV, Kind::unsupported, "No such device (ENODEV)"},
                    ErrnoCase{EINVAL, Kind::failed, "Invalid argument (EINVAL)"},
                    ErrnoCase{4095, Kind::failed, "error 4095"}));

TEST(Error, AFullDiskIsNamedAndComesWithAHint) {
  for (const int errnum : {ENOSPC, EDQUOT}) {
    const Error error = Error::fromErrno(errnum, "write x");
    EXPECT_EQ(error.code(), "no-space");
    EXPECT_EQ(error.hints().size(), 1U);
  }
}

TEST(Error, StepsStandFromInnerToOuterAndTheInnermostPlaceWins) {
  Error error = Error::make(Kind::usage, "bad {}", "word");
  error.during("inner {}", 1).addStep("outer");
  error.at(Position{"a", 3, 3, 1, 1, ""}).at(Position{"b", 4, 4, 1, 1, ""});
  EXPECT_EQ(error.steps(), (std::vector<std::string>{"inner 1", "outer"}));
  ASSERT_TRUE(error.position());
  EXPECT_EQ(error.position()->file, "a");
  EXPECT_EQ(error.position()->line, 3);
}

TEST(Error, APrefixStandsBeforeTheCause) {
  Error error{Kind::failed, "cause"};
  error.prefixCause("step 3: ");
  EXPECT_STREQ(error.what(), "step 3: cause");
}

template <class Thrown>
Error caught(const Thrown& thrown) {
  try {
    throw thrown;  // NOLINT(hicpp-exception-baseclass): foreign types are the point
  } catch (...) {
    return currentError();
  }
}

TEST(CurrentError, KeepsOursAndTranslatesForeignOnes) {
  expectSame(caught(fullError()), fullError());
  EXPECT_EQ(caught(std::runtime_error{"boom"}).kind(), Kind::internal);
  EXPECT_EQ(caught(std::runtime_error{"boom"}).cause(), "boom");
  EXPECT_EQ(caught(std::bad_alloc{}).kind(), Kind::failed);
  EXPECT_EQ(caught(std::bad_alloc{}).cause(), "out of memory");
  EXPECT_EQ(caught(7).kind(), Kind::internal);
}

}  // namespace
}  // namespace img
