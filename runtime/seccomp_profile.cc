#include "runtime/seccomp_profile.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/security.h"

namespace img::runtime {
namespace {

template <class... Args>
[[noreturn]] void reject(std::string_view place, fmt::format_string<Args...> why, Args&&... args) {
  throw Error::make(Kind::usage, "the seccomp profile is not valid: {}: {}", place,
                    fmt::format(why, std::forward<Args>(args)...))
      .hint("the format is that of docker's default profile (profiles/seccomp/default.json)");
}

// The members of one JSON object, with the place for messages. A name that nobody knows is a typing
// error, which must not silently leave a rule out.
class Members {
 public:
  Members(const Json& value, std::string place, const std::set<std::string>& known)
      : value_(value), place_(std::move(place)) {
    if (!value.is_object()) reject(place_.empty() ? "/" : place_, "not an object");
    for (const auto& [name, unused] : value.items()) {
      if (!known.contains(name)) reject(at(name), "unknown member");
    }
  }

  [[nodiscard]] std::string at(std::string_view name) const {
    return fmt::format("{}/{}", place_, text::escape(name));
  }
  // nullptr: not there, or null.
  [[nodiscard]] const Json* find(const char* name) const {
    const auto found = value_.find(name);
    return found == value_.end() || found->is_null() ? nullptr : &*found;
  }
  [[nodiscard]] std::string text(const char* name) const {
    const Json* found = find(name);
    if (found == nullptr) return {};
    if (!found->is_string()) reject(at(name), "not a string");
    return found->get<std::string>();
  }
  [[nodiscard]] std::vector<std::string> texts(const char* name) const {
    std::vector<std::string> all;
    for (const Json& one : list(name)) {
      if (!one.is_string()) reject(at(name), "not a list of strings");
      all.push_back(one.get<std::string>());
    }
    return all;
  }
  [[nodiscard]] std::vector<Json> list(const char* name) const {
    const Json* found = find(name);
    if (found == nullptr) return {};
    if (!found->is_array()) reject(at(name), "not a list");
    return found->get<std::vector<Json>>();
  }
  [[nodiscard]] std::optional<std::uint64_t> number(const char* name) const {
    const Json* found = find(name);
    if (found == nullptr) return std::nullopt;
    if (!found->is_number_unsigned()) reject(at(name), "not a number from 0 on");
    return found->get<std::uint64_t>();
  }

 private:
  const Json& value_;
  std::string place_;
};

struct ArchName {
  const char* name;       // SCMP_ARCH_* of the profile
  const char* shortName;  // of includes.arches, in docker's spelling
  std::uint32_t token;
};
constexpr ArchName kArches[] = {{"SCMP_ARCH_X86_64", "amd64", SCMP_ARCH_X86_64},
                                {"SCMP_ARCH_X86", "x86", SCMP_ARCH_X86},
                                {"SCMP_ARCH_X32", "x32", SCMP_ARCH_X32},
                                {"SCMP_ARCH_AARCH64", "arm64", SCMP_ARCH_AARCH64},
                                {"SCMP_ARCH_ARM", "arm", SCMP_ARCH_ARM},
                                {"SCMP_ARCH_MIPS", "mips", SCMP_ARCH_MIPS},
                                {"SCMP_ARCH_MIPS64", "mips64", SCMP_ARCH_MIPS64},
                                {"SCMP_ARCH_MIPS64N32", "mips64n32", SCMP_ARCH_MIPS64N32},
                                {"SCMP_ARCH_MIPSEL", "mipsel", SCMP_ARCH_MIPSEL},
                                {"SCMP_ARCH_MIPSEL64", "mipsel64", SCMP_ARCH_MIPSEL64},
                                {"SCMP_ARCH_MIPSEL64N32", "mipsel64n32", SCMP_ARCH_MIPSEL64N32},
                                {"SCMP_ARCH_PPC", "ppc", SCMP_ARCH_PPC},
                                {"SCMP_ARCH_PPC64", "ppc64", SCMP_ARCH_PPC64},
                                {"SCMP_ARCH_PPC64LE", "ppc64le", SCMP_ARCH_PPC64LE},
                                {"SCMP_ARCH_S390", "s390", SCMP_ARCH_S390},
                                {"SCMP_ARCH_S390X", "s390x", SCMP_ARCH_S390X},
                                {"SCMP_ARCH_RISCV64", "riscv64", SCMP_ARCH_RISCV64}};

const ArchName* findArch(std::uint32_t token) {
  for (const ArchName& arch : kArches) {
    if (arch.token == token) return &arch;
  }
  return nullptr;
}

// 0 for one that this libseccomp does not know.
std::uint32_t archToken(const std::string& name, std::string_view place) {
  for (const ArchName& arch : kArches) {
    if (name == arch.name) return arch.token;
  }
  if (!name.starts_with("SCMP_ARCH_")) reject(place, "unknown architecture {}", text::quote(name));
  return 0;
}

std::uint32_t errnoOf(const Members& members, const char* name) {
  const auto value = members.number(name);
  if (value && *value > 4095) reject(members.at(name), "{} is no error number", *value);
  return static_cast<std::uint32_t>(value.value_or(EPERM));
}

std::uint32_t actionOf(const Members& members, const char* name, const char* errnoName) {
  const std::string word = members.text(name);
  if (word == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  if (word == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(errnoOf(members, errnoName));
  if (word == "SCMP_ACT_KILL" || word == "SCMP_ACT_KILL_THREAD") return SCMP_ACT_KILL_THREAD;
  if (word == "SCMP_ACT_KILL_PROCESS") return SCMP_ACT_KILL_PROCESS;
  if (word == "SCMP_ACT_TRAP") return SCMP_ACT_TRAP;
  if (word == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(errnoOf(members, errnoName));
  if (word == "SCMP_ACT_LOG") return SCMP_ACT_LOG;
  if (word == "SCMP_ACT_NOTIFY") reject(members.at(name), "nobody listens for notifications here");
  if (word.empty()) reject(members.at(name), "missing");
  reject(members.at(name), "unknown action {}", text::quote(word));
}

// "4.8" against the running kernel.
bool isKernelAtLeast(const std::string& wanted, std::string_view place) {
  const auto parse = [](std::string_view text) -> std::optional<std::pair<unsigned, unsigned>> {
    unsigned major = 0;
    unsigned minor = 0;
    if (std::sscanf(std::string{text}.c_str(), "%u.%u", &major, &minor) != 2) return std::nullopt;
    return std::pair{major, minor};
  };
  utsname name{};
  ::uname(&name);
  const auto minimum = parse(wanted);
  if (!minimum) reject(place, "{} is not a kernel version such as 4.8", text::quote(wanted));
  return parse(name.release).value_or(std::pair{0U, 0U}) >= *minimum;
}

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

void check(int result, std::string_view action) {
  if (result < 0) throw Error::fromErrno(-result, action);
}

class Compiler {
 public:
  Compiler(const Json& document, std::uint64_t capabilities)
      : top_(document, "",
             {"defaultAction", "defaultErrnoRet", "defaultErrno", "architectures", "archMap",
              "flags", "listenerPath", "listenerMetadata", "syscalls"}),
        capabilities_(capabilities) {}

  std::vector<sock_filter> compile() {
    if (!top_.text("listenerPath").empty())
      reject("/listenerPath", "nobody listens for notifications here");
    default_ = actionOf(top_, "defaultAction", "defaultErrnoRet");
    filter_.reset(seccomp_init(default_));
    if (!filter_) throw Error{Kind::failed, "cannot make a seccomp filter"};
    // Calls of an architecture that the profile does not name do not exist for the container.
    check(seccomp_attr_set(filter_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)),
          "set up the seccomp filter");
    check(seccomp_attr_set(filter_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2),
          "set up the seccomp filter");
    checkFlags();
    addArchitectures();
    const std::vector<Json> calls = top_.list("syscalls");
    for (size_t i = 0; i < calls.size(); ++i) addEntry(calls[i], fmt::format("/syscalls/{}", i));
    std::vector<sock_filter> program = exported();
    hideNewerCalls(program);
    return program;
  }

 private:
  void checkFlags() const {
    // All about logging, speculation and threads, which are decided here already.
    const std::set<std::string> known = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                                         "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                         "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
    for (const std::string& flag : top_.texts("flags")) {
      if (!known.contains(flag)) reject("/flags", "unknown flag {}", text::quote(flag));
    }
  }

  void addArchitecture(const std::string& name, std::string_view place) {
    const std::uint32_t token = archToken(name, place);
    if (token == 0 || token == SCMP_ARCH_X32) return;
    arches_.insert(token);
    const int result = seccomp_arch_add(filter_.get(), token);
    // EEXIST: the native one. EDOM, EINVAL: another byte order, which this machine cannot run.
    if (result < 0 && result != -EEXIST && result != -EDOM && result != -EINVAL)
      check(result, "add an architecture to the seccomp filter");
    if (result == -EDOM || result == -EINVAL) arches_.erase(token);
  }

  void addArchitectures() {
    arches_.insert(seccomp_arch_native());
    const std::vector<std::string> names = top_.texts("architectures");
    const std::vector<Json> map = top_.list("archMap");
    if (!names.empty() && !map.empty())
      reject("/archMap", "cannot be given together with architectures");
    for (const std::string& name : names) addArchitecture(name, "/architectures");
    for (size_t i = 0; i < map.size(); ++i) {
      const Members entry{
          map[i], fmt::format("/archMap/{}", i), {"architecture", "subArchitectures"}};
      // Only the entry of this machine counts: the others are for other machines.
      if (archToken(entry.text("architecture"), entry.at("architecture")) != seccomp_arch_native())
        continue;
      for (const std::string& name : entry.texts("subArchitectures"))
        addArchitecture(name, entry.at("subArchitectures"));
    }
  }

  [[nodiscard]] bool hasCapability(const std::string& name, std::string_view place) const {
    try {
      return (capabilities_ & parseCapability(name)) != 0;
    } catch (const Error& error) {
      reject(place, "{}", error.cause());
    }
  }

  [[nodiscard]] static bool isHere(const std::string& arch) {
    const ArchName* native = findArch(seccomp_arch_native());
    return native != nullptr && arch == native->shortName;
  }

  // All conditions of `includes` must hold, and none of `excludes`.
  [[nodiscard]] bool applies(const Members& entry) const {
    const std::set<std::string> kNames = {"caps", "arches", "minKernel"};
    if (const Json* includes = entry.find("includes")) {
      const Members wanted{*includes, entry.at("includes"), kNames};
      for (const std::string& name : wanted.texts("caps")) {
        if (!hasCapability(name, wanted.at("caps"))) return false;
      }
      const std::vector<std::string> arches = wanted.texts("arches");
      if (!arches.empty() && std::none_of(arches.begin(), arches.end(), isHere)) return false;
      const std::string kernel = wanted.text("minKernel");
      if (!kernel.empty() && !isKernelAtLeast(kernel, wanted.at("minKernel"))) return false;
    }
    if (const Json* excludes = entry.find("excludes")) {
      const Members unwanted{*excludes, entry.at("excludes"), kNames};
      for (const std::string& name : unwanted.texts("caps")) {
        if (hasCapability(name, unwanted.at("caps"))) return false;
      }
      const std::vector<std::string> arches = unwanted.texts("arches");
      if (std::any_of(arches.begin(), arches.end(), isHere)) return false;
      const std::string kernel = unwanted.text("minKernel");
      if (!kernel.empty() && isKernelAtLeast(kernel, unwanted.at("minKernel"))) return false;
    }
    return true;
  }

  static scmp_arg_cmp comparison(const Json& value, const std::string& place) {
    const Members members{value, place, {"index", "value", "valueTwo", "op"}};
    const std::map<std::string, scmp_compare> kOperators = {
        {"SCMP_CMP_NE", SCMP_CMP_NE},
        {"SCMP_CMP_LT", SCMP_CMP_LT},
        {"SCMP_CMP_LE", SCMP_CMP_LE},
        {"SCMP_CMP_EQ", SCMP_CMP_EQ},
        {"SCMP_CMP_GE", SCMP_CMP_GE},
        {"SCMP_CMP_GT", SCMP_CMP_GT},
        {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
    const std::string word = members.text("op");
    const auto found = kOperators.find(word);
    if (found == kOperators.end())
      reject(members.at("op"), "unknown comparison {}", text::quote(word));
    const std::uint64_t index = members.number("index").value_or(0);
    if (index > 5) reject(members.at("index"), "a system call has 6 arguments");
    return {static_cast<unsigned>(index), found->second, members.number("value").value_or(0),
            members.number("valueTwo").value_or(0)};
  }

  // libseccomp takes one test per argument and rule; several on one argument are alternatives, as
  // in runc.
  static std::vector<std::vector<scmp_arg_cmp>> alternatives(const Members& entry) {
    std::vector<scmp_arg_cmp> all;
    const std::vector<Json> args = entry.list("args");
    for (size_t i = 0; i < args.size(); ++i)
      all.push_back(comparison(args[i], fmt::format("{}/{}", entry.at("args"), i)));
    std::set<unsigned> indexes;
    for (const scmp_arg_cmp& one : all) indexes.insert(one.arg);
    if (indexes.size() == all.size()) return {all};
    std::vector<std::vector<scmp_arg_cmp>> single;
    for (const scmp_arg_cmp& one : all) single.push_back({one});
    return single;
  }

  void addEntry(const Json& value, const std::string& place) {
    const Members entry{value,
                        place,
                        {"name", "names", "action", "errnoRet", "errno", "args", "comment",
                         "includes", "excludes"}};
    std::vector<std::string> names = entry.texts("names");
    const std::string name = entry.text("name");
    if (!name.empty() && !names.empty())
      reject(entry.at("name"), "cannot be given together with names");
    if (!name.empty()) names.push_back(name);
    if (names.empty()) reject(entry.at("names"), "missing");
    const std::uint32_t action = actionOf(entry, "action", "errnoRet");
    const auto rules = alternatives(entry);
    if (!applies(entry)) return;
    for (const std::string& call : names) addCall(call, action, rules, entry.at("names"));
  }

  void addCall(const std::string& name, std::uint32_t action,
               const std::vector<std::vector<scmp_arg_cmp>>& rules, const std::string& place) {
    const int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) return;
    for (const std::uint32_t arch : arches_) {
      const int there = seccomp_syscall_resolve_name_arch(arch, name.c_str());
      if (there > newest_[arch]) newest_[arch] = there;
    }
    if (action == default_) return;  // libseccomp refuses a rule that says nothing
    for (const std::vector<scmp_arg_cmp>& tests : rules) {
      const int result = seccomp_rule_add_array(filter_.get(), action, number,
                                                static_cast<unsigned>(tests.size()), tests.data());
      if (result < 0 && result != -EEXIST)
        reject(place, "{}: {}", text::quote(name), ::strerrordesc_np(-result));
    }
  }

  std::vector<sock_filter> exported() {
    const Fd file{
        sys::check([] { return ::memfd_create("img-filter", MFD_CLOEXEC); }, "make a memory file")};
    check(seccomp_export_bpf(filter_.get(), file.get()), "compile the seccomp profile");
    sys::check([&] { return ::lseek(file.get(), 0, SEEK_SET); }, "rewind a memory file");
    const std::string bytes = readAll(file.get(), "the compiled seccomp profile");
    std::vector<sock_filter> program(bytes.size() / sizeof(sock_filter));
    std::memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
    return program;
  }

  // A profile cannot mean calls that did not exist when it was written. Refusing them with EPERM
  // breaks the fallbacks of newer libcs, so they do not exist (as runc does since 1.0.0-rc93).
  void hideNewerCalls(std::vector<sock_filter>& program) const {
    const bool refuses = default_ != SCMP_ACT_ALLOW && default_ != SCMP_ACT_LOG;
    if (!refuses) return;
    std::vector<sock_filter> head;
    for (const auto& [arch, newest] : newest_) {
      const auto last = static_cast<std::uint32_t>(newest);
      head.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
      head.push_back(BPF_JUMP(BPF_JMP | BPF_K | BPF_JEQ, arch, 0, 3));
      head.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
      head.push_back(BPF_JUMP(BPF_JMP | BPF_K | BPF_JGT, last, 0, 1));
      head.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
    }
    program.insert(program.begin(), head.begin(), head.end());
  }

  Members top_;
  std::uint64_t capabilities_;
  std::uint32_t default_ = 0;
  Filter filter_{nullptr, seccomp_release};
  std::set<std::uint32_t> arches_;
  std::map<std::uint32_t, int> newest_;  // by architecture, the highest number in the profile
};

}  // namespace

std::vector<sock_filter> compileSeccompProfile(std::string_view json, std::uint64_t capabilities) {
  const Json document = [&] {
    try {
      return parseJson(json, "the seccomp profile");
    } catch (const Error& error) {
      throw Error{Kind::usage, error.cause()};
    }
  }();
  std::vector<sock_filter> program = Compiler{document, capabilities}.compile();
  if (program.size() > BPF_MAXINSNS) {
    throw Error::make(Kind::usage, "the seccomp profile needs {} instructions of at most {}",
                      program.size(), BPF_MAXINSNS);
  }
  return program;
}

}  // namespace img::runtime
