#include "builder/work_trees.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/sys.h"
#include "builder/layer_step.h"
#include "store/tree_changes.h"
#include "store/union_copy.h"

namespace img::builder {
namespace {

constexpr size_t kMaxIdle = 4;  // a tree is as large as an image

std::vector<WorkTree::FolderId> idsOf(const std::vector<int>& folders) {
  std::vector<WorkTree::FolderId> ids;
  ids.reserve(folders.size());
  for (const int folder : folders) {
    const struct stat st = sys::fstat(folder);
    ids.emplace_back(st.st_dev, st.st_ino);
  }
  return ids;
}

Task<std::unique_ptr<WorkTree>> makeTree(Workshop& shop, const std::vector<int>& folders) {
  auto tree = std::make_unique<WorkTree>(shop.layout);
  tree->layers = idsOf(folders);
  const int root = tree->root.get();
  co_await runWorker(shop.events, [&folders, root] {
    store::copyUnion(folders, root);
    return std::string{};
  });
  co_return tree;
}

}  // namespace

WorkTree::WorkTree(const store::Layout& layout) : work(layout) {
  for (const char* name : {"tree", "aside"}) sys::mkdirat(work.fd(), name, 0755);
  root = sys::openDirectory(work.fd(), "tree");
}

std::unique_ptr<WorkTree> WorkTrees::findIdle(const std::vector<WorkTree::FolderId>& layers,
                                              bool isChanged) {
  const auto found = std::find_if(idle_.begin(), idle_.end(), [&](const auto& tree) {
    return tree->layers == layers && !(isChanged ? tree->isLookedAt : tree->isSeparated);
  });
  if (found == idle_.end()) return nullptr;
  std::unique_ptr<WorkTree> tree = std::move(*found);
  idle_.erase(found);
  return tree;
}

Task<std::unique_ptr<WorkTree>> WorkTrees::take(Workshop& shop, const Snapshot& below) {
  const std::vector<int> folders = openFolders(shop.layout, below);
  std::unique_ptr<WorkTree> tree = findIdle(idsOf(folders), true);
  if (!tree) tree = co_await makeTree(shop, folders);
  const int root = tree->root.get();
  const std::string answer = co_await runWorker(
      shop.events, [root] { return std::string{store::separateLinks(root) ? "separated" : ""}; });
  if (!answer.empty()) tree->isSeparated = true;
  co_return tree;
}

void WorkTrees::give(std::unique_ptr<WorkTree> tree, const Layer& layer) {
  const struct stat st = sys::fstat(layer.folder.get());
  tree->layers.insert(tree->layers.begin(), {st.st_dev, st.st_ino});
  idle_.push_back(std::move(tree));
  const auto isFree = [](const auto& idle) { return !idle->isLookedAt; };
  if (std::count_if(idle_.begin(), idle_.end(), isFree) > static_cast<std::ptrdiff_t>(kMaxIdle))
    idle_.erase(std::find_if(idle_.begin(), idle_.end(), isFree));
}

Task<int> WorkTrees::open(Workshop& shop, const Snapshot& snapshot) {
  const std::vector<int> folders = openFolders(shop.layout, snapshot);
  std::unique_ptr<WorkTree> tree = findIdle(idsOf(folders), false);
  if (!tree) tree = co_await makeTree(shop, folders);
  tree->isLookedAt = true;
  const int root = tree->root.get();
  idle_.push_back(std::move(tree));
  co_return root;
}

Task<Fd> openView(Workshop& shop, const Snapshot& snapshot) {
  if (!store::copiesUnions()) co_return mountReadOnly(shop.layout, snapshot);
  const int root = co_await shop.trees.open(shop, snapshot);
  co_return sys::openDirectory(root, ".");
}

Task<> fillLayer(Workshop& shop, Layer& layer, const Snapshot& below, FillLayer fill) {
  // The parent opens the layers' folders, so that it can give them to the sealer.
  std::ignore = openFolders(shop.layout, below);
  const bool isCopied = store::copiesUnions() && !below.layers.empty();
  std::unique_ptr<WorkTree> tree;
  if (isCopied) tree = co_await shop.trees.take(shop, below);
  co_await runWorker(shop.events, [&] {
    if (!tree) {
      const Fd root = mountForWriting(shop.layout, layer, below);
      fill(root.get(), below.layers.empty() ? -1 : layer.folder.get());
      return std::string{};
    }
    const store::TreeState before = store::TreeState::of(tree->root.get());
    fill(tree->root.get(), -1);
    before.writeChanges(tree->root.get(), layer.folder.get(), latestTime(shop.scope));
    return std::string{};
  });
  if (tree) shop.trees.give(std::move(tree), layer);
}

}  // namespace img::builder
