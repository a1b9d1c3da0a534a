// The files of a result into a folder of the user (-o type=local): merged with what is there, files
// replaced, never through a symbolic link: every step below the folder is one *at call on a single
// name (security.md 6). Owner is the caller; modes, times, hard links and holes are kept. Files are
// read from the layers and not through a union, so that the kernel can copy or share their blocks.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "store/change_folder.h"

namespace img::builder {

struct TreeExportOptions {
  std::optional<std::int64_t> epoch = {};  // every time becomes this (dockerfile.md 7.6)
  bool deletesOthers = false;              // what the result does not have is removed
  bool refusesConflicts = false;           // several trees into one folder: no file twice
};

class TreeExporter {
 public:
  // `folder` is open for reading; `shown` is its name in messages.
  TreeExporter(int folder, std::string shown, const TreeExportOptions& options);

  // The union of `layers`, topmost first, into the folder or into `subfolder` of it (one name).
  void add(const std::vector<int>& layers, const std::string& subfolder = {});
  // Removes all but these from the folder itself.
  void keepOnly(const std::set<std::string>& names);
  // Devices that were left out: a node in a folder of the user opens the device of the host.
  [[nodiscard]] const std::vector<std::string>& skippedDevices() const { return skipped_; }

 private:
  using Item = store::ChangeFolder::Item;
  void folder(const store::ChangeFolder& from, int to, int depth);
  void entry(const store::ChangeFolder& from, const Item& item, int to, int depth);
  void subfolder(const store::ChangeFolder& from, const Item& item, int to, int depth);
  void file(int from, const std::string& name, int to);
  void fill(Fd target, int source, const struct stat& st) const;
  void other(int from, const struct stat& st, const std::string& name, int to);
  Fd makeFolder(int to, const std::string& name);
  // `make` creates the entry under the name it is given.
  template <class Make>
  void replace(int to, const std::string& name, Make&& make);
  void removeOthers(int to, const std::set<std::string>& wanted);
  [[nodiscard]] timespec timeOf(const struct stat& st) const;
  void finishFile(int fd, const struct stat& st, int source) const;
  void claim();
  [[nodiscard]] std::string shownPath() const;

  int folder_;
  std::string shown_;
  TreeExportOptions options_;
  std::string path_;  // below the folder, of the entry under way
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  // first path of files with several names
  std::set<std::string> claimed_;                         // files written so far
  std::vector<std::string> skipped_;
};

}  // namespace img::builder
