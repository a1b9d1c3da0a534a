// A remote source of ADD: a URL or a git repository (dockerfile.md 3.10, 6.2). Looked at before the
// cache is asked, because what it holds now is in the key; opened when the step is executed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "builder/copy_source.h"
#include "builder/git_source.h"
#include "builder/http_source.h"
#include "builder/remote_url.h"
#include "builder/stage.h"
#include "store/layout.h"

namespace img::builder {

class RemoteSource {
 public:
  struct Flags {
    std::string checksum;  // expanded; empty: not given
    bool keepGitDir = false;
  };
  // `text` is a source of kind http or git. Throws what is wrong with it or the flags.
  RemoteSource(const std::string& text, const Flags& flags);

  // In a worker: what is there now, as text for take().
  [[nodiscard]] std::string look(const RemotePlace& place, const RemoteAccess& access) const;
  void take(const std::string& seen);
  void addToKey(Hasher& hasher) const;
  [[nodiscard]] std::string shown() const;  // what was there, in few words

  // In a worker, once taken: a file, or the folder whose contents are meant, in `place.work`.
  [[nodiscard]] CopySource open(const RemotePlace& place, const RemoteAccess& access) const;
  [[nodiscard]] bool isGit() const { return git_.has_value(); }
  [[nodiscard]] std::int64_t time() const { return time_; }  // of the content, once taken

 private:
  void checkGit(const Flags& flags);
  [[nodiscard]] CopySource openGit(const RemotePlace& place, const RemoteAccess& access) const;

  std::string text_, name_;
  std::optional<Digest> expected_;  // http
  HttpFile file_;
  std::optional<GitUrl> git_;
  GitCheckout checkout_;
  std::int64_t time_ = 0;
};

// Of COPY and ADD, by index in `sources`, which are expanded, as is `checksum`. Throws what is
// wrong with them.
std::map<size_t, RemoteSource> remoteSourcesOf(const Scope& scope,
                                               const parser::Instruction& syntax,
                                               const parser::CopyInstruction& copy,
                                               const std::vector<std::string>& sources,
                                               const std::string& checksum);

}  // namespace img::builder
