#include "builder/wasted.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/whiteout.h"

namespace img::builder {
namespace {

constexpr std::uint64_t kLeastBytes = 1'000'000;
constexpr std::uint64_t kLeastPercent = 1;
constexpr int kMaxDepth = 200;  // a descriptor per level stays open

// The same folder in an earlier layer.
struct Below {
  size_t layer;
  int folder;
  Fd own = {};  // `folder`, unless it is the layer's
};

Below openBelow(size_t layer, int folder, const std::string& name) {
  Fd own = sys::openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const int fd = own.get();
  return {layer, fd, std::move(own)};
}

class Search {
 public:
  explicit Search(const std::vector<WasteLayer>& layers) : layers_(layers) {}

  // Compares layer `index` with those before it.
  void compare(size_t index) {
    index_ = index;
    std::vector<Below> below;
    for (size_t i = index; i-- > 0;) below.push_back({i, layers_[i].folder});
    const Fd top = sys::openDirectory(layers_[index].folder, ".");
    walk(top.get(), below, 0);
  }

  std::vector<Waste> take() {
    std::vector<Waste> list;
    for (const auto& [key, bytes] : found_) {
      const auto& [earlier, later, isDeletion] = key;
      list.push_back({bytes, layers_[earlier].step, layers_[later].step, isDeletion});
    }
    return list;
  }

 private:
  // `below`: nearest first; none of them is hidden by another.
  void walk(int folder, const std::vector<Below>& below, int depth) {
    if (below.empty() || depth > kMaxDepth) return;
    if (store::opaqueMark(folder) == store::OpaqueMark::opaque) {
      for (const Below& layer : below) addTree(layer, depth);
      return;
    }
    for (const fs::Entry& entry : fs::list(folder)) {
      const auto st = sys::tryFstatat(folder, entry.name);
      if (!st) continue;
      if (S_ISDIR(st->st_mode)) {
        const Fd inner = sys::openat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        walk(inner.get(), foldersIn(below, entry.name, depth), depth + 1);
      } else {
        hide(entry.name, *st, below, depth);
      }
    }
  }

  // The folders NAME of the earlier layers, as far down as one can see. A file in a folder's place
  // hides what is below it.
  std::vector<Below> foldersIn(const std::vector<Below>& below, const std::string& name,
                               int depth) {
    std::vector<Below> inner;
    for (const Below& layer : below) {
      const auto st = sys::tryFstatat(layer.folder, name);
      if (!st) continue;
      if (!S_ISDIR(st->st_mode)) {
        add(layer.layer, *st, true);
        break;
      }
      inner.push_back(openBelow(layer.layer, layer.folder, name));
      if (depth < kMaxDepth && store::opaqueMark(inner.back().folder) == store::OpaqueMark::opaque)
        break;
    }
    return inner;
  }

  // A file or whiteout NAME stands over whatever the earlier layers have there.
  void hide(const std::string& name, const struct stat& upper, const std::vector<Below>& below,
            int depth) {
    const bool isDeletion = store::isWhiteoutDevice(upper);
    for (const Below& layer : below) {
      const auto st = sys::tryFstatat(layer.folder, name);
      if (!st) continue;
      if (S_ISDIR(st->st_mode)) {
        addTree(openBelow(layer.layer, layer.folder, name), depth);
        continue;  // an earlier folder may be merged with still earlier ones
      }
      const bool isCopiedUpOnly = !isDeletion && isUnchanged(upper, *st);
      if (!isCopiedUpOnly) add(layer.layer, *st, isDeletion);
      return;  // what is below that one was hidden before
    }
  }

  // Copied up and left as it was: the seal leaves it out of the layer.
  static bool isUnchanged(const struct stat& a, const struct stat& b) {
    return a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid &&
           a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
           a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
  }

  void add(size_t layer, const struct stat& st, bool isDeletion) {
    if (!S_ISREG(st.st_mode) || st.st_size <= 0) return;
    found_[{layer, index_, isDeletion}] += static_cast<std::uint64_t>(st.st_size);
  }

  void addTree(const Below& layer, int depth) {
    if (depth > kMaxDepth) return;
    for (const fs::Entry& entry : fs::list(layer.folder)) {
      const auto st = sys::tryFstatat(layer.folder, entry.name);
      if (!st) continue;
      if (S_ISDIR(st->st_mode)) {
        addTree(openBelow(layer.layer, layer.folder, entry.name), depth + 1);
      } else {
        add(layer.layer, *st, true);
      }
    }
  }

  const std::vector<WasteLayer>& layers_;
  size_t index_ = 0;
  std::map<std::tuple<size_t, size_t, bool>, std::uint64_t> found_;
};

// The first words of the instruction without its name: "chown -R".
std::string shortCommand(const StepLabel& step) {
  const size_t blank = step.text.find(' ');
  if (blank == std::string::npos) return step.text;
  if (!step.text.starts_with("RUN ")) return step.text.substr(0, blank);
  std::vector<std::string> words;
  for (const std::string& word : text::split(step.text.substr(blank + 1), ' ')) {
    if (word.empty() || word.starts_with("--mount") || word.starts_with("--network")) continue;
    words.push_back(text::escape(word, 40));
    if (words.size() == 2) break;
  }
  return text::join(words, " ");
}

bool isFrom(const StepLabel& step, std::string_view keyword) {
  return text::upper(step.text).starts_with(keyword);
}

std::string cure(const Waste& waste) {
  const bool wasCopied = isFrom(waste.earlier, "COPY ") || isFrom(waste.earlier, "ADD ");
  if (waste.isDeletion) {
    return wasCopied ? "do not copy what is deleted" : "delete it in the step that makes it";
  }
  if (wasCopied && waste.later.text.find("chown") != std::string::npos) return "use COPY --chown";
  if (wasCopied && waste.later.text.find("chmod") != std::string::npos) return "use COPY --chmod";
  return "do both in one step";
}

}  // namespace

std::vector<Waste> findWaste(const std::vector<WasteLayer>& layers, std::uint64_t imageBytes) {
  Search search{layers};
  for (size_t i = 1; i < layers.size(); ++i) search.compare(i);
  std::vector<Waste> list = search.take();
  std::uint64_t sum = 0;
  for (const Waste& waste : list) sum += waste.bytes;
  if (sum <= kLeastBytes || sum <= imageBytes * kLeastPercent / 100) return {};
  std::stable_sort(list.begin(), list.end(),
                   [](const Waste& a, const Waste& b) { return a.bytes > b.bytes; });
  return list;
}

std::string wasteText(const Waste& waste) {
  return fmt::format("{}:{} {} {} files of {}:{}; {}", waste.later.fileName, waste.later.line,
                     shortCommand(waste.later), waste.isDeletion ? "deletes" : "copies",
                     waste.earlier.fileName, waste.earlier.line, cure(waste));
}

}  // namespace img::builder
