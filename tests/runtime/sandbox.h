// What the runtime's tests share: a root file system with a static busybox, bound from a folder (no
// store needed), and a container run in it with its output captured.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/fs.h"
#include "runtime/launch.h"
#include "runtime/spec.h"

namespace img::runtime::test {

struct Result {
  int code = -1;
  std::string out;
  std::string err;
};

class Sandbox : public testing::Test {
 protected:
  void SetUp() override;

  // A spec that runs `argv` as root with the default capabilities.
  Spec spec(std::vector<std::string> argv) const;
  Spec shell(const std::string& script) const { return spec({"/bin/sh", "-c", script}); }
  // Runs it to the end.
  Result run(Spec& spec) const;
  Result run(const std::string& script) const;
  // The error that start() throws.
  Error failure(Spec& spec) const;

  // Files of the image.
  void write(const std::string& path, const std::string& content, mode_t mode = 0644) const;
  std::string path(const std::string& inside) const { return root_.path() + "/" + inside; }
  std::string read(const std::string& path) const;
  int root() const { return root_.fd(); }

 private:
  fs::TempDir root_;
};

// The line of `text` that begins with `key`, without it and blanks: "CapEff:" of /proc/self/status.
std::string field(const std::string& text, const std::string& key);

}  // namespace img::runtime::test
