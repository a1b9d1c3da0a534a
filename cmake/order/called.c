/* called OUTPUT ADDRESSES PROGRAM ARGUMENT...: runs the program and writes which of the functions at these addresses (hexadecimal,
 * one a line) were called, in the order of the first calls, in all its processes. Each function has a breakpoint until it is
 * first called: /proc/PID/mem writes to pages that the process itself cannot. What executes another program is left alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kMost = 1 << 17, kProcesses = 1 << 22 };
static unsigned long addresses[kMost];
static unsigned char original[kMost], wasCalled[kMost];
static size_t count;
static FILE *output;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int ascending(const void *a, const void *b) {
  const unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;
  return x < y ? -1 : x > y;
}

static void readAddresses(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) fail(path);
  while (count < kMost && fscanf(file, "%lx", &addresses[count]) == 1) ++count;
  fclose(file);
  qsort(addresses, count, sizeof *addresses, ascending);
}

static int openMemory(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  return open(path, O_RDWR | O_CLOEXEC);
}

static void placeBreakpoints(pid_t pid) {
  const int memory = openMemory(pid);
  if (memory < 0) fail("the memory of the program");
  for (size_t i = 0; i < count; ++i) {
    if (pread(memory, &original[i], 1, (off_t)addresses[i]) != 1 || pwrite(memory, "\xcc", 1, (off_t)addresses[i]) != 1) fail("a breakpoint");
  }
  close(memory);
}

/* False: the trap is none of ours. */
static int passBreakpoint(pid_t pid) {
  struct user_regs_struct registers;
  if (ptrace(PTRACE_GETREGS, pid, 0, &registers)) return 0;
  const unsigned long address = registers.rip - 1;
  const unsigned long *found = bsearch(&address, addresses, count, sizeof *addresses, ascending);
  if (!found) return 0;
  const size_t index = (size_t)(found - addresses);
  const int memory = openMemory(pid);
  if (memory < 0 || pwrite(memory, &original[index], 1, (off_t)address) != 1) return 0;
  close(memory);
  registers.rip = address;
  ptrace(PTRACE_SETREGS, pid, 0, &registers);
  if (!wasCalled[index]) fprintf(output, "%lx\n", address);
  wasCalled[index] = 1;
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 4) return 64;
  readAddresses(argv[2]);
  output = fopen(argv[1], "we");
  if (!output) fail(argv[1]);
  const pid_t first = fork();
  if (first == 0) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    execv(argv[3], argv + 3);
    _exit(127);
  }
  int status = 0, result = 1;
  if (waitpid(first, &status, 0) < 0 || !WIFSTOPPED(status)) fail(argv[3]);
  ptrace(PTRACE_SETOPTIONS, first, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
  placeBreakpoints(first);
  ptrace(PTRACE_CONT, first, 0, 0);
  for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
    if (!WIFSTOPPED(status)) {
      if (pid == first) result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
      continue;
    }
    const int event = status >> 16;
    int signal = WSTOPSIG(status);
    if (event == PTRACE_EVENT_EXEC) {
      ptrace(PTRACE_DETACH, pid, 0, 0);
      continue;
    }
    if (event || signal == SIGSTOP || (signal == SIGTRAP && passBreakpoint(pid))) signal = 0;
    ptrace(PTRACE_CONT, pid, 0, signal);
  }
  fclose(output);
  return result;
}
