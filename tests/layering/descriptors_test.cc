// security.md F1 and F2, by reading the sources: every descriptor is close-on-exec from birth, and
// nothing is called that opens files of its own choice or runs a shell.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr const char* kFolders[] = {"base",    "parser", "store",    "runtime",     "network",
                                    "builder", "cli",    "registry", "distribution"};

std::string contentOf(const fs::path& file) {
  std::ifstream in{file};
  return {std::istreambuf_iterator<char>{in}, {}};
}

std::vector<fs::path> sources() {
  std::vector<fs::path> files;
  for (const char* folder : kFolders) {
    const fs::path root = fs::path{IMG_SOURCE_DIR} / folder;
    if (!fs::is_directory(root)) continue;
    for (const auto& entry : fs::directory_iterator{root}) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".h" || extension == ".cc") files.push_back(entry);
    }
  }
  return files;
}

std::string withoutComments(const std::string& text) {
  std::string code;
  size_t at = 0;
  while (at < text.size()) {
    const size_t comment = std::min(text.find("//", at), text.size());
    code.append(text, at, comment - at);
    at = std::min(text.find('\n', comment), text.size());
  }
  return code;
}

bool isPartOfName(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Where `name` is called. With `isGlobal` as ::name, which is how the sources write system calls.
std::vector<size_t> callsOf(const std::string& text, const std::string& name, bool isGlobal) {
  const std::string call = (isGlobal ? "::" : "") + name + "(";
  std::vector<size_t> places;
  for (size_t at = text.find(call); at != std::string::npos; at = text.find(call, at + 1)) {
    const char before = at == 0 ? ' ' : text[at - 1];
    const bool isMember = isGlobal && (before == ':' || before == '>' || before == '.');
    if (!isPartOfName(before) && !isMember) places.push_back(at);
  }
  return places;
}

// The flag itself, or a constant or variable of the file that is made of it.
bool hasFlag(const std::string& statement, const std::string& text) {
  if (statement.find("CLOEXEC") != std::string::npos) return true;
  static const std::regex word{R"re(\b(k[A-Z]\w*|flags)\b)re"};
  for (std::sregex_iterator at{statement.begin(), statement.end(), word};
       at != std::sregex_iterator{}; ++at) {
    size_t start = text.find(at->str() + " = ");
    if (start == std::string::npos) start = text.find(at->str() + " |= ");
    if (start == std::string::npos) continue;
    const std::string value = text.substr(start, text.find(';', start) - start);
    if (value.find("CLOEXEC") != std::string::npos) return true;
  }
  return false;
}

TEST(Descriptors, AreCloseOnExecFromBirth) {
  int calls = 0;
  for (const fs::path& file : sources()) {
    const std::string text = withoutComments(contentOf(file));
    for (const char* name :
         {"open", "openat", "socket", "socketpair", "pipe2", "accept4", "memfd_create", "dup3",
          "epoll_create1", "eventfd", "signalfd", "timerfd_create", "inotify_init1", "mkostemp"}) {
      for (const size_t at : callsOf(text, name, true)) {
        const std::string statement = text.substr(at, text.find(';', at) - at);
        EXPECT_TRUE(hasFlag(statement, text)) << file << ": " << statement;
        ++calls;
      }
    }
  }
  EXPECT_GT(calls, 10) << "the calls are found";
}

TEST(Descriptors, AreNotMadeByCallsThatCannotSetTheFlag) {
  for (const fs::path& file : sources()) {
    const std::string text = withoutComments(contentOf(file));
    for (const char* name : {"pipe", "dup", "accept", "creat", "epoll_create", "inotify_init",
                             "mkstemp", "fopen", "tmpfile"})
      EXPECT_TRUE(callsOf(text, name, true).empty()) << file << ": " << name;
  }
}

TEST(Descriptors, NothingOpensFilesByItselfOrRunsAShell) {
  for (const fs::path& file : sources()) {
    const std::string text = withoutComments(contentOf(file));
    for (const char* name : {"system", "popen", "dlopen", "iconv_open", "getpwnam", "getpwuid",
                             "getgrnam", "getgrgid", "initgroups", "setlocale"})
      EXPECT_TRUE(callsOf(text, name, false).empty()) << file << ": " << name;
  }
}

}  // namespace
