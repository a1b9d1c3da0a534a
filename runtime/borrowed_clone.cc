#include "runtime/borrowed_clone.h"

#include <cxxabi.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/sys.h"

// Sanitizers keep books of one stack for each process.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IMG_COPIES_MEMORY 1
#elif !defined(__x86_64__) && !defined(__aarch64__)
#define IMG_COPIES_MEMORY 1
#endif

namespace img::runtime {

#ifdef IMG_COPIES_MEMORY

Launched cloneBorrowing(clone_args args, const std::function<void()>& child) {
  return cloneChild(args, child);
}

#else

namespace {

[[noreturn]] void runChild(const void* child) noexcept {
  (*static_cast<const std::function<void()>*>(child))();
  ::_exit(0);
}

// The parent sleeps, so what lies below its frame is free, and its pages are there already. The
// distance is for what the compiler keeps below a frame.
void placeStack(clone_args& args, void* frame) {
  constexpr std::uintptr_t kDistance = 4096, kSize = std::uintptr_t{256} << 10, kAlignment = 16;
  const std::uintptr_t top =
      (reinterpret_cast<std::uintptr_t>(frame) - kDistance) / kAlignment * kAlignment;
  args.stack = top - kSize;
  args.stack_size = kSize;
}

// clone3 in which the child does not return: what it would return to is the parent's. The kernel's
// result, negative for an error.
[[gnu::noinline]] long cloneInto(clone_args& args, const void* child) {
  placeStack(args, __builtin_frame_address(0));
#ifdef __x86_64__
  long result = SYS_clone3;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"  // the outermost frame
      "mov %[child], %%rdi\n\t"
      "call *%[run]\n\t"
      "ud2\n"
      "1:"
      : "+a"(result)
      : "D"(&args), "S"(sizeof args), [child] "r"(child), [run] "r"(&runChild)
      : "rcx", "r11", "memory", "cc");
  return result;
#else
  register long number asm("x8") = SYS_clone3;
  register long result asm("x0") = reinterpret_cast<long>(&args);
  register long size asm("x1") = sizeof args;
  asm volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, %[child]\n\t"
      "blr %[run]\n\t"
      "brk #1\n"
      "1:"
      : "+r"(result)
      : "r"(number), "r"(size), [child] "r"(child), [run] "r"(&runChild)
      : "x30", "memory", "cc");
  return result;
#endif
}

// Shared as well: what the thread throws and handles (Itanium C++ ABI, Exception Handling, 2.2.2).
// A child that fails ends inside a handler, which the parent would then seem to be in.
struct Exceptions {
  void* caught;
  unsigned uncaught;
};

long cloneKeepingExceptions(clone_args& args, const void* child) {
  Exceptions before;
  std::memcpy(&before, abi::__cxa_get_globals(), sizeof before);
  const long result = cloneInto(args, child);
  std::memcpy(abi::__cxa_get_globals(), &before, sizeof before);
  return result;
}

// Shared as well: whether others may look at this memory. The child hides itself.
class DumpableKept {
 public:
  DumpableKept() : wasDumpable_(::prctl(PR_GET_DUMPABLE) == 1) {}
  DumpableKept(const DumpableKept&) = delete;
  DumpableKept& operator=(const DumpableKept&) = delete;
  DumpableKept(DumpableKept&&) = delete;
  DumpableKept& operator=(DumpableKept&&) = delete;
  ~DumpableKept() {
    if (wasDumpable_) ::prctl(PR_SET_DUMPABLE, 1);
  }

 private:
  bool wasDumpable_;
};

}  // namespace

Launched cloneBorrowing(clone_args args, const std::function<void()>& child) {
  const DumpableKept kept;
  args.flags |= CLONE_VM | CLONE_VFORK;
  return cloneBy(args, [&](clone_args& complete) {
    const auto clone = [&] {
      const long result = cloneKeepingExceptions(complete, &child);
      if (result < 0) errno = static_cast<int>(-result);
      return result < 0 ? -1 : static_cast<pid_t>(result);
    };
    return sys::check(clone, "clone a process");
  });
}

#endif

}  // namespace img::runtime
