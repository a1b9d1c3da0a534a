// A registry in a folder: img-remote is replaced by fake_remote.py, which speaks its protocol.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "base/fs.h"
#include "base/json.h"
#include "base/sys.h"
#include "distribution/session.h"
#include "store/oci.h"

namespace img::distribution::test {

class FakeRegistry : public testing::Test {
 protected:
  FakeRegistry() {
    for (const char* folder : {"manifests", "blobs", "faults"})
      sys::mkdirat(dir_.fd(), folder, 0755);
    // The program gets no environment to speak of, so its folder is in a script.
    write("img-remote", "#!/bin/sh\nexec /usr/bin/python3 -ISE " IMG_SOURCE_DIR
                        "/tests/distribution/fake_remote.py " +
                            dir_.path() + " \"$@\"\n");
    sys::fchmodat(dir_.fd(), "img-remote", 0755);
    ::setenv("IMG_REMOTE", (dir_.path() + "/img-remote").c_str(), 1);
  }
  ~FakeRegistry() override { ::unsetenv("IMG_REMOTE"); }

  void write(const std::string& path, const std::string& content) const {
    std::ofstream{dir_.path() + "/" + path} << content;
  }
  [[nodiscard]] std::string read(const std::string& path) const {
    std::ifstream in{dir_.path() + "/" + path};
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }

  // Puts a blob into the registry.
  store::Descriptor addBlob(const std::string& bytes, const std::string& type = {}) const {
    const Digest digest = Digest::of(bytes);
    write("blobs/" + digest.hex(), bytes);
    store::Descriptor descriptor;
    descriptor.mediaType = type;
    descriptor.digest = digest;
    descriptor.size = bytes.size();
    return descriptor;
  }
  // A document under its digest, and a tag if there is one.
  store::Descriptor addDocument(const std::string& bytes, const std::string& type,
                                const std::string& tag = {}) const {
    const Digest digest = Digest::of(bytes);
    for (const std::string& name : {"sha256-" + digest.hex(), tag}) {
      if (name.empty()) continue;
      write("manifests/" + name, bytes);
      write("manifests/" + name + ".type", type);
    }
    store::Descriptor descriptor;
    descriptor.mediaType = type;
    descriptor.digest = digest;
    descriptor.size = bytes.size();
    return descriptor;
  }
  void setFault(const Digest& blob, const std::string& lines) const {
    write("faults/" + blob.hex(), lines + "\n");
  }

  // What was asked for so far, one request a line, without blanks at the ends.
  [[nodiscard]] std::vector<std::string> requests() const {
    std::vector<std::string> lines;
    std::istringstream in{read("log")};
    for (std::string line; std::getline(in, line);) {
      line.erase(line.find_last_not_of(' ') + 1);
      lines.push_back(line);
    }
    return lines;
  }
  void forgetRequests() const { write("log", ""); }

  static store::Reference reference(const std::string& name = "localhost:1/app:v1") {
    return store::Reference::parse(name);
  }

  [[nodiscard]] const fs::TempDir& dir() const { return dir_; }

 private:
  fs::TempDir dir_;
};

}  // namespace img::distribution::test
