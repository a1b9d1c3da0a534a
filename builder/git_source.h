// A tree of a git repository (dockerfile.md 3.10 "Git"), by the `git` program. Repositories are
// mirrored, as shallow as their server allows, under cache/git. Blocking: for workers. Safe for
// concurrent builds.
//
// git is started as if nobody owned it (security.md B2): no configuration but ours, no hooks, an
// empty home, no terminal, the protocols https, ssh, git, and http when the user wrote http.
// Nothing from outside is ever an option; credentials go through the environment, to one host, and
// then no redirect is followed.
#pragma once

#include <cstdint>
#include <string>

#include "builder/http_source.h"
#include "builder/remote_url.h"
#include "store/layout.h"

namespace img::builder {

// The commit that `url` names now, its whole hash. Throws Kind::failed "{url}: expected {a}, got
// {b}" when the URL says which one it must be.
std::string resolveGit(const RemotePlace& place, const GitUrl& url, const RemoteAccess& access);

struct GitCheckout {
  bool keepGitDir = false, submodules = true;
  std::string commit;  // from resolveGit
};
// Fills `place.work`/tree: files 0644 or 0755, folders 0755. Returns the time of the commit.
std::int64_t checkOutGit(const RemotePlace& place, const GitUrl& url, const RemoteAccess& access,
                         const GitCheckout& checkout);
inline constexpr char kGitTree[] = "tree";

}  // namespace img::builder
