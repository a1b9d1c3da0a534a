#include "network/programs.h"

#include <unistd.h>

#include "base/environment.h"
#include "base/text.h"

namespace img::network {

std::optional<std::string> findHostProgram(const std::string& name) {
  const std::string path = variableOrEmpty("PATH") + ":/usr/sbin:/sbin:/usr/bin:/bin";
  for (const std::string& folder : text::split(path, ':')) {
    if (!folder.starts_with('/')) continue;  // never from the working folder
    std::string candidate = folder + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return std::nullopt;
}

}  // namespace img::network
