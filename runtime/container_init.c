// The only program of ours that is ever executed inside a container: it replaces `img` in the process before the
// container's command is started, so that /proc/PID/exe and "#!/proc/self/exe" lead to this sealed copy and not to the
// binary of the host (CVE-2019-5736, security.md F3). It has no libc and no state.
//   argv: MODE PATH ARGV...
//     "exec": become the command. "init": run it as a child, reap, forward signals.
//     "join": leave the command behind as a child of the parent, which is then the first process of ours that the
//     container it joined can see; "terminal": the same, with descriptor 0 as its controlling terminal.
//   descriptor 3: the error pipe, to be closed by execve. Records of 5 bytes: 'X' and the errno when the command cannot
//   be executed, 'P' and the pid of the process left behind.
// The signal mask, handlers, user, limits and filters are set already.

typedef unsigned long word;

#if defined(__x86_64__)
enum { NR_write = 1, NR_close = 3, NR_ioctl = 16, NR_setsid = 112, NR_ppoll = 271, NR_clone = 56, NR_fcntl = 72, NR_execve = 59, NR_exit = 60,
       NR_wait4 = 61, NR_kill = 62, NR_setpgid = 109, NR_getpid = 39, NR_prctl = 157, NR_sigprocmask = 14, NR_sigtimedwait = 128 };
static long call(word number, word a, word b, word c, word d) {
  long result;
  register word r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}
__asm__(".globl _start\n_start:\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call run\n");
#elif defined(__aarch64__)
enum { NR_write = 64, NR_close = 57, NR_ioctl = 29, NR_setsid = 157, NR_ppoll = 73, NR_fcntl = 25, NR_clone = 220, NR_execve = 221, NR_exit = 93,
       NR_wait4 = 260, NR_kill = 129, NR_setpgid = 154, NR_getpid = 172, NR_prctl = 167, NR_sigprocmask = 135,
       NR_sigtimedwait = 137 };
static long call(word number, word a, word b, word c, word d) {
  register word x8 __asm__("x8") = number;
  register word x0 __asm__("x0") = a;
  register word x1 __asm__("x1") = b;
  register word x2 __asm__("x2") = c;
  register word x3 __asm__("x3") = d;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return (long)x0;
}
__asm__(".globl _start\n_start:\n  mov x0, sp\n  bl run\n");
#else
#error "no system call numbers for this architecture"
#endif

enum { kCloneParent = 0x8000, kSigKill = 9, kPrSetDeathSignal = 1, kPollOut = 4, kPollError = 8,
       kTiocsctty = 0x540E };
enum { kPrSetChildSubreaper = 36 };
enum { kErrorPipe = 3, kSigChld = 17, kSigTtin = 21, kSigTtou = 22 };
enum { kPrSetDumpable = 4, kTiocspgrp = 0x5410, kBlock = 0, kSetMask = 2, kNoHang = 1, kNoSuchEntry = 2, kSetFdFlags = 2,
       kCloseOnExec = 1 };

static void quit(int status) {
  for (;;) call(NR_exit, (word)status, 0, 0, 0);
}

static long forkProcess(word flags) { return call(NR_clone, flags | kSigChld, 0, 0, 0); }

static void report(char kind, int value) {
  char record[5] = {kind};
  for (int i = 0; i < 4; ++i) record[1 + i] = (char)((unsigned)value >> (8 * i));
  call(NR_write, kErrorPipe, (word)record, sizeof record, 0);
}

static void executeCommand(char** words, char** environment) {
  const long result = call(NR_execve, (word)words[0], (word)(words + 1), (word)environment, 0);
  const int errnum = (int)-result;
  report('X', errnum);
  quit(errnum == kNoSuchEntry ? 127 : 126);
}

static int statusOf(int status) {
  return (status & 0x7f) == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
}

// PID 1: everything that can be caught is blocked and taken from the queue (a blocked signal is kept even for PID 1, which
// has no default actions); the command's group gets it. Ends with the command, and the kernel ends the rest.
static void runAsInit(char** words, char** environment) {
  const word all = ~0UL;
  const word none = 0;
  call(NR_sigprocmask, kBlock, (word)&all, 0, sizeof all);
  // In a pid namespace that is shared it is not PID 1, and orphans would go to the one that is.
  call(NR_prctl, kPrSetChildSubreaper, 1, 0, 0);
  const long child = forkProcess(0);
  if (child < 0) quit(126);
  if (child == 0) {
    call(NR_setpgid, 0, 0, 0, 0);
    int group = (int)call(NR_getpid, 0, 0, 0, 0);
    call(NR_ioctl, 0, kTiocspgrp, (word)&group, 0);
    call(NR_sigprocmask, kSetMask, (word)&none, 0, sizeof none);
    executeCommand(words, environment);
  }
  call(NR_close, kErrorPipe, 0, 0, 0);
  for (;;) {
    const long signal = call(NR_sigtimedwait, (word)&all, 0, 0, sizeof all);
    if (signal <= 0) continue;
    if (signal != kSigChld) {
      if (signal != kSigTtin && signal != kSigTtou) call(NR_kill, (word)-child, (word)signal, 0, 0);
      continue;
    }
    for (;;) {
      int status = 0;
      const long ended = call(NR_wait4, (word)-1L, (word)&status, kNoHang, 0);
      if (ended <= 0) break;
      if (ended == child) quit(statusOf(status));
    }
  }
}

// A process cannot enter a pid namespace itself, only its children do (setns(2)).
static void leaveBehind(char** words, char** environment, int hasTerminal) {
  const long child = forkProcess(kCloneParent);
  if (child < 0) {
    report('X', (int)-child);
    quit(126);
  }
  if (child > 0) {
    report('P', (int)child);
    quit(0);
  }
  call(NR_prctl, kPrSetDeathSignal, kSigKill, 0, 0);
  // The parent may have died before that: then nobody reads the pipe any more.
  struct { int fd; short wanted, got; } reader = {kErrorPipe, kPollOut, 0};
  const long noTime[2] = {0, 0};
  call(NR_ppoll, (word)&reader, 1, (word)noTime, 0);
  if (reader.got & kPollError) quit(126);
  call(NR_setsid, 0, 0, 0, 0);
  if (hasTerminal) call(NR_ioctl, 0, kTiocsctty, 0, 0);
  executeCommand(words, environment);
}

__attribute__((used, noreturn)) void run(word* stack) {
  const word count = stack[0];
  char** words = (char**)(stack + 1);
  char** environment = words + count + 1;
  // execve(2) made the process readable to others of its user again.
  call(NR_prctl, kPrSetDumpable, 0, 0, 0);
  call(NR_fcntl, kErrorPipe, kSetFdFlags, kCloseOnExec, 0);
  if (count < 3) quit(126);
  if (words[0][0] == 'i') runAsInit(words + 1, environment);
  if (words[0][0] == 'j' || words[0][0] == 't') leaveBehind(words + 1, environment, words[0][0] == 't');
  executeCommand(words + 1, environment);
  __builtin_unreachable();
}
