// What the texts of remote sources say (dockerfile.md 3.10): which kind a source of ADD or a
// context is, the parts of a git source, the file name of a URL. Values only; nothing is contacted.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace img::builder {

enum class SourceKind { local, http, git };
// A source of ADD.
SourceKind classifySource(std::string_view source);
// CONTEXT of a build or the value of --build-context: also `github.com/x/y`.
SourceKind classifyContext(std::string_view context);

// URL#REF:SUBDIR, or the same as query parameters.
struct GitUrl {
  std::string remote;  // what git gets
  std::string origin;  // scheme://host[:port], empty for ssh in scp form
  std::string host;
  enum class RefKind { any, branch, tag };
  std::string ref;  // empty: HEAD
  RefKind refKind = RefKind::any;
  std::string commit;  // a hash or the begin of one; empty: any
  std::string subdir;  // relative, without `.` and `..`; empty: all
  std::optional<bool> keepGitDir, submodules;
  bool hasCommitTimes = false;  // mtime=commit
  bool fetchByCommit = false;
};
// Throws Kind::failed.
GitUrl parseGitUrl(std::string_view text);

// A commit hash or the begin of one, as --checksum and `commit` take it.
bool isCommitPrefix(std::string_view text);
bool isCommitHash(std::string_view text);

// The name a downloaded file gets: the last element of the URL's path, or `__unnamed__`
// (security.md B2). Throws Kind::failed for a name that is none.
std::string fileNameOfUrl(std::string_view url);
// The host, with the port if the URL has one.
std::string hostOfUrl(std::string_view url);
// For messages and files that stay: without user and password.
std::string withoutCredentials(std::string_view url);

}  // namespace img::builder
