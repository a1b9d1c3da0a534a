#include "builder/add_source.h"

#include "base/sys.h"
#include "base/text.h"

namespace img::builder {

RemoteSource::RemoteSource(const std::string& text, const Flags& flags) : text_(text) {
  if (classifyContext(text) == SourceKind::git) {
    git_ = parseGitUrl(text);
    checkGit(flags);
    return;
  }
  name_ = fileNameOfUrl(text);
  if (flags.checksum.empty()) return;
  expected_ = Digest::tryParse(text::lower(flags.checksum));
  if (!expected_) throw Error{Kind::failed, "--checksum must be sha256:<64 hex digits>"};
}

void RemoteSource::checkGit(const Flags& flags) {
  if (!flags.checksum.empty()) {
    if (!isCommitPrefix(flags.checksum))
      throw Error{Kind::failed, "--checksum must be a commit hash or the begin of one"};
    const std::string wanted = text::lower(flags.checksum);
    if (!wanted.starts_with(git_->commit) && !git_->commit.starts_with(wanted))
      throw Error{Kind::failed, "--checksum contradicts the commit of the URL"};
    // The URL means the default branch, unless it says the commit itself.
    if (git_->ref.empty() && git_->commit.empty()) git_->ref = "HEAD";
    if (wanted.size() > git_->commit.size()) git_->commit = wanted;
  }
  if (flags.keepGitDir && git_->keepGitDir == false)
    throw Error{Kind::failed, "--keep-git-dir contradicts keep-git-dir=false of the URL"};
  checkout_.keepGitDir = flags.keepGitDir || git_->keepGitDir.value_or(false);
  checkout_.submodules = git_->submodules.value_or(true);
}

std::string RemoteSource::look(const RemotePlace& place, const RemoteAccess& access) const {
  if (git_) return resolveGit(place, *git_, access);
  return toJson(fetchHttp(place, text_, access, expected_));
}

void RemoteSource::take(const std::string& seen) {
  if (git_) {
    checkout_.commit = seen;
  } else {
    file_ = parseHttpFile(seen);
    time_ = file_.modified;
  }
}

void RemoteSource::addToKey(Hasher& hasher) const {
  if (!git_) {
    hasher.field("http");
    hasher.field(name_);
    hasher.field(file_.digest.hex());
    return;
  }
  hasher.field("git");
  hasher.field(checkout_.commit);
  hasher.field(git_->subdir);
  hasher.field(
      fmt::format("{}{}{}", checkout_.keepGitDir, checkout_.submodules, git_->hasCommitTimes));
  // .git/config names where the commit came from.
  if (checkout_.keepGitDir) hasher.field(withoutCredentials(git_->remote));
}

std::string RemoteSource::shown() const {
  return git_ ? "commit " + checkout_.commit : file_.digest.str();
}

CopySource RemoteSource::open(const RemotePlace& place, const RemoteAccess& access) const {
  if (git_) return openGit(place, access);
  CopySource source;
  source.handle = openHttpFile(place, text_, access, file_);
  source.name = name_;
  return source;
}

CopySource RemoteSource::openGit(const RemotePlace& place, const RemoteAccess& access) const {
  checkOutGit(place, *git_, access, checkout_);
  const Fd tree = sys::openDirectory(place.work.fd(), kGitTree);
  // A link in the repository leads nowhere but into it (CVE-2026-33748).
  auto folder = sys::tryOpenInRoot(tree.get(), git_->subdir.empty() ? "." : git_->subdir,
                                   O_PATH | O_DIRECTORY);
  if (!folder) {
    throw Error::make(Kind::notFound, "{}: there is no folder {} in commit {}",
                      text::quote(withoutCredentials(git_->remote)), text::quote(git_->subdir),
                      checkout_.commit);
  }
  CopySource source;
  source.handle = std::move(*folder);
  return source;
}

std::map<size_t, RemoteSource> remoteSourcesOf(const Scope& scope,
                                               const parser::Instruction& syntax,
                                               const parser::CopyInstruction& copy,
                                               const std::vector<std::string>& sources,
                                               const std::string& checksum) {
  std::map<size_t, RemoteSource> remote;
  if (copy.from) return remote;
  const RemoteSource::Flags flags{checksum, copy.keepGitDir};
  for (size_t i = 0; i < sources.size(); ++i) {
    if (classifySource(sources[i]) == SourceKind::local) continue;
    if (!copy.isAdd) {
      throw instructionError(scope, syntax,
                             fmt::format("{} is a remote source; use ADD", text::quote(sources[i])),
                             copy.sources[i]);
    }
    try {
      remote.emplace(i, RemoteSource{sources[i], flags});
    } catch (Error& error) {
      const bool isFlag = error.cause().starts_with("--checksum");
      error.prefixCause(syntax.keyword + ": ");
      error.at(positionOf(*scope.file, syntax, isFlag ? "--checksum" : copy.sources[i]));
      throw;
    }
  }
  if (!checksum.empty() && (remote.size() != 1 || sources.size() != 1)) {
    throw instructionError(scope, syntax, "--checksum needs a single HTTP or git source",
                           "--checksum");
  }
  return remote;
}

}  // namespace img::builder
