#include "distribution/remote_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "base/sys.h"
#include "base/text.h"
#include "distribution/memory_file.h"
#include "distribution/remote_program.h"

namespace img::distribution {
namespace {

std::vector<char*> rawWords(const std::vector<std::string>& words) {
  std::vector<char*> raw;
  raw.reserve(words.size() + 1);
  for (const std::string& word : words) raw.push_back(const_cast<char*>(word.c_str()));
  raw.push_back(nullptr);
  return raw;
}

struct Streams {
  int in, err, socket;
};

// In the child. Descriptors go out of the way first, so that no dup2 hits one that is still wanted.
void takeStreams(const Streams& streams) {
  constexpr int kFree = 64;
  const auto aside = [](int fd) {
    return sys::check([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, kFree); }, "duplicate a stream");
  };
  const auto place = [](int fd, int at) {
    sys::check([&] { return ::dup2(fd, at); }, "place a stream");
  };
  const int in = aside(streams.in), err = aside(streams.err), socket = aside(streams.socket);
  const Fd null = sys::openat(AT_FDCWD, "/dev/null", O_WRONLY);
  place(null.get(), 1);
  place(in, 0);
  place(err, 2);
  place(socket, 3);
  sys::check([] { return ::close_range(4, ~0U, CLOSE_RANGE_CLOEXEC); }, "close descriptors");
}

std::string execRemote(const std::vector<std::string>& words,
                       const std::vector<std::string>& environment, const Streams& streams) {
  takeStreams(streams);
  // It writes to pipes that may be closed, and says so by an answer.
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // A Ctrl-C of the terminal is ours to answer: it ends when we do.
  ::signal(SIGINT, SIG_IGN);
  const std::vector<char*> argv = rawWords(words);
  const std::vector<char*> variables = rawWords(environment);
  ::execve(argv[0], argv.data(), variables.data());
  throw Error::fromErrno(errno, "start " + text::quote(words.front()));
}

}  // namespace

RemoteProcess::RemoteProcess(const std::vector<std::string>& words, const Json& configuration) {
  std::vector<std::string> argv{remoteProgramPath()};
  argv.insert(argv.end(), words.begin(), words.end());
  const std::vector<std::string> environment = networkEnvironment();
  const Fd input = memoryFile("configuration", dumpJson(configuration));
  stderr_ = memoryFile("stderr");
  auto [ours, theirs] = sys::socketPair();
  const Streams streams{input.get(), stderr_.get(), theirs.get()};
  child_ = Child::fork([&] { return execRemote(argv, environment, streams); });
  socket_ = std::move(ours);
}

Error RemoteProcess::ending() {
  socket_.reset();  // ends it, if it was not the one to hang up
  std::string why;
  try {
    (void)child_.finish();
  } catch (const Error& error) {
    why = error.cause();
  }
  std::string words(2000, '\0');
  words.resize(preadFull(stderr_.get(), std::as_writable_bytes(std::span{words}), 0, "stderr"));
  if (const auto said = text::trim(words); !said.empty()) why = text::escape(said, 500);
  Error error{Kind::failed, "img-remote, the program that talks to registries, has ended early"};
  if (!why.empty()) error.why(why);
  return error.code("remote-ended");
}

}  // namespace img::distribution
