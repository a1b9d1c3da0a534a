// img-remote as a running process that we talk to: started with nothing but its configuration on
// stdin (a secret: it is in no file and no argument), the network's environment variables and one
// socket as descriptor 3. It dies with us.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/process.h"

namespace img::distribution {

class RemoteProcess {
 public:
  // For single-threaded processes. Kind::unsupported when the program is not there.
  RemoteProcess(const std::vector<std::string>& words, const Json& configuration);

  [[nodiscard]] int socket() const { return socket_.get(); }
  // Why it is gone: its exit status and what it wrote to stderr. Waits for its end.
  Error ending();

 private:
  Fd socket_;
  Fd stderr_;  // a memfd: read when it has ended
  Child child_;
};

}  // namespace img::distribution
