// Errors and warnings as people read them (cli.md section 4): the sentence, the place with an
// excerpt, the last output, why, hints. Or as one JSON object on one line. Untrusted text is shown
// with every control byte escaped (security.md E2). Nothing here prints: Context and App do.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace img::cli {

struct ReportStyle {
  bool color = false;
  bool json = false;
  bool isWarning = false;
  bool chain = false;  // the steps under way, also when a position tells where (--log-level debug)
  std::string
      command;  // for "See 'img COMMAND --help'" after a usage error; "img" alone when empty
};

// Ends with a newline.
std::string renderReport(const Error& error, const ReportStyle& style);

// cli.md section 3: what the error says itself, else 125 for usage and 1 for the rest.
int exitStatusOf(const Error& error);

// For tables and messages: control bytes and bidi controls escaped, tabs as blanks; never
// shortened.
std::string printable(std::string_view untrusted);
// Unicode scalar values, or columns of an excerpt or a table.
size_t columnsOf(std::string_view utf8);

}  // namespace img::cli
