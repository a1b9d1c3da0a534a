// A tree of files that is no folder of the host: a stream (tar in any known compression), what a
// URL holds, or a git repository, put into a private folder that vanishes with its owner
// (dockerfile.md 9 "CONTEXT", 5.4). No ignore file applies to it (Q26).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/stream.h"
#include "builder/http_source.h"
#include "store/layout.h"

namespace img::builder {

struct StepOptions;

// What --secret and --ssh open. Borrows the options.
RemoteAccess remoteAccess(const StepOptions& options);

struct RemoteTree {
  store::IngestDir work;
  std::string path;     // absolute, of the folder
  bool isFile = false;  // the URL or stream was no archive: the only file is kRemoteFile
  // Of the content: the commit, Last-Modified, else the newest file of the archive.
  std::optional<std::int64_t> time;
};
inline constexpr char kRemoteFile[] = "context";

// `name` for messages. What is no archive becomes the file kRemoteFile, at most `limit` bytes.
RemoteTree openStream(const store::Layout& layout, Source& stream, const std::string& name,
                      std::uint64_t limit);

// A URL or a git source (classifyContext). A worker process does the work; `pulse` is called while
// it is waited for, and may throw.
struct RemoteOptions {
  bool keepGitDir = false;
  std::function<void()> pulse;
};
RemoteTree openRemote(const store::Layout& layout, const std::string& url,
                      const RemoteAccess& access, const RemoteOptions& options);

}  // namespace img::builder
