#include "runtime/own_binary.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sys.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U  // Linux 6.3
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020  // Linux 6.3
#endif

namespace img::runtime {
namespace {

constexpr unsigned char kProgram[] = {
#include "container_init.inc"
};

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> raw;
  raw.reserve(words.size() + 1);
  for (const std::string& word : words) raw.push_back(const_cast<char*>(word.c_str()));
  raw.push_back(nullptr);
  return raw;
}

const char* modeWord(InitMode mode) {
  switch (mode) {
    case InitMode::replace: return "exec";
    case InitMode::supervise: return "init";
    case InitMode::join: return "join";
    case InitMode::joinWithTerminal: return "terminal";
  }
  return "exec";
}

}  // namespace

Fd makeContainerInit() {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = ::memfd_create("img-init", kFlags | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create("img-init", kFlags);  // before Linux 6.3
  if (fd < 0) {
    throw Error::fromErrno(errno, "make the program that runs in containers")
        .hint("vm.memfd_noexec=2 forbids it; set it to 0 or 1");
  }
  Fd program{fd};
  writeAll(fd, std::as_bytes(std::span{kProgram}), "the program that runs in containers");
  sys::fchmod(fd, 0511);  // unreadable: the kernel keeps such a process from being dumped
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (::fcntl(fd, F_ADD_SEALS, kSeals | F_SEAL_EXEC) < 0) {
    sys::check([&] { return ::fcntl(fd, F_ADD_SEALS, kSeals); }, "seal a memory file");
  }
  return program;
}

void enterContainerInit(int program, InitMode mode, const std::string& path,
                        const std::vector<std::string>& argv, const std::vector<std::string>& env) {
  std::vector<std::string> words{modeWord(mode), path};
  words.insert(words.end(), argv.begin(), argv.end());
  const std::vector<char*> rawArgv = pointers(words);
  const std::vector<char*> rawEnv = pointers(env);
  ::syscall(SYS_execveat, program, "", rawArgv.data(), rawEnv.data(), AT_EMPTY_PATH);
  throw Error::fromErrno(errno, "execute the program that runs in containers");
}

}  // namespace img::runtime
