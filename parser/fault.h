// Errors that point at a place in a Dockerfile (cli.md 4, code "parse").
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace img::parser {

struct SourceText {
  std::string_view text;  // the whole file
  std::string_view name;  // as the user gave it
};

struct LineRange {
  int first = 1;
  int last = 1;
};

// The position of `token` on the first line of the range, if it is there; else of the line as a
// whole.
Position positionOf(const SourceText& source, LineRange lines, std::string_view token = {});

Error parseFault(const SourceText& source, LineRange lines, std::string message,
                 std::string_view token = {});

// The same without a place, for values whose origin only the caller knows.
Error badValue(std::string message);

// The hint of dockerfile.md 0.4: `did you mean "x"?`.
std::string didYouMean(std::string_view suggestion);

}  // namespace img::parser
