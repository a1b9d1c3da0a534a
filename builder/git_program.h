// The `git` program in a world of its own: see git_source.h.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/process.h"
#include "builder/http_source.h"
#include "builder/remote_url.h"

namespace img::builder {

class GitProgram {
 public:
  // `home`: an empty folder, for as long as this object.
  GitProgram(const GitUrl& url, const RemoteAccess& access, std::string home);

  // Whether git succeeded; its output is in out() and err().
  bool tryRun(const std::vector<std::string>& words);
  // Throws with what git said; `what` is the cause.
  std::string run(const std::vector<std::string>& words, const std::string& what);
  // The same between folders of ours.
  std::string runLocally(const std::vector<std::string>& words, const std::string& what);

  [[nodiscard]] const std::string& out() const { return output_.out; }
  [[nodiscard]] Error failure(const std::string& what) const;

 private:
  void addConfig(const std::string& key, const std::string& value);
  void addAuthorization(const GitUrl& url, const RemoteAccess& access);
  void addSsh(const RemoteAccess& access);
  [[nodiscard]] std::vector<std::string> environment(const std::string& protocols) const;
  void start(const std::vector<std::string>& words, const std::string& protocols);

  std::string home_, protocols_;
  std::vector<std::pair<std::string, std::string>> config_;
  std::vector<std::string> variables_;
  Output output_;
};

}  // namespace img::builder
