/* meter: starts commands at once, waits for all, and says what they took.
 *   meter FD SEPARATOR ARGV... [SEPARATOR ARGV...]...
 * Writes "wall-ms cpu-ms peak-KiB" to FD: from before the first fork to after the last wait; user and system time of
 * all processes that were waited for; the largest of them. It is small and static because a process starts with the peak
 * memory of its parent (exec_mmap in fs/exec.c), which would be a script's. Exit status: the first that is not 0. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}
static double ms(struct timeval t) { return t.tv_sec * 1e3 + t.tv_usec / 1e3; }

int main(int argc, char **argv) {
  if (argc < 4) return 64;
  const char *mark = argv[2];
  fcntl(atoi(argv[1]), F_SETFD, FD_CLOEXEC);
  int count = 0, failed = 0, fd = atoi(argv[1]);
  char ***commands = calloc(argc, sizeof *commands);
  for (int i = 2; i < argc; i++)
    if (!strcmp(argv[i], mark)) commands[count++] = &argv[i + 1], argv[i] = NULL;
  double cpu = 0, began = now();
  long peak = 0;
  for (int i = 0; i < count; i++) {
    pid_t pid;
    if (posix_spawn(&pid, commands[i][0], NULL, NULL, commands[i], environ)) {
      fprintf(stderr, "meter: cannot start %s\n", commands[i][0]);
      return 127;
    }
  }
  for (int i = 0; i < count; i++) {
    struct rusage use;
    int status;
    wait4(-1, &status, 0, &use);
    cpu += ms(use.ru_utime) + ms(use.ru_stime);
    if (use.ru_maxrss > peak) peak = use.ru_maxrss;
    if (status && !failed) failed = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  dprintf(fd, "%.4f %.3f %ld\n", now() - began, cpu, peak);
  return failed;
}
