// What load and import read: a file, standard input, or what a URL holds.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "cli/command.h"

namespace img::cli {

struct InputFile {
  Fd fd;
  std::string name;         // for people; of a URL without its credentials
  std::uint64_t bytes = 0;  // left to read; 0: nobody knows
};

// `what` is in the message for a terminal: "an archive".
InputFile openStdin(std::string_view what);
InputFile openInput(const std::string& path);
// By img-remote, into the store's ingest/, without a name. Throws for every status but 200.
InputFile fetchInput(const store::Layout& layout, const std::string& url);

bool isUrl(const std::string& text);

}  // namespace img::cli
