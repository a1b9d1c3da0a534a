// Runs one command line in this process, with its output captured.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace img::cli {

struct CommandResult {
  int status = 0;
  std::string out, err;
};

// `words` follow "img"; all commands of the program are there.
CommandResult runImg(const std::vector<std::string>& words);
// `argv` whole, with a table of the test's own.
CommandResult runWith(const CommandTable& table, const std::vector<std::string>& argv);

// Sets or removes an environment variable for the life of the object.
class ScopedVariable {
 public:
  ScopedVariable(const std::string& name, const char* value);
  ~ScopedVariable();
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  std::string name_;
  std::string old_;
  bool wasSet_;
};

}  // namespace img::cli
