// RUN --mount=type=ssh: a socket of our own in front of an SSH agent, so that owner and mode are
// the step's and the agent sees us as its client. Requests that only use keys pass; adding,
// removing or locking keys is answered with a failure (the agent is the user's). The protocol is
// draft-miller-ssh-agent: a length, a type, a body, and one answer per request.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/fs.h"
#include "base/process.h"

namespace img::builder {

// Serves connections to `socket` until it dies.
class AgentRelay {
 public:
  // Binds `name` in `folder`; requests go to the agent at `agentSocket`.
  AgentRelay(int folder, const std::string& name, const std::string& agentSocket);

 private:
  Fd listener_;
  Child server_;
};

// An agent of our own (ssh-agent of OpenSSH) for keys given as files; ends with this object, and
// with our process.
class OwnAgent {
 public:
  explicit OwnAgent(const std::vector<std::string>& keyFiles);
  OwnAgent(const OwnAgent&) = delete;
  OwnAgent& operator=(const OwnAgent&) = delete;
  ~OwnAgent();
  [[nodiscard]] std::string socket() const { return folder_.path() + "/agent"; }

 private:
  void addKey(const std::string& path) const;
  void stop();

  fs::TempDir folder_;
  Pipe alive_;
  Child process_;
};

}  // namespace img::builder
