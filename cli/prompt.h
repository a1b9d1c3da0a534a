// Questions to whoever sits at the terminal: the text goes to stderr, the answer comes from stdin.
#pragma once

#include <string>

#include "cli/command.h"

namespace img::cli {

enum class Echo { shown, hidden };
// Throws Kind::usage, with `hint`, when stdin is no terminal; "interrupted" on Ctrl-C, with the
// terminal as it was.
std::string promptFor(Context& context, const std::string& label, Echo echo,
                      const std::string& hint);

}  // namespace img::cli
