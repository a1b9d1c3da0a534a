#include "cli/security_options.h"

#include <fcntl.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/text.h"
#include "runtime/apparmor.h"
#include "runtime/seccomp_profile.h"
#include "runtime/security.h"

namespace img::cli {
namespace {

constexpr Confinement kRows[] = {
    {"standard", runtime::kDefaultCapabilities, false, std::nullopt, false},
    {"strict", runtime::kDefaultCapabilities, true, 4096, false},
    {"docker", runtime::kDockerCapabilities, false, std::nullopt, true},
};

constexpr size_t kMaxProfile = size_t{4} << 20;

struct Pair {
  std::string key, value;
  bool hasValue = false;
};

// KEY, KEY=VALUE or docker's old KEY:VALUE.
Pair splitOption(const std::string& option) {
  const size_t at = option.find_first_of("=:");
  if (at == std::string::npos) return {option, "", false};
  return {option.substr(0, at), option.substr(at + 1), true};
}

[[noreturn]] void rejectValue(const Pair& pair, std::string_view allowed) {
  throw Error::make(Kind::usage, "--security-opt {}: {} is not a value", pair.key,
                    text::quote(pair.value))
      .hint(fmt::format("write {}={}", pair.key, allowed));
}

bool parseSwitch(const Pair& pair) {
  if (!pair.hasValue || pair.value == "true") return true;
  if (pair.value != "false") rejectValue(pair, "true|false");
  return false;
}

// "/a:/b", and ALL where it is allowed.
void addPaths(const Pair& pair, bool mayBeAll, std::vector<std::string>& paths) {
  for (const std::string& path : text::split(pair.value, ':')) {
    if (mayBeAll && text::upper(path) == "ALL") {
      paths.emplace_back("ALL");
      continue;
    }
    if (!path.starts_with('/')) {
      throw Error::make(Kind::usage, "--security-opt {}: {} is not an absolute path", pair.key,
                        text::quote(path))
          .hint(fmt::format("write {}=/path[:/path]{}", pair.key, mayBeAll ? " or ALL" : ""));
    }
    paths.push_back(path);
  }
}

// True when it was one of the options about what the process may call.
bool takeFilterOption(const Pair& pair, SecurityOptions& found) {
  if (pair.key == "seccomp") {
    if (pair.value.empty()) rejectValue(pair, "FILE|unconfined");
    found.isSeccompOff = pair.value == "unconfined";
    // "default" is podman's and docker's word for the built-in filter.
    const bool isBuiltIn = pair.value == "default" || pair.value == "builtin";
    found.seccompProfile = found.isSeccompOff || isBuiltIn ? "" : pair.value;
  } else if (pair.key == "abi32") {
    if (pair.value != "on" && pair.value != "off") rejectValue(pair, "on|off");
    found.only64Bit = pair.value == "off";
  } else if (pair.key == "no-new-privileges") {
    found.noNewPrivs = parseSwitch(pair);
  } else {
    return false;
  }
  return true;
}

void takeOption(const std::string& option, SecurityOptions& found) {
  const Pair pair = splitOption(option);
  if (takeFilterOption(pair, found)) return;
  if (pair.key == "mask") {
    addPaths(pair, false, found.maskedPaths);
  } else if (pair.key == "unmask") {
    addPaths(pair, true, found.unmaskedPaths);
  } else if (pair.key == "systempaths") {
    if (pair.value != "unconfined") rejectValue(pair, "unconfined");
    found.unmaskedPaths.emplace_back("ALL");
  } else if (pair.key == "confinement") {
    found.confinement = findConfinement(pair.value);
    if (found.confinement == nullptr) rejectValue(pair, "strict|docker|standard");
  } else if (pair.key == "apparmor") {
    if (pair.value.empty()) rejectValue(pair, "PROFILE|unconfined");
    found.appArmor = pair.value;
  } else if (pair.key != "label") {  // SELinux labels are accepted and have no effect (cli.md 10)
    Error error =
        Error::make(Kind::usage, "--security-opt: unknown option {}", text::quote(option));
    const std::vector<std::string> known = {"seccomp",     "no-new-privileges", "mask",
                                            "unmask",      "systempaths",       "abi32",
                                            "confinement", "apparmor",          "label"};
    if (const auto near = text::suggest(pair.key, known)) error.hint("did you mean " + *near + "?");
    throw error;
  }
}

// The text of a profile begins with a brace, and the name of a file does not.
bool isProfileText(const std::string& value) {
  return text::trim(value).starts_with('{');
}

std::string readProfile(const std::string& value) {
  if (isProfileText(value)) return value;
  try {
    return fs::readFile(AT_FDCWD, value, kMaxProfile);
  } catch (Error& error) {
    throw error.prefixCause("--security-opt seccomp: ").exitCode(125);
  }
}

}  // namespace

const Confinement* findConfinement(std::string_view name) {
  const auto* found = std::find_if(std::begin(kRows), std::end(kRows),
                                   [&](const Confinement& row) { return row.name == name; });
  return found == std::end(kRows) ? nullptr : found;
}

SecurityOptions parseSecurityOptions(const std::vector<std::string>& options) {
  SecurityOptions found;
  for (const std::string& option : options) takeOption(option, found);
  return found;
}

void SecurityOptions::applyTo(runtime::Spec& spec) const {
  spec.noNewPrivs = noNewPrivs.value_or(confinement->noNewPrivs);
  spec.maskedPaths = maskedPaths;
  spec.unmaskedPaths = unmaskedPaths;
  spec.only64Bit = only64Bit;
  if (isSeccompOff || spec.privileged) {
    spec.seccomp = runtime::Seccomp::unconfined;
  } else if (!seccompProfile.empty()) {
    spec.seccomp = runtime::Seccomp::profile;
    spec.seccompFilter =
        runtime::compileSeccompProfile(readProfile(seccompProfile), spec.capabilities);
  }
  if (appArmor != "unconfined" && !spec.privileged) spec.appArmor = appArmor;
}

std::vector<std::string> recordedSecurityOptions(const std::vector<std::string>& options,
                                                 std::uint64_t capabilities) {
  const SecurityOptions found = parseSecurityOptions(options);
  if (!found.appArmor.empty() && found.appArmor != "unconfined") {
    runtime::checkAppArmor(found.appArmor);
  }
  std::vector<std::string> recorded;
  for (const std::string& option : options) {
    const Pair pair = splitOption(option);
    if (pair.key != "seccomp" || found.seccompProfile.empty() ||
        pair.value != found.seccompProfile) {
      recorded.push_back(option);
      continue;
    }
    const std::string profile = readProfile(pair.value);
    try {
      runtime::compileSeccompProfile(profile, capabilities);
    } catch (Error& error) {
      if (!isProfileText(pair.value)) error.prefixCause(text::escape(pair.value) + ": ");
      throw error.exitCode(125);
    }
    recorded.push_back("seccomp=" + dumpJson(parseJson(profile, "the seccomp profile")));
  }
  return recorded;
}

}  // namespace img::cli
