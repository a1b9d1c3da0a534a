// A file that a result is written to: it appears whole under its name or not at all. Until then it
// has no name, so that a build that is killed leaves nothing (open(2), O_TMPFILE).
#pragma once

#include <string>

#include "base/stream.h"

namespace img::builder {

class OutputFile {
 public:
  // `dest` "-" is `stdoutFd`. What is there and is no regular file (a pipe, /dev/null) is written
  // to directly. Throws before a byte is written when the place cannot be used.
  OutputFile(const std::string& dest, int stdoutFd);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  Sink& sink() { return sink_; }
  void commit();

 private:
  Fd open(int stdoutFd);

  std::string dest_;
  std::string part_;         // the unfinished file, where it has to have a name
  bool isNameless_ = false;  // O_TMPFILE
  FdSink sink_;
};

}  // namespace img::builder
