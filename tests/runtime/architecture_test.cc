#include "runtime/architecture.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ostream>

#include "base/fs.h"
#include "base/sys.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

std::string elfHeader(unsigned machine, unsigned char size = ELFCLASS64,
                      unsigned char order = ELFDATA2LSB) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = size;
  header.e_ident[EI_DATA] = order;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  const auto number = static_cast<Elf64_Half>(machine);
  header.e_machine =
      order == ELFDATA2LSB ? number : static_cast<Elf64_Half>(number << 8 | number >> 8);
  return {reinterpret_cast<const char*>(&header), sizeof header};
}

struct HeaderCase {
  const char* name;
  unsigned machine;
  unsigned char size, order;
  const char* expected;
};
void PrintTo(const HeaderCase& one, std::ostream* out) {
  *out << one.name;
}

constexpr HeaderCase kHeaders[] = {
    {"Amd64", EM_X86_64, ELFCLASS64, ELFDATA2LSB, "amd64"},
    {"Arm64", EM_AARCH64, ELFCLASS64, ELFDATA2LSB, "arm64"},
    {"Arm", EM_ARM, ELFCLASS32, ELFDATA2LSB, "arm"},
    {"I386", EM_386, ELFCLASS32, ELFDATA2LSB, "386"},
    {"BigEndian", EM_S390, ELFCLASS64, ELFDATA2MSB, "s390x"},
    {"OrderDecides", EM_PPC64, ELFCLASS64, ELFDATA2MSB, "ppc64"},
    {"OrderDecidesTheOtherWay", EM_PPC64, ELFCLASS64, ELFDATA2LSB, "ppc64le"},
    {"ClassDecides", EM_MIPS, ELFCLASS32, ELFDATA2LSB, "mipsle"},
    {"NoNameOfOurs", 94, ELFCLASS32, ELFDATA2LSB, "ELF machine 94"},
};

class ElfHeaders : public testing::TestWithParam<HeaderCase> {};
TEST_P(ElfHeaders, NameTheArchitecture) {
  const HeaderCase& one = GetParam();
  EXPECT_EQ(elfArchitecture(elfHeader(one.machine, one.size, one.order)), one.expected);
}
INSTANTIATE_TEST_SUITE_P(All, ElfHeaders, testing::ValuesIn(kHeaders),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Architecture, OtherFilesHaveNone) {
  EXPECT_EQ(elfArchitecture(""), std::nullopt);
  EXPECT_EQ(elfArchitecture("#!/bin/sh\n"), std::nullopt);
  EXPECT_EQ(elfArchitecture(elfHeader(EM_ARM).substr(0, 19)), std::nullopt);
}

TEST(Architecture, OfThisMachineIsThatOfItsPrograms) {
  EXPECT_EQ(elfArchitecture(fs::readFile(AT_FDCWD, "/proc/self/exe", size_t{1} << 30)),
            hostArchitecture());
}

TEST(Architecture, SaysWhetherThereIsAHandler) {
  const fs::TempDir handlers;
  const Error none = foreignError("the image is", "s390x", handlers.path());
  EXPECT_EQ(none.cause(), "the image is linux/s390x, this machine is linux/" + hostArchitecture());
  EXPECT_EQ(none.why(), "binfmt_misc has no handler for s390x");
  EXPECT_EQ(none.hints().size(), 1u);
  const Fd file = sys::openat(handlers.fd(), "qemu-aarch64", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  writeAll(file.get(), "enabled\ninterpreter /usr/bin/qemu-aarch64\n", "handler");
  EXPECT_TRUE(hasBinfmtHandler("arm64", handlers.path()));
  const Error refusing = foreignError("\"/x\" is a program for", "arm64", handlers.path());
  EXPECT_EQ(refusing.why(), "binfmt_misc has a handler for arm64, which does not take the program");
  EXPECT_TRUE(refusing.hints().empty()) << "there is one already";
}

// s390x: nobody runs these tests on a machine that has a handler for a header without a program.
class ForeignProgram : public Sandbox {
 protected:
  void SetUp() override {
    Sandbox::SetUp();
    if (!IsSkipped() && hasBinfmtHandler("s390x")) GTEST_SKIP() << "this machine runs s390x";
    write("bin/foreign", elfHeader(EM_S390, ELFCLASS64, ELFDATA2MSB), 0755);
  }
  void expectForeign(Spec&& broken, const std::string& program) {
    const Error error = failure(broken);
    EXPECT_EQ(error.code(), "arch");
    EXPECT_EQ(error.exitCode(), 126);
    EXPECT_EQ(error.cause(), "\"" + program +
                                 "\" is a program for linux/s390x, this machine is linux/" +
                                 hostArchitecture());
  }
};

TEST_F(ForeignProgram, IsFoundByItsPathAndByItsName) {
  expectForeign(spec({"/bin/foreign"}), "/bin/foreign");
  expectForeign(spec({"foreign"}), "/bin/foreign");
  Spec relative = spec({"./foreign"});
  relative.cwd = "/bin";
  expectForeign(std::move(relative), "/bin/./foreign");
}

TEST_F(ForeignProgram, IsFoundBehindAScript) {
  write("bin/script", "#! /bin/foreign -x\n", 0755);
  expectForeign(spec({"script"}), "/bin/foreign");
}

TEST_F(ForeignProgram, IsNotWhatHasNoHeader) {
  write("bin/text", "text\n", 0755);
  Spec broken = spec({"/bin/text"});
  const Error error = failure(broken);
  EXPECT_EQ(error.code(), "");
  EXPECT_EQ(error.exitCode(), 126);
}

}  // namespace
}  // namespace img::runtime::test
