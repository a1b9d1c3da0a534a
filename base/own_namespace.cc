#include "base/own_namespace.h"

#include <sys/stat.h>

#include <atomic>

namespace img {
namespace {

enum class Answer : int { unknown, machine, other };
std::atomic<Answer> answer{Answer::unknown};

Answer ask() {
  // PROC_USER_INIT_INO, include/linux/proc_ns.h
  constexpr ino_t kInitialUserNamespace = 0xEFFFFFFD;
  struct stat info {};
  const bool isOther =
      ::stat("/proc/self/ns/user", &info) == 0 && info.st_ino != kInitialUserNamespace;
  return isOther ? Answer::other : Answer::machine;
}

}  // namespace

bool isInMachineNamespace() {
  Answer known = answer.load(std::memory_order_relaxed);
  if (known == Answer::unknown) {
    known = ask();
    answer.store(known, std::memory_order_relaxed);
  }
  return known == Answer::machine;
}

void userNamespaceChanged() noexcept {
  answer.store(Answer::unknown, std::memory_order_relaxed);
}

}  // namespace img
