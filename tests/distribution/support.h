// A home of its own for tests that read configuration files and variables.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <string>

#include "base/fs.h"

namespace img::distribution {

// Sets the variables that decide about configuration and puts the old ones back.
class OwnHome {
 public:
  OwnHome() {
    for (const char* name :
         {"HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE",
          "DOCKER_AUTH_CONFIG", "CONTAINERS_REGISTRIES_CONF", "PATH"}) {
      const char* value = std::getenv(name);
      old_[name] = value == nullptr ? std::nullopt : std::optional<std::string>{value};
      if (std::string{name} != "PATH") ::unsetenv(name);
    }
    set("HOME", folder_.path());
    // The machine's own file must not decide.
    write("registries.conf", "");
    set("CONTAINERS_REGISTRIES_CONF", path("registries.conf"));
  }
  OwnHome(const OwnHome&) = delete;
  OwnHome& operator=(const OwnHome&) = delete;
  ~OwnHome() {
    for (const auto& [name, value] : old_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }
  void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }
  [[nodiscard]] std::string path(const std::string& name) const {
    return folder_.path() + "/" + name;
  }
  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) {
    if (const size_t slash = name.rfind('/'); slash != std::string::npos)
      static_cast<void>(fs::makeDirs(folder_.fd(), name.substr(0, slash)));
    fs::replaceFile(folder_.fd(), name, text, mode, fs::Sync::none);
    return path(name);
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    return fs::readFile(folder_.fd(), name);
  }
  // A docker-credential-NAME that keeps what it gets in the file NAME.store and notes each call.
  void addHelper(const std::string& name, const std::string& body) {
    write("bin/docker-credential-" + name, "#!/bin/sh\n" + body, 0755);
    if (!hasPath_) set("PATH", path("bin") + ":" + old_["PATH"].value_or("/usr/bin:/bin"));
    hasPath_ = true;
  }
  [[nodiscard]] int fd() const { return folder_.fd(); }

 private:
  fs::TempDir folder_;
  std::map<std::string, std::optional<std::string>> old_;
  bool hasPath_ = false;
};

}  // namespace img::distribution
