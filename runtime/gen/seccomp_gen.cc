// Build-time program: writes the standard seccomp filter as C++ arrays (security.md 3). libseccomp
// supplies the system call numbers; the filter itself is a binary search over ranges of numbers,
// because loading costs by instruction: the kernel converts, compiles and symbolically runs the
// program at each container start (kernel/seccomp.c, seccomp_cache_prepare). What depends on a
// capability ends in a marker, which the loader replaces.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

// Newest call known when this was written; what is above does not exist for a container: ENOSYS.
constexpr std::uint32_t kNewestCall = 469;

// Allowed always. "x*" is a prefix; each name also stands for its *32, *64 and *_time64 forms.
constexpr std::string_view kAllowed =
    // files
    "access faccessat faccessat2 chdir fchdir chmod fchmod fchmodat fchmodat2 chown fchown "
    "fchownat lchown close "
    "close_range creat open openat openat2 dup dup2 dup3 fallocate fadvise64 fadvise64_64 "
    "arm_fadvise64_64 fcntl flock "
    "fstat fstatat64 fstatat newfstatat lstat stat statx statfs fstatfs statmount listmount fsync "
    "fdatasync sync syncfs "
    "sync_file_range sync_file_range2 arm_sync_file_range ftruncate truncate getcwd getdents link "
    "linkat lseek _llseek "
    "mkdir mkdirat mknod mknodat name_to_handle_at read readv pread64 preadv preadv2 write writev "
    "pwrite64 pwritev "
    "pwritev2 readahead readlink readlinkat rename renameat renameat2 rmdir symlink symlinkat "
    "umask unlink unlinkat "
    "utime utimes utimensat futimesat copy_file_range sendfile splice tee vmsplice inotify_* "
    "fanotify_mark cachestat "
    "ioctl getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat "
    "listxattr llistxattr "
    "flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat file_getattr "
    "file_setattr "
    // memory
    "brk mmap mmap2 mprotect munmap mremap madvise mincore msync mlock mlock2 mlockall munlock "
    "munlockall membarrier "
    "memfd_create memfd_secret mseal map_shadow_stack pkey_alloc pkey_free pkey_mprotect "
    "remap_file_pages cacheflush "
    // processes
    "execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid getpgid "
    "getpgrp setpgid "
    "getsid setsid kill tkill tgkill pidfd_open pidfd_send_signal process_mrelease prctl "
    "arch_prctl modify_ldt "
    "set_tid_address set_robust_list get_robust_list set_thread_area get_thread_area set_tls "
    "breakpoint rseq seccomp "
    "landlock_* getpriority setpriority sched_* getrlimit setrlimit prlimit64 ugetrlimit getrusage "
    "times sysinfo uname "
    "getcpu capget capset ioprio_get ioprio_set restart_syscall uretprobe riscv_hwprobe ptrace "
    "process_vm_readv "
    "process_vm_writev "
    // users
    "getuid setuid getgid setgid geteuid getegid getresuid setresuid getresgid setresgid setreuid "
    "setregid setfsuid "
    "setfsgid getgroups setgroups "
    // signals, time, waiting
    "rt_sig* rt_tgsigqueueinfo sig* pause alarm getitimer setitimer nanosleep clock_getres "
    "clock_gettime "
    "clock_nanosleep clock_adjtime adjtimex gettimeofday time timer_* timerfd_* futex futex_wait "
    "futex_wake "
    "futex_requeue futex_waitv poll ppoll select _newselect pselect6 epoll_* eventfd eventfd2 "
    // IPC and network (socket: see below)
    "pipe pipe2 socketpair socketcall bind connect listen accept accept4 getsockname getpeername "
    "getsockopt setsockopt "
    "send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg shutdown ipc msg* sem* shm* mq_* "
    "io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents getrandom";

constexpr std::uint64_t bit(unsigned capability) {
  return std::uint64_t{1} << capability;
}
constexpr std::uint64_t kDacReadSearch = bit(2), kSysModule = bit(16), kSysRawio = bit(17),
                        kSysChroot = bit(18), kSysPtrace = bit(19), kSysPacct = bit(20),
                        kSysAdmin = bit(21), kSysBoot = bit(22), kSysNice = bit(23),
                        kSysTime = bit(25), kSysTtyConfig = bit(26), kAuditWrite = bit(29),
                        kSyslog = bit(34), kPerfmon = bit(38), kBpf = bit(39);

// With any capability of `mask` allowed, else the error `denied`.
struct Group {
  std::uint64_t mask;
  int denied;
  std::string_view calls;
};
constexpr Group kGroups[] = {
    {kSysAdmin, EPERM,
     "mount umount umount2 mount_setattr move_mount open_tree open_tree_attr fsopen fsconfig "
     "fsmount fspick unshare "
     "setns sethostname setdomainname quotactl quotactl_fd fanotify_init lookup_dcookie lsm_*"},
    // ENOSYS lets libc fall back to clone, whose flags a filter can see.
    {kSysAdmin, ENOSYS, "clone3"},
    {kAuditWrite, EINVAL, ""},  // audit sockets, used by the socket rule
    {kDacReadSearch, EPERM, "open_by_handle_at"},
    {kSysChroot, EPERM, "chroot"},
    {kSysPtrace, EPERM, "kcmp pidfd_getfd process_madvise"},
    {kSysModule, EPERM, "init_module finit_module delete_module"},
    {kSysTime, EPERM, "settimeofday stime clock_settime"},
    {kSysBoot, EPERM, "reboot"},
    {kSysRawio, EPERM, "iopl ioperm"},
    {kSysPacct, EPERM, "acct"},
    {kSysTtyConfig, EPERM, "vhangup"},
    {kSysNice, EPERM, "mbind get_mempolicy set_mempolicy set_mempolicy_home_node"},
    {kSysAdmin | kSyslog, EPERM, "syslog"},
    {kSysAdmin | kBpf, EPERM, "bpf"},
    {kSysAdmin | kPerfmon, EPERM, "perf_event_open"},
};
constexpr std::uint32_t kAdminMarker = 0;
constexpr std::uint32_t kAuditMarker = 2;

// Calls that libseccomp 2.5 does not name; numbers are equal on all architectures from 424 on.
const std::map<std::string, std::uint32_t> kNewCalls = {{"fchmodat2", 452},
                                                        {"map_shadow_stack", 453},
                                                        {"futex_wake", 454},
                                                        {"futex_wait", 455},
                                                        {"futex_requeue", 456},
                                                        {"statmount", 457},
                                                        {"listmount", 458},
                                                        {"lsm_get_self_attr", 459},
                                                        {"lsm_set_self_attr", 460},
                                                        {"lsm_list_modules", 461},
                                                        {"mseal", 462},
                                                        {"setxattrat", 463},
                                                        {"getxattrat", 464},
                                                        {"listxattrat", 465},
                                                        {"removexattrat", 466},
                                                        {"open_tree_attr", 467},
                                                        {"file_getattr", 468},
                                                        {"file_setattr", 469},
                                                        {"cachestat", 451},
                                                        {"set_mempolicy_home_node", 450}};

// libseccomp gives pseudo numbers for the calls that i386 also multiplexes (socketcall, ipc); these
// are the direct ones, arch/x86/entry/syscalls/syscall_32.tbl.
const std::map<std::string, std::uint32_t> kDirectI386 = {
    {"socket", 359},      {"socketpair", 360},  {"bind", 361},       {"connect", 362},
    {"listen", 363},      {"accept4", 364},     {"getsockopt", 365}, {"setsockopt", 366},
    {"getsockname", 367}, {"getpeername", 368}, {"sendto", 369},     {"sendmsg", 370},
    {"recvfrom", 371},    {"recvmsg", 372},     {"shutdown", 373},   {"semget", 393},
    {"semctl", 394},      {"shmget", 395},      {"shmctl", 396},     {"shmat", 397},
    {"shmdt", 398},       {"msgget", 399},      {"msgsnd", 400},     {"msgrcv", 401},
    {"msgctl", 402}};

struct Arch {
  std::uint32_t token;  // SCMP_ARCH_*
  std::uint32_t audit;  // AUDIT_ARCH_*
  bool hasX32;
};

enum class Act { allow, eperm, enosys, marker, personality, clone, socket };
struct Rule {
  Act act = Act::enosys;
  std::uint32_t marker = 0;
  bool operator==(const Rule&) const = default;
};
using Table = std::map<std::uint32_t, Rule>;  // number -> rule; numbers that are not in it: ENOSYS

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> all;
  while (!text.empty()) {
    const size_t end = text.find(' ');
    if (end != 0) all.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return all;
}

using Names = std::map<std::string, std::uint32_t>;

// Every call of an architecture by name.
Names knownCalls(const Arch& arch) {
  Names names;
  for (std::uint32_t number = 0; number <= kNewestCall; ++number) {
    char* name = seccomp_syscall_resolve_num_arch(arch.token, static_cast<int>(number));
    if (name != nullptr) names.emplace(name, number);
    std::free(name);
  }
  for (const char* name : {"cacheflush", "set_tls", "breakpoint"}) {  // arm: far above the others
    const int number = seccomp_syscall_resolve_name_arch(arch.token, name);
    if (number > 0) names[name] = static_cast<std::uint32_t>(number);
  }
  for (const auto& [name, number] : kNewCalls) names[name] = number;
  if (arch.token == SCMP_ARCH_X86_64) names["uretprobe"] = 335;
  if (arch.token == SCMP_ARCH_X86) {
    for (const auto& [name, number] : kDirectI386) names[name] = number;
  }
  return names;
}

void setRule(Table& table, const Names& names, const std::string& word, const Rule& rule) {
  if (word.back() == '*') {
    const std::string prefix = word.substr(0, word.size() - 1);
    for (auto at = names.lower_bound(prefix);
         at != names.end() && at->first.compare(0, prefix.size(), prefix) == 0; ++at) {
      table[at->second] = rule;
    }
    return;
  }
  for (const char* suffix : {"", "32", "64", "_time64"}) {
    const auto at = names.find(word + suffix);
    if (at != names.end()) table[at->second] = rule;
  }
}

Table makeTable(const Arch& arch) {
  const Names names = knownCalls(arch);
  Table table;
  // EPERM for what exists and is not listed: ENOSYS would hide the refusal, and EPERM for what does
  // not exist breaks the fallbacks of newer libcs.
  for (const auto& [name, number] : names) table[number] = {Act::eperm, 0};
  for (const std::string& word : words(kAllowed)) setRule(table, names, word, {Act::allow, 0});
  for (std::uint32_t i = 0; i < std::size(kGroups); ++i) {
    for (const std::string& word : words(kGroups[i].calls)) {
      setRule(table, names, word, {Act::marker, i});
    }
  }
  setRule(table, names, "personality", {Act::personality, 0});
  setRule(table, names, "clone", {Act::clone, 0});
  setRule(table, names, "socket", {Act::socket, 0});
  return table;
}

using Program = std::vector<sock_filter>;

sock_filter ret(std::uint32_t value) {
  return BPF_STMT(BPF_RET | BPF_K, value);
}
sock_filter load(std::uint32_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
}
sock_filter jump(unsigned test, std::uint32_t value, unsigned yes, unsigned no) {
  return BPF_JUMP(BPF_JMP | BPF_K | test, value, static_cast<std::uint8_t>(yes),
                  static_cast<std::uint8_t>(no));
}
constexpr std::uint32_t argument(unsigned index) {
  return 16 + 8 * index;  // offsetof(seccomp_data, args), low half on little endian
}
std::uint32_t error(int errnum) {
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(errnum);
}
std::uint32_t markerValue(std::uint32_t index) {
  return SECCOMP_RET_TRACE | index;
}

Program leaf(const Rule& rule) {
  const sock_filter allow = ret(SECCOMP_RET_ALLOW);
  const sock_filter deny = ret(error(EPERM));
  switch (rule.act) {
    case Act::allow: return {allow};
    case Act::eperm: return {deny};
    case Act::enosys: return {ret(error(ENOSYS))};
    case Act::marker: return {ret(markerValue(rule.marker))};
    case Act::personality:
      return {load(argument(0)),
              jump(BPF_JEQ, 0, 5, 0),
              jump(BPF_JEQ, 8, 4, 0),
              jump(BPF_JEQ, 0x20000, 3, 0),
              jump(BPF_JEQ, 0x20008, 2, 0),
              jump(BPF_JEQ, 0xffffffff, 1, 0),
              deny,
              allow};
    case Act::clone:  // any CLONE_NEW* flag
      return {load(argument(0)), jump(BPF_JSET, 0x7E020000, 0, 1), ret(markerValue(kAdminMarker)),
              allow};
    case Act::socket:  // AF_ALG, AF_VSOCK; AF_NETLINK with NETLINK_AUDIT
      return {load(argument(0)),
              jump(BPF_JEQ, 38, 5, 0),
              jump(BPF_JEQ, 40, 4, 0),
              jump(BPF_JEQ, 16, 0, 4),
              load(argument(2)),
              jump(BPF_JEQ, 9, 0, 2),
              ret(markerValue(kAuditMarker)),
              deny,
              allow};
  }
  std::abort();
}

struct Segment {
  std::uint32_t start;
  Rule rule;
};

std::vector<Segment> segmentsOf(const Table& table) {
  std::vector<Segment> segments;
  const auto add = [&](std::uint32_t start, const Rule& rule) {
    if (segments.empty() || !(segments.back().rule == rule)) segments.push_back({start, rule});
  };
  std::uint32_t next = 0;
  for (const auto& [number, rule] : table) {
    if (number != next) add(next, {});
    add(number, rule);
    next = number + 1;
  }
  add(next, {});
  return segments;
}

// Binary search over the segments: comparisons first, then each distinct leaf once. With a leaf
// for each segment the program would be half as long again.
class Search {
 public:
  explicit Search(const std::vector<Segment>& segments) : segments_(segments) {
    add(0, segments.size() - 1);
  }

  [[nodiscard]] Program program() const {
    Program program;
    std::vector<size_t> starts;  // of the leaves
    size_t size = tests_.size();
    for (const Rule& rule : leaves_) {
      starts.push_back(size);
      size += leaf(rule).size();
    }
    const auto distance = [&](const Target& target, size_t from) {
      const size_t place = target.isLeaf ? starts[target.index] : target.index;
      if (place - from - 1 > 255) std::abort();  // further than a conditional jump reaches
      return static_cast<unsigned>(place - from - 1);
    };
    for (size_t i = 0; i < tests_.size(); ++i) {
      const Test& test = tests_[i];
      program.push_back(jump(BPF_JGE, test.start, distance(test.high, i), distance(test.low, i)));
    }
    for (const Rule& rule : leaves_) {
      const Program code = leaf(rule);
      program.insert(program.end(), code.begin(), code.end());
    }
    return program;
  }

 private:
  struct Target {
    bool isLeaf = false;
    size_t index = 0;  // in leaves_ or tests_
  };
  struct Test {
    std::uint32_t start = 0;
    Target low, high;  // below `start`, and from there
  };

  // Each test comes before those it leads to: jumps go forward only.
  Target add(size_t first, size_t last) {
    if (first == last) return leafOf(segments_[first].rule);
    const size_t middle = (first + last + 1) / 2;
    const size_t place = tests_.size();
    tests_.push_back({segments_[middle].start, {}, {}});
    const Target low = add(first, middle - 1);
    const Target high = add(middle, last);
    tests_[place].low = low;
    tests_[place].high = high;
    return {false, place};
  }

  Target leafOf(const Rule& rule) {
    const auto known = std::find(leaves_.begin(), leaves_.end(), rule);
    const auto index = static_cast<size_t>(known - leaves_.begin());
    if (known == leaves_.end()) leaves_.push_back(rule);
    return {true, index};
  }

  const std::vector<Segment>& segments_;
  std::vector<Test> tests_;
  std::vector<Rule> leaves_;
};

Program forArch(const Arch& arch) {
  const std::vector<Segment> segments = segmentsOf(makeTable(arch));
  Program program{load(0)};  // offsetof(seccomp_data, nr)
  if (arch.hasX32) {         // __X32_SYSCALL_BIT
    program.push_back(jump(BPF_JGE, 0x40000000, 0, 1));
    program.push_back(ret(error(ENOSYS)));
  }
  const Program rest = Search{segments}.program();
  program.insert(program.end(), rest.begin(), rest.end());
  return program;
}

Program wholeFilter(const Arch& native, const Arch& compat) {
  const Program first = forArch(native);
  const Program second = forArch(compat);
  // Native calls are the rule, so theirs come first; the other architecture is a far jump away.
  Program program{load(4), jump(BPF_JEQ, native.audit, 3, 0), jump(BPF_JEQ, compat.audit, 1, 0),
                  ret(error(ENOSYS)),
                  BPF_STMT(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(first.size()))};
  program.insert(program.end(), first.begin(), first.end());
  program.insert(program.end(), second.begin(), second.end());
  return program;
}

void print(std::FILE* out, const char* condition, const Program& program) {
  std::fprintf(out, "#if defined(%s)\nconstexpr sock_filter kProgram[] = {\n", condition);
  for (const sock_filter& one : program) {
    std::fprintf(out, "    {0x%04x, %u, %u, 0x%08xU},\n", one.code, one.jt, one.jf, one.k);
  }
  std::fprintf(out, "};\n#endif\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::FILE* out = std::fopen(argv[1], "w");
  if (out == nullptr) return 1;
  std::fprintf(out, "// Made by runtime/gen/seccomp_gen.cc.\n");
  print(out, "__x86_64__",
        wholeFilter({SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, true},
                    {SCMP_ARCH_X86, AUDIT_ARCH_I386, false}));
  print(out, "__aarch64__",
        wholeFilter({SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64, false},
                    {SCMP_ARCH_ARM, AUDIT_ARCH_ARM, false}));
  std::fprintf(out, "constexpr Marker kMarkers[] = {\n");
  for (const Group& group : kGroups) {
    std::fprintf(out, "    {0x%llxULL, %d},\n", static_cast<unsigned long long>(group.mask),
                 group.denied);
  }
  std::fprintf(out, "};\n");
  return std::fclose(out) == 0 ? 0 : 1;
}
