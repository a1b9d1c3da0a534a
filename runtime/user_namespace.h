// Entering a user namespace in place: the calling process, which has one thread, gets a user
// namespace in which it is root, and a mount namespace of its own. From then on the same code runs
// as for root (architecture.md 6).
//
// One user has one such namespace at a time: a process in a sibling namespace could neither signal
// processes with subordinate ids nor enter a container (user_namespaces(7), "Capabilities").
// Whoever is in it has a file PID.STARTTICKS in a folder, and who comes later joins the namespace
// of one that lives. It ends with its last process.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/error.h"
#include "base/lock.h"
#include "runtime/subordinate_ids.h"

namespace img::runtime {

// /proc/PID/ns/user of the machine itself (PROC_USER_INIT_INO, include/linux/proc_ns.h).
bool isInitialUserNamespace();
// What this process can do without a user namespace: CAP_SYS_ADMIN is in its effective set.
bool canAdminister();
// CAP_*, effective in this process.
bool hasCapability(unsigned number);
IdMap readIdMap(int dir, const std::string& path);  // no such file: no ids
IdMap currentUidMap();
IdMap currentGidMap();

// Which ids the new namespace has, and where they come from.
struct IdPlan {
  enum class Source {
    helpers,  // newuidmap and newgidmap, which check /etc/subuid and /etc/subgid
    direct,   // a root without CAP_SYS_ADMIN but with CAP_SETUID and CAP_SETGID: all ids it has
    single,   // nobody but the caller
  };
  Source source = Source::single;
  IdMap uids, gids;
  std::string newuidmap, newgidmap;  // absolute paths
  std::string why;                   // single: what is missing for more
};
// Looks at the files and programs; changes nothing. `wantsRanges` false: single.
IdPlan planIds(bool wantsRanges);

// A program that runs with more rights than its caller: set-user-id root or with file capabilities,
// on a file system that honours them. "" when there is none, with the reason in `why`.
std::string findPrivilegedProgram(const std::string& name, std::string& why);

// The processes in the user's namespace. The folder is nobody else's.
class NamespaceRegistry {
 public:
  // Makes the folder (0700) when absent. Throws Kind::denied when somebody else owns it.
  explicit NamespaceRegistry(std::string folder);
  // Held while somebody joins or makes the namespace, so that two do not make one each.
  [[nodiscard]] FileLock lock() const;
  // The namespace of a live process; entries of dead ones are removed.
  [[nodiscard]] std::optional<Fd> findLive(uid_t owner) const;
  [[nodiscard]] const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  Fd dir_;
};

// This process's entry, for as long as the object lives.
class [[nodiscard]] Registration {
 public:
  explicit Registration(const std::string& folder);
  Registration(Registration&& other) noexcept;
  Registration(const Registration&) = delete;
  Registration& operator=(Registration&&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration();

 private:
  Fd dir_;
  std::string name_;
  pid_t pid_;  // a forked child has a copy, which is not its own
};

// Makes a namespace with the ids of `plan` and enters it. What the helpers refuse is not had: the
// map has then one id only, and the reason comes back. Throws, code "userns-denied", when the
// kernel does not allow user namespaces.
std::string makeUserNamespace(const IdPlan& plan);
// Enters one, and makes the mount namespace.
void joinUserNamespace(int fd);

// What forbids user namespaces, and the cure. `root` is where /proc is, for tests.
Error explainDenied(int errnum, const std::string& root = "");

}  // namespace img::runtime
