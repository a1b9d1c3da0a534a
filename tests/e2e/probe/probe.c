/* What a process in a container can see and do. Static, no shell needed; the suites compile it with gcc.
 *   probe facts PATH...   everything about itself, one section per subject, and what has become of each PATH
 *   probe calls           reads "ABI NUMBER ARG0 ARG1 ARG2 NAME" lines (ABI: 64, 32 for int 0x80), makes each call in a
 *                         child of its own and prints "NAME RESULT" (0, a positive number, -ERRNO, or "signal N")
 *   probe escape PATH     climbs out of a chroot in the classic way and says whether it finds PATH
 *   probe fds             closes nothing, opens nothing it keeps: prints every open descriptor and where it leads
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void dumpFile(const char* title, const char* path) {
  printf("== %s\n", title);
  FILE* file = fopen(path, "re");
  if (file == NULL) {
    printf("(%s)\n", strerrorname_np(errno));
    return;
  }
  char buffer[4096];
  size_t count;
  while ((count = fread(buffer, 1, sizeof buffer, file)) > 0) fwrite(buffer, 1, count, stdout);
  fclose(file);
}

static void showDescriptors(void) {
  printf("== fds\n");
  for (int fd = 0; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) continue;
    char name[64], target[512];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(name, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = '\0';
    printf("%d %s\n", fd, target);
  }
}

static void showNamespaces(void) {
  printf("== namespaces\n");
  const char* names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    char path[64], target[128];
    snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
    const ssize_t length = readlink(path, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = '\0';
    printf("%s %s\n", names[i], target);
  }
}

static void showProcess(void) {
  printf("== process\n");
  const mode_t mask = umask(0);
  printf("umask %03o\n", (unsigned)mask);
  printf("session %d\n", getsid(0) == getpid());
  printf("dumpable-parent-death %d\n", prctl(PR_GET_DUMPABLE));
  printf("personality %#lx\n", (unsigned long)syscall(SYS_personality, 0xffffffffUL));
  struct rlimit limit;
  getrlimit(RLIMIT_CORE, &limit);
  printf("core %lld\n", (long long)limit.rlim_cur);
  /* keyctl(2): KEYCTL_SEARCH 10 in the session keyring -3. */
  const long key = syscall(SYS_keyctl, 10, -3, "user", "img-probe", 0);
  printf("caller-key %s\n", key >= 0 ? "found" : strerrorname_np(errno));
}

/* open: seen and readable; masked: a null device or an empty read-only folder; read-only; absent. */
static void showPath(const char* path) {
  struct stat info;
  struct statvfs fs;
  if (lstat(path, &info) != 0) {
    printf("%s absent\n", path);
    return;
  }
  statvfs(path, &fs);
  const char* word = (fs.f_flag & ST_RDONLY) != 0 ? "read-only" : "open";
  if (S_ISCHR(info.st_mode) && info.st_rdev == makedev(1, 3)) word = "masked";
  if (S_ISDIR(info.st_mode)) {
    struct statfs kind;
    statfs(path, &kind);
    DIR* folder = opendir(path);
    int entries = 0;
    for (struct dirent* entry; folder != NULL && (entry = readdir(folder)) != NULL;) entries += entry->d_name[0] != '.';
    if (folder != NULL) closedir(folder);
    if (kind.f_type == 0x01021994 && entries == 0) word = "masked"; /* TMPFS_MAGIC */
  }
  printf("%s %s\n", path, word);
}

static void showDevices(void) {
  printf("== dev\n");
  DIR* folder = opendir("/dev");
  for (struct dirent* entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
    struct stat info;
    if (fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) printf("%s\n", entry->d_name);
  }
  if (folder != NULL) closedir(folder);
}

static long call64(const long* words) {
  long result;
  register long r10 __asm__("r10") = 0;
  register long r8 __asm__("r8") = 0;
  register long r9 __asm__("r9") = 0;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(words[0]), "D"(words[1]), "S"(words[2]), "d"(words[3]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static long call32(const long* words) {
  long result;
  __asm__ volatile("push %%rbp\n xor %%ebp, %%ebp\n int $0x80\n pop %%rbp"
                   : "=a"(result)
                   : "a"(words[0]), "b"(words[1]), "c"(words[2]), "d"(words[3]), "S"(0L), "D"(0L)
                   : "memory", "r8", "r9", "r10", "r11");
  return (int)result;
}

static void makeCall(int is32, const long* words, const char* name) {
  volatile long* shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  *shared = -4095;
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    const pid_t self = getpid();
    const long result = is32 ? call32(words) : call64(words);
    if (getpid() == self) *shared = result; /* not in a process that the call made */
    _exit(0);
  }
  int status = 0;
  for (int waited = 0; waitpid(child, &status, WNOHANG) == 0; ++waited) {
    usleep(1000);
    if (waited == 200) kill(child, SIGKILL); /* a call that waits was let through */
  }
  if (*shared != -4095) {
    /* Numbers such as pids and addresses differ from run to run. */
    printf("%s %ld\n", name, *shared > 0 ? 1 : *shared);
  } else {
    printf("%s signal %d\n", name, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  }
  munmap((void*)shared, 4096);
}

static void makeCalls(void) {
  int abi;
  long words[4];
  char name[64];
  while (scanf("%d %ld %li %li %li %63s", &abi, &words[0], &words[1], &words[2], &words[3], name) == 6)
    makeCall(abi == 32, words, name);
}

/* chroot(2), "escape": a folder below the working directory becomes the root, and ".." then has no end. */
static void escape(const char* path) {
  const int top = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  mkdir("/escape", 0755);
  if (chroot("/escape") != 0 || fchdir(top) != 0) printf("cannot: %s\n", strerrorname_np(errno));
  for (int i = 0; i < 64; ++i) {
    if (chdir("..") != 0) break;
  }
  if (chroot(".") != 0) printf("cannot: %s\n", strerrorname_np(errno));
  printf("%s\n", access(path, F_OK) == 0 ? "escaped" : "kept in");
}

int main(int argc, char** argv) {
  if (argc > 2 && strcmp(argv[1], "escape") == 0) {
    escape(argv[2]);
    return 0;
  }
  if (argc > 1 && strcmp(argv[1], "calls") == 0) {
    makeCalls();
    return 0;
  }
  if (argc > 1 && strcmp(argv[1], "fds") == 0) {
    showDescriptors();
    return 0;
  }
  showDescriptors(); /* first: nothing of our own is open yet */
  dumpFile("status", "/proc/self/status");
  dumpFile("mountinfo", "/proc/self/mountinfo");
  dumpFile("uid_map", "/proc/self/uid_map");
  dumpFile("gid_map", "/proc/self/gid_map");
  dumpFile("limits", "/proc/self/limits");
  dumpFile("environ", "/proc/self/environ");
  printf("\n");
  showNamespaces();
  showProcess();
  showDevices();
  printf("== paths\n");
  for (int i = 2; i < argc; ++i) showPath(argv[i]);
  return 0;
}
