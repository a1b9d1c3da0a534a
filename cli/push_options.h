// What push and the outputs of a build have in common: the form of what is pushed, and what is
// shown meanwhile.
#pragma once

#include <memory>
#include <string>

#include "cli/command.h"
#include "distribution/push.h"

namespace img::cli {

// gzip, zstd or none, with ":LEVEL" where wanted. Throws Kind::usage.
void parseCompression(const std::string& text, distribution::PushForm& form);

// A line on stderr for each blob; nothing but notices when quiet.
std::unique_ptr<distribution::PushProgress> makePushDisplay(Context& context, bool isQuiet);

}  // namespace img::cli
