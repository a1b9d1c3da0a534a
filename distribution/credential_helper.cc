#include "distribution/credential_helper.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "distribution/memory_file.h"

namespace img::distribution {
namespace {

constexpr size_t kMaxAnswer = size_t{1} << 20;  // security.md C5
constexpr std::int64_t kLimitMs = 30'000;
constexpr int kNotFoundStatus = 127;  // sh(1): no such program
constexpr char kTokenUser[] = "<token>";

struct Answer {
  int status = 0;
  std::string out;
};

void checkName(const std::string& name) {
  const bool isValid = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  });
  if (!isValid) {
    throw Error::make(Kind::usage, "{} is not a name of a credential helper", text::quote(name))
        .hint("letters, digits, '.', '_' and '-': the part after docker-credential-");
  }
}

[[noreturn]] void execHelper(const std::string& program, const std::string& command, int in,
                             int out) {
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);  // a transfer has blocked some (interruption.h)
  if (::dup2(in, 0) < 0 || ::dup2(out, 1) < 0 || ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
    ::_exit(126);
  ::execlp(program.c_str(), program.c_str(), command.c_str(), nullptr);
  ::_exit(errno == ENOENT ? kNotFoundStatus : 126);
}

// Everything until its end of output, within the limits; `child` is killed by its owner otherwise.
std::string readAnswer(const Fd& out, const std::string& program) {
  const std::int64_t end = sys::monotonicMs() + kLimitMs;
  std::string answer;
  for (;;) {
    const std::int64_t left = end - sys::monotonicMs();
    pollfd waiting{out.get(), POLLIN, 0};
    if (left <= 0 ||
        sys::check([&] { return ::poll(&waiting, 1, static_cast<int>(left)); }, "poll") == 0) {
      throw Error::make(Kind::failed, "{} gave no answer within {} s", program, kLimitMs / 1000);
    }
    char buffer[4096];
    const ssize_t count =
        sys::check([&] { return ::read(out.get(), buffer, sizeof buffer); }, "read {}", program);
    if (count == 0) return answer;
    answer.append(buffer, static_cast<size_t>(count));
    if (answer.size() > kMaxAnswer)
      throw Error::make(Kind::failed, "{} answers with more than 1 MiB", program);
  }
}

int statusOf(const Child& child, const std::string& program) {
  pollfd waiting{child.pidfd(), POLLIN, 0};
  if (sys::check([&] { return ::poll(&waiting, 1, static_cast<int>(kLimitMs)); }, "poll") == 0)
    throw Error::make(Kind::failed, "{} does not end", program);
  siginfo_t info{};
  // WNOWAIT: the Child itself takes it away.
  sys::check(
      [&] { return ::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED | WNOWAIT); },
      "wait for {}", program);
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

Answer callHelper(const std::string& name, const std::string& command, const std::string& input) {
  checkName(name);
  const std::string program = "docker-credential-" + name;
  const Fd in = memoryFile("input", input);  // a pipe could block us when the helper does not read
  Pipe out = Pipe::make();
  const Child child = Child::fork(
      [&]() -> std::string { execHelper(program, command, in.get(), out.write.get()); });
  out.write.reset();
  Answer answer;
  answer.out = readAnswer(out.read, program);
  answer.status = statusOf(child, program);
  if (answer.status == kNotFoundStatus && answer.out.empty()) {
    throw Error::make(Kind::notFound, "there is no program {} in PATH", program)
        .code("no-credential-helper")
        .hint("install it, or take the helper out of the credentials file");
  }
  return answer;
}

// credentials/error.go of docker-credential-helpers: errors are texts on stdout.
bool saysNotFound(const Answer& answer) {
  return answer.status != 0 &&
         text::lower(answer.out).find("credentials not found") != std::string::npos;
}

[[noreturn]] void failWith(const std::string& name, const Answer& answer) {
  throw Error::make(Kind::failed, "docker-credential-{} failed with status {}", name, answer.status)
      .why(text::escape(text::trim(answer.out)));
}

std::string textOf(const Json& answer, const char* key) {
  const auto found = answer.find(key);
  return found != answer.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

}  // namespace

std::optional<Credentials> getFromHelper(const std::string& name, const std::string& server) {
  const Answer answer = callHelper(name, "get", server);
  if (saysNotFound(answer)) return std::nullopt;
  if (answer.status != 0) failWith(name, answer);
  const Json parsed = parseJson(answer.out, "the answer of docker-credential-" + name);
  if (!parsed.is_object()) {
    throw Error::make(Kind::corrupt, "the answer of docker-credential-{} is not a JSON object",
                      name);
  }
  Credentials credentials;
  credentials.source = "docker-credential-" + name;
  const std::string user = textOf(parsed, "Username");
  const std::string secret = textOf(parsed, "Secret");
  if (user.empty() && secret.empty()) return std::nullopt;
  if (user == kTokenUser) {
    credentials.identityToken = secret;
  } else {
    credentials.username = user;
    credentials.password = secret;
  }
  return credentials;
}

void storeWithHelper(const std::string& name, const std::string& server,
                     const Credentials& credentials) {
  const bool isToken = !credentials.identityToken.empty();
  const Json input{{"ServerURL", server},
                   {"Username", isToken ? kTokenUser : credentials.username},
                   {"Secret", isToken ? credentials.identityToken : credentials.password}};
  const Answer answer = callHelper(name, "store", dumpJson(input));
  if (answer.status != 0) failWith(name, answer);
}

void eraseWithHelper(const std::string& name, const std::string& server) {
  const Answer answer = callHelper(name, "erase", server);
  if (answer.status != 0 && !saysNotFound(answer)) failWith(name, answer);
}

}  // namespace img::distribution
