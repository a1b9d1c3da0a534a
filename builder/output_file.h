// A file that a result is written to: it appears whole under its name or not at all. Until then it
// has no name, so that a build that is killed leaves nothing (open(2), O_TMPFILE).
#pragma once

#include <string>

#include "base/preallocation.h"
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

  Sink& sink() { return grown_; }
  void commit();

 private:
  // A new file grows in large pieces; what has been there is nothing to us.
  class Grown final : public Sink {
   public:
    Grown(FdSink& file, bool isNew) : file_(file), blocks_(file.fd().get()), isNew_(isNew) {}
    void write(std::span<const std::byte> bytes) override;
    void finish();

   private:
    FdSink& file_;
    Preallocation blocks_;
    bool isNew_;
    std::uint64_t size_ = 0;
  };

  Fd open(int stdoutFd);

  std::string dest_;
  std::string part_;         // the unfinished file, where it has to have a name
  bool isNameless_ = false;  // O_TMPFILE
  FdSink sink_;
  Grown grown_;
};

}  // namespace img::builder
