#include "builder/git_source.h"

#include <sys/stat.h>

#include <map>
#include <tuple>

#include "base/fs.h"
#include "base/lock.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/git_program.h"

namespace img::builder {
namespace {

constexpr char kFolder[] = "cache/git";

std::string shownUrl(const GitUrl& url) {
  return text::escape(withoutCredentials(url.remote), 500);
}

class Repository {
 public:
  Repository(const RemotePlace& place, const GitUrl& url, const RemoteAccess& access)
      : layout_(place.layout),
        work_(place.work),
        url_(url),
        shown_(shownUrl(url)),
        git_(url, access, makeHome(place)) {}

  std::string resolve() {
    std::string commit = find();
    if (!commit.starts_with(url_.commit)) {
      throw Error::make(Kind::failed, "{}: expected {}, got {}", shown_, url_.commit, commit)
          .code("digest-mismatch");
    }
    return commit;
  }

  std::int64_t checkOut(const GitCheckout& checkout) {
    folder_ = fs::makeDirs(layout_.fd(), kFolder, 0700);
    key_ = Digest::of(url_.remote).hex();
    const FileLock lock =
        FileLock::acquire(folder_.get(), key_ + ".lock", FileLock::Mode::exclusive);
    mirror_ = layout_.root() + "/" + kFolder + "/" + key_;
    tree_ = layout_.root() + "/" + work_.path() + "/" + kGitTree;
    const bool wasThere = hasCommit(checkout.commit);
    if (!wasThere) renew(checkout.commit);
    try {
      return fill(checkout);
    } catch (const Error&) {
      if (!wasThere) throw;
    }
    // A mirror that a crash has damaged is no reason to fail.
    fs::removeTree(folder_.get(), key_);
    fs::removeTree(work_.fd(), kGitTree);
    renew(checkout.commit);
    return fill(checkout);
  }

 private:
  // Full names of what `ref` may be, the first that exists wins (gitrevisions(7)).
  [[nodiscard]] std::vector<std::string> candidates() const {
    const std::string& ref = url_.ref;
    if (ref.empty() || ref == "HEAD") return {"HEAD"};
    if (url_.refKind == GitUrl::RefKind::tag) return {"refs/tags/" + ref};
    if (url_.refKind == GitUrl::RefKind::branch) return {"refs/heads/" + ref};
    if (ref.starts_with("refs/")) return {ref};
    return {"refs/" + ref, "refs/tags/" + ref, "refs/heads/" + ref};
  }

  std::string find() {
    const bool isFree = url_.refKind == GitUrl::RefKind::any;
    if (url_.fetchByCommit) return url_.commit;
    if (isFree && isCommitHash(url_.ref)) return text::lower(url_.ref);
    if (url_.ref.empty() && isCommitHash(url_.commit)) return url_.commit;
    const std::vector<std::string> names = candidates();
    std::vector<std::string> words{"ls-remote", "--quiet", "--", url_.remote};
    for (const std::string& name : names) {
      words.push_back(name);
      words.push_back(name + "^{}");  // what an annotated tag is about
    }
    const std::map<std::string, std::string> refs =
        parseRefs(git_.run(words, fmt::format("{}: git cannot read the repository", shown_)));
    for (const std::string& name : names) {
      for (const std::string& full : {name + "^{}", name}) {
        if (const auto found = refs.find(full); found != refs.end()) return found->second;
      }
    }
    throw noSuchRef();
  }

  static std::map<std::string, std::string> parseRefs(const std::string& list) {
    std::map<std::string, std::string> refs;
    for (const std::string& line : text::split(list, '\n')) {
      const size_t tab = line.find('\t');
      if (tab != std::string::npos && isCommitHash(line.substr(0, tab)))
        refs.emplace(line.substr(tab + 1), line.substr(0, tab));
    }
    return refs;
  }

  [[nodiscard]] Error noSuchRef() const {
    if (url_.ref.empty()) return Error::make(Kind::notFound, "{}: the repository is empty", shown_);
    Error error = Error::make(Kind::notFound, "{}: there is no branch or tag {}", shown_,
                              text::quote(url_.ref));
    if (isCommitPrefix(url_.ref)) error.hint("a commit needs its whole hash, 40 hex digits");
    return error;
  }

  bool hasCommit(const std::string& commit) {
    return git_.tryRun({"--git-dir=" + mirror_, "cat-file", "-e", commit + "^{commit}"});
  }

  // A git that was killed while it wrote has left locks and half packs, which would stop the next
  // one for ever: the mark says so.
  void renew(const std::string& commit) {
    const std::string mark = key_ + ".writing";
    if (sys::tryFstatat(folder_.get(), mark)) fs::removeTree(folder_.get(), key_);
    std::ignore = sys::openat(folder_.get(), mark, O_WRONLY | O_CREAT, 0600);
    try {
      fetch(commit);
    } catch (const Error&) {  // it came to an end of its own
      sys::tryUnlinkat(folder_.get(), mark, 0);
      throw;
    }
    sys::tryUnlinkat(folder_.get(), mark, 0);
  }

  // One commit without its history, if the server can do that (protocol version 2 can); else all
  // branches and tags.
  void fetch(const std::string& commit) {
    const std::string cause = fmt::format("{}: git cannot fetch the commit {}", shown_, commit);
    git_.run({"init", "--quiet", "--bare", "--template=", "--", mirror_},
             fmt::format("{}: git cannot make a mirror", shown_));
    std::vector<std::string> words{"--git-dir=" + mirror_,
                                   "fetch",
                                   "--quiet",
                                   "--no-tags",
                                   "--no-write-fetch-head",
                                   "--no-recurse-submodules",
                                   "--force",
                                   "--no-auto-maintenance"};
    std::vector<std::string> one = words;
    one.insert(one.end(), {"--depth=1", "--", url_.remote, commit + ":refs/img/" + commit});
    if (git_.tryRun(one)) return;
    const Error error = git_.failure(cause);
    if (!error.code().empty()) throw error;
    words.insert(words.end(), {"--", url_.remote, "+refs/heads/*:refs/img/heads/*",
                               "+refs/tags/*:refs/img/tags/*"});
    if (!git_.tryRun(words) || !hasCommit(commit)) throw error;
  }

  std::int64_t fill(const GitCheckout& checkout) {
    const std::string cause = fmt::format("{}: git cannot check out {}", shown_, checkout.commit);
    const std::vector<std::string> in{"-C", tree_};
    const auto run = [&](std::vector<std::string> words) {
      words.insert(words.begin(), in.begin(), in.end());
      return git_.run(words, cause);
    };
    git_.run({"init", "--quiet", "--template=", "--", tree_}, cause);
    git_.runLocally({"-C", tree_, "fetch", "--quiet", "--depth=1", "--no-tags",
                     "--no-write-fetch-head", "--", mirror_, checkout.commit},
                    cause);
    run({"update-ref", "--no-deref", "HEAD", checkout.commit});
    run({"config", "remote.origin.url", withoutCredentials(url_.remote)});
    run({"read-tree", "--reset", "-u", "HEAD"});
    const std::string time = run({"show", "-s", "--format=%ct", "HEAD"});
    if (checkout.submodules) updateSubmodules(cause);
    const auto seconds = text::parseUnsigned(text::trim(time));
    return seconds ? static_cast<std::int64_t>(*seconds) : 0;
  }

  void updateSubmodules(const std::string& cause) {
    const Fd tree = sys::openDirectory(AT_FDCWD, tree_);
    const auto modules = sys::tryFstatat(tree.get(), ".gitmodules");
    if (!modules || !S_ISREG(modules->st_mode)) return;
    std::vector<std::string> words{"-C",     tree_,         "submodule", "update",
                                   "--init", "--recursive", "--quiet",   "--depth=1"};
    if (git_.tryRun(words)) return;
    words.pop_back();  // a server that does not give a single commit
    git_.run(words, cause + " with its submodules");
  }

  static std::string makeHome(const RemotePlace& place) {
    std::ignore = sys::tryMkdirat(place.work.fd(), "home", 0700);
    return place.layout.root() + "/" + place.work.path() + "/home";
  }

  const store::Layout& layout_;
  const store::IngestDir& work_;
  const GitUrl& url_;
  std::string shown_;
  GitProgram git_;
  Fd folder_;  // of the mirrors
  std::string key_, mirror_, tree_;
};

// What git leaves beside the files, and the times of the files.
class Finish {
 public:
  Finish(bool keepGitDir, std::optional<std::int64_t> mtime)
      : keepGitDir_(keepGitDir), mtime_(mtime) {}

  void folder(int dir) const {
    for (const fs::Entry& entry : fs::list(dir)) {
      if (entry.name == ".git") {
        if (!keepGitDir_) fs::removeTree(dir, entry.name);
        continue;
      }
      const struct stat st = sys::fstatat(dir, entry.name);
      if (S_ISDIR(st.st_mode)) {
        folder(sys::openat(dir, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get());
      }
      if (!mtime_) continue;
      const timespec time{*mtime_, 0};
      sys::utimensat(dir, entry.name, time, time);
    }
  }

 private:
  bool keepGitDir_;
  std::optional<std::int64_t> mtime_;
};

}  // namespace

std::string resolveGit(const RemotePlace& place, const GitUrl& url, const RemoteAccess& access) {
  return Repository{place, url, access}.resolve();
}

std::int64_t checkOutGit(const RemotePlace& place, const GitUrl& url, const RemoteAccess& access,
                         const GitCheckout& checkout) {
  ::umask(022);  // the modes of what git writes
  Repository repository{place, url, access};
  const std::int64_t time = repository.checkOut(checkout);
  const Fd tree = sys::openDirectory(place.work.fd(), kGitTree);
  const bool isKept = checkout.keepGitDir;
  Finish{isKept, url.hasCommitTimes ? std::optional{time} : std::nullopt}.folder(tree.get());
  if (url.hasCommitTimes) sys::futimens(tree.get(), {time, 0}, {time, 0});
  return time;
}

}  // namespace img::builder
