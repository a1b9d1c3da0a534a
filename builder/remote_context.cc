#include "builder/remote_context.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/git_source.h"
#include "builder/remote_url.h"
#include "builder/step_options.h"
#include "store/unpack.h"

namespace img::builder {
namespace {

constexpr size_t kBlock = 512;
constexpr std::uint64_t kNoLimit = std::uint64_t{64} << 30;  // as a layer, security.md L1

// POSIX pax(1), "ustar Interchange Format": the sum of the header's bytes, its own field counted as
// blanks. An archive of nothing begins with zeros.
bool isTar(std::string_view head) {
  if (head.size() < kBlock) return false;
  if (head.find_first_not_of('\0') == std::string_view::npos) return true;
  unsigned sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const bool isOwnField = i >= 148 && i < 156;
    sum += isOwnField ? unsigned{' '} : static_cast<unsigned char>(head[i]);
  }
  unsigned written = 0;
  for (const char c : text::trim(head.substr(148, 8))) {
    if (c < '0' || c > '7') break;
    written = written * 8 + static_cast<unsigned>(c - '0');
  }
  return sum == written;
}

// Fills `folder`; true when the stream was an archive.
bool unpackOrKeep(Source& stream, int folder, const std::string& name, std::uint64_t limit) {
  const std::unique_ptr<Source> plain = decompress(stream, name);
  PeekedSource peeked{*plain, kBlock};
  if (isTar(peeked.head())) {
    store::ArchiveOptions options;  // files of a context belong to nobody
    options.uid = ::geteuid();
    options.gid = ::getegid();
    options.isTree = true;
    store::unpackArchive(peeked, folder, "/", options, name);
    return true;
  }
  FdSink file{sys::openat(folder, kRemoteFile, O_WRONLY | O_CREAT | O_EXCL, 0600), name};
  LimitedSource limited{peeked, limit, name};
  copyAll(limited, file);
  return false;
}

std::int64_t newestFile(int dir) {
  std::int64_t newest = 0;
  for (const fs::Entry& entry : fs::list(dir)) {
    const struct stat st = sys::fstatat(dir, entry.name);
    if (S_ISREG(st.st_mode)) newest = std::max<std::int64_t>(newest, st.st_mtim.tv_sec);
    if (!S_ISDIR(st.st_mode)) continue;
    const Fd inner = sys::openat(dir, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    newest = std::max(newest, newestFile(inner.get()));
  }
  return newest;
}

std::string pathOf(const Fd& folder) {
  return sys::readlinkat(AT_FDCWD, sys::procPath(folder.get()));
}

Fd makeTree(const store::IngestDir& work) {
  sys::mkdirat(work.fd(), kGitTree, 0755);
  Fd folder = sys::openDirectory(work.fd(), kGitTree);
  sys::fchmod(folder.get(), 0755);  // whatever the umask
  return folder;
}

// Q26: said, because with a folder it would apply.
void noteIgnoreFile(const std::string& path, const std::string& name) {
  const Fd folder = sys::openDirectory(AT_FDCWD, path);
  if (!sys::tryFstatat(folder.get(), ".dockerignore")) return;
  log::info("the .dockerignore of {} is not applied: it is no local folder", name);
}

// In a worker. The answer for the parent, as JSON.
std::string fetchUrl(const RemotePlace& place, const std::string& url, const RemoteAccess& access) {
  ::umask(022);
  const HttpFile file = fetchHttp(place, url, access);
  FdSource body{openHttpFile(place, url, access, file), withoutCredentials(url)};
  const Fd tree = makeTree(place.work);
  const bool isArchive = unpackOrKeep(body, tree.get(), withoutCredentials(url), kNoLimit);
  const std::int64_t time =
      file.modified > 0 ? file.modified : (isArchive ? newestFile(tree.get()) : 0);
  return dumpJson(Json{{"file", !isArchive}, {"time", time}, {"path", pathOf(tree)}});
}

std::string fetchGit(const RemotePlace& place, const std::string& url, const RemoteAccess& access,
                     bool keepGitDir) {
  const GitUrl git = parseGitUrl(url);
  GitCheckout checkout;
  checkout.commit = resolveGit(place, git, access);
  checkout.keepGitDir = git.keepGitDir.value_or(keepGitDir);
  checkout.submodules = git.submodules.value_or(true);
  const std::int64_t time = checkOutGit(place, git, access, checkout);
  const Fd tree = sys::openDirectory(place.work.fd(), kGitTree);
  const auto folder =
      sys::tryOpenInRoot(tree.get(), git.subdir.empty() ? "." : git.subdir, O_RDONLY | O_DIRECTORY);
  if (!folder) {
    throw Error::make(Kind::notFound, "{}: there is no folder {} in commit {}",
                      text::quote(withoutCredentials(git.remote)), text::quote(git.subdir),
                      checkout.commit);
  }
  return dumpJson(Json{{"file", false}, {"time", time}, {"path", pathOf(*folder)}});
}

std::string finish(Child child, const std::function<void()>& pulse) {
  constexpr int kPulseMs = 100;
  pollfd ended{child.pidfd(), POLLIN, 0};
  while (pulse && ::poll(&ended, 1, kPulseMs) <= 0) pulse();
  return child.finish();
}

}  // namespace

RemoteAccess remoteAccess(const StepOptions& options) {
  RemoteAccess access;
  access.findSecret = [&options](const std::string& id) -> const std::string* {
    for (const Secret& secret : options.secrets) {
      if (secret.id == id) return &secret.content;
    }
    return nullptr;
  };
  for (const SshAgentSource& agent : options.agents) {
    if (agent.id != "default") continue;
    access.agentSocket = agent.socket;
    access.keyFiles = agent.keyFiles;
  }
  return access;
}

RemoteTree openStream(const store::Layout& layout, Source& stream, const std::string& name,
                      std::uint64_t limit) {
  RemoteTree tree{store::IngestDir{layout}, {}, false, {}};
  const Fd folder = makeTree(tree.work);
  tree.isFile = !unpackOrKeep(stream, folder.get(), name, limit);
  tree.path = pathOf(folder);
  if (!tree.isFile) noteIgnoreFile(tree.path, name);
  return tree;
}

RemoteTree openRemote(const store::Layout& layout, const std::string& url,
                      const RemoteAccess& access, const RemoteOptions& options) {
  RemoteTree tree{store::IngestDir{layout}, {}, false, {}};
  const bool isGit = classifyContext(url) == SourceKind::git;
  const RemotePlace place{layout, tree.work};
  const std::string answer = finish(Child::fork([&] {
                                      return isGit
                                                 ? fetchGit(place, url, access, options.keepGitDir)
                                                 : fetchUrl(place, url, access);
                                    }),
                                    options.pulse);
  const Json json = parseJson(answer, "the answer of a worker");
  tree.path = json.at("path").get<std::string>();
  tree.isFile = json.at("file").get<bool>();
  tree.time = json.at("time").get<std::int64_t>();
  noteIgnoreFile(tree.path, withoutCredentials(url));
  return tree;
}

}  // namespace img::builder
