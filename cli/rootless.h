// How this program comes by the rights it needs: root has them; for anybody else the process enters
// the user's own namespace when it opens the store, and is root there (runtime/user_namespace.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/user_namespace.h"

namespace img::cli {

class Context;

enum class Isolation {
  automatic,  // the first of the others that works
  root,       // nothing is entered: the rights are there
  userns,     // a user namespace with the caller's subordinate ids
  userns1,    // a user namespace with one id; other owners are recorded instead of set
  chroot,     // nothing: neither namespaces nor mounts; steps of a build work on copied trees
};
// Values that other programs' --isolation has mean "auto" (cli.md, build). Throws Kind::usage.
Isolation parseIsolation(std::string_view option, std::string_view value);

// "root", "userns", "userns1" or "chroot": what this process works with now.
std::string isolationName();

// Once, early, by Context::store(). Nothing for a process with the rights. Throws code
// "userns-denied" with what forbids it.
void enterIsolation(Context& context, Isolation wanted);

// Before steps are run: how much weaker they are kept in without namespaces. Nothing otherwise.
void tellWithoutNamespaces(Context& context);

// Before a container is made. Throws where only builds work.
void requireNamespaces();

// For a process of ours that goes on after the command has ended: it keeps the namespace alive.
std::optional<runtime::Registration> stayInNamespace();

}  // namespace img::cli
