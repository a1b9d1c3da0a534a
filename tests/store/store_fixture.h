// Shared by the tests of the store: a store in a temporary folder, small images, and tars made by
// hand.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/fs.h"
#include "base/stream.h"
#include "base/sys.h"
#include "store/blobs.h"
#include "store/images.h"
#include "store/layout.h"
#include "store/oci.h"
#include "store/tar.h"

namespace img::store::test {

inline bool isRoot() {
  return ::geteuid() == 0;
}

// The Error that `work` throws; fails the test when it throws none.
template <class Work>
Error errorOf(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error{Kind::internal, "nothing was thrown"};
}

struct TarFile {
  std::string path;
  std::string content;
  TarEntry::Type type = TarEntry::Type::file;
  std::string target = {};
  std::uint32_t mode = 0644;
};

inline std::string makeTar(const std::vector<TarFile>& files) {
  StringSink sink;
  {
    TarWriter writer{sink};
    for (const TarFile& file : files) {
      TarEntry entry;
      entry.path = file.path;
      entry.type = file.type;
      entry.mode = file.type == TarEntry::Type::directory ? 0755 : file.mode;
      entry.linkTarget = file.target;
      if (file.type == TarEntry::Type::file) entry.size = file.content.size();
      writer.add(entry);
      if (!file.content.empty()) writer.data(asBytes(file.content));
    }
    writer.finish();
  }
  return sink.text;
}

// fsync is most of the time of a test that makes many objects.
struct WithoutFsync {
  WithoutFsync() { ::setenv("IMG_DURABILITY", "fast", 1); }
  WithoutFsync(const WithoutFsync&) = delete;
  WithoutFsync& operator=(const WithoutFsync&) = delete;
  ~WithoutFsync() { ::unsetenv("IMG_DURABILITY"); }
};

class StoreTest : public testing::Test {
 protected:
  StoreTest() : layout(Layout::open(folder.path() + "/store")) {}

  // An image of one layer with one file, published under the names.
  Image makeImage(const std::string& content, const std::vector<std::string>& names) {
    const Descriptor layer = putBlob(layout, makeTar({{"file", content}}), media::kLayer);
    ImageConfig config;
    config.platform = Platform::host();
    config.diffIds = {layer.digest};
    config.history = {{"2026-01-01T00:00:00Z", "COPY file /", "", "", false}};
    Image image = writeImage(layout, config, {layer});
    Images{layout}.publish(image.manifestDescriptor, names);
    return image;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const ImageRow& row : Images{layout}.list()) all.push_back(row.name.value_or("<none>"));
    return all;
  }

  // A container record as far as the image commands look at it.
  void makeContainer(const std::string& id, const Image& image) {
    std::string diffIds;
    for (const Digest& diffId : image.config.diffIds) diffIds += "\"" + diffId.str() + "\"";
    const Fd dir = fs::makeDirs(layout.fd(), "containers/" + id);
    fs::replaceFile(dir.get(), "config.json",
                    R"({"imageId":")" + image.id.str() + R"(","diffIds":[)" + diffIds + "]}", 0600,
                    fs::Sync::none);
  }

  size_t countIn(const char* name) const {
    return fs::list(sys::openDirectory(layout.fd(), name).get()).size();
  }

  WithoutFsync fast;
  fs::TempDir folder;
  Layout layout;
};

}  // namespace img::store::test
