// Several uppers sealed as one layer: what the union shows must not change, and the layer holds
// nothing that the union does not show.
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <random>

#include "base/fs.h"
#include "base/sys.h"
#include "store/overlay.h"
#include "store/seal.h"
#include "store/unpack.h"
#include "tests/store/store_fixture.h"
#include "tests/store/tar_helpers.h"

namespace img::store {
namespace {

using testing_tar::describeTree, testing_tar::Tree;

// Layers made by real unions, as build steps make them.
class Squash : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::isRoot()) GTEST_SKIP() << "mounting needs root";
  }

  int makeFolder(const std::string& name) {
    folders_.push_back(fs::makeDirs(dir_.fd(), name));
    return folders_.back().get();
  }
  // A new layer on top; `change` works in the union.
  template <class Change>
  void layer(Change&& change) {
    const std::string number = std::to_string(uppers_.size() + lowers_.size());
    const int upper = makeFolder("upper" + number);
    std::vector<int> below = uppers_;
    below.insert(below.end(), lowers_.begin(), lowers_.end());
    if (below.empty()) {
      change(upper);
    } else {
      const Fd root =
          mountOverlay({.lowers = below, .upper = upper, .work = makeFolder("work" + number)});
      change(sys::openDirectory(root.get(), ".").get());
    }
    uppers_.insert(uppers_.begin(), upper);
  }
  // What was made so far becomes the base.
  void endBase() {
    lowers_.insert(lowers_.begin(), uppers_.begin(), uppers_.end());
    uppers_.clear();
  }

  static Tree treeOf(std::vector<int> folders) {
    const Fd root = mountOverlay({.lowers = std::move(folders)});
    Tree tree = describeTree(sys::procPath(sys::openDirectory(root.get(), ".").get()) + "/.");
    // A file whose other names are hidden says that it is the same as itself.
    for (auto& [path, text] : tree) {
      const std::string self = " same as " + path;
      if (text.ends_with(self)) text.resize(text.size() - self.size());
    }
    return tree;
  }
  [[nodiscard]] Tree wholeTree() const {
    std::vector<int> all = uppers_;
    all.insert(all.end(), lowers_.begin(), lowers_.end());
    return treeOf(std::move(all));
  }
  [[nodiscard]] std::string squashed() const {
    StringSink sink;
    SealOptions options;
    options.lowers = lowers_;
    options.isBottom = true;
    writeLayerTar(uppers_, sink, options);
    return sink.text;
  }
  std::vector<std::string> names() const {
    StringSource source{squashed()};
    TarReader reader{source, "squashed"};
    std::vector<std::string> found;
    while (const TarEntry* entry = reader.next()) found.push_back(entry->path);
    return found;
  }
  Tree squashedTree() {
    const int folder = makeFolder("squashed");
    sys::fchmod(folder, 0755);
    StringSource source{squashed()};
    unpackLayer(source, folder, "squashed");
    std::vector<int> all{folder};
    all.insert(all.end(), lowers_.begin(), lowers_.end());
    return treeOf(std::move(all));
  }
  static void write(int root, const std::string& path, std::string_view text) {
    const Fd file = sys::openat(root, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    writeAll(file.get(), text, path);
  }
  static std::string path(int root, const std::string& name) {
    return sys::procPath(root) + "/" + name;
  }

  using Names = std::vector<std::string>;
  fs::TempDir dir_;
  std::vector<Fd> folders_;
  std::vector<int> uppers_, lowers_;  // topmost first
};

TEST_F(Squash, LeavesOutWhatALaterLayerDeletes) {
  layer([](int root) { write(root, "kept", "1"); });
  layer([](int root) { write(root, "gone", "a secret"); });
  layer([](int root) { sys::unlinkat(root, "gone", 0); });
  EXPECT_EQ(names(), (Names{"kept"}));
  EXPECT_EQ(squashed().find("a secret"), std::string::npos);
  EXPECT_EQ(squashedTree(), wholeTree());
}

TEST_F(Squash, TurnsTheDeletionOfABaseFileIntoAWhiteout) {
  layer([](int root) { write(root, "base", "1"); });
  endBase();
  layer([](int root) { write(root, "new", "1"); });
  layer([](int root) { sys::unlinkat(root, "base", 0); });
  EXPECT_EQ(names(), (Names{".wh.base", "new"}));
  EXPECT_EQ(squashedTree(), wholeTree());
}

TEST_F(Squash, AFileThatIsDeletedAndMadeAgainHidesNothing) {
  layer([](int root) { write(root, "file", "old"); });
  endBase();
  layer([](int root) { sys::unlinkat(root, "file", 0); });
  layer([](int root) { write(root, "file", "new"); });
  EXPECT_EQ(names(), (Names{"file"}));
  EXPECT_EQ(squashedTree(), wholeTree());
}

TEST_F(Squash, AFolderThatReplacesOneOfTheBaseIsOpaque) {
  layer([](int root) {
    sys::mkdirat(root, "d", 0755);
    write(root, "d/base", "1");
  });
  endBase();
  layer([](int root) { fs::removeTree(root, "d"); });
  layer([](int root) { sys::mkdirat(root, "d", 0700); });
  layer([](int root) { write(root, "d/new", "1"); });
  EXPECT_EQ(names(), (Names{"d/", "d/.wh..wh..opq", "d/new"}));
  EXPECT_EQ(squashedTree(), wholeTree());
}

TEST_F(Squash, AFolderOfItsOwnNeedsNoOpaqueMark) {
  layer([](int root) { sys::mkdirat(root, "d", 0755); });
  layer([](int root) { fs::removeTree(root, "d"); });
  layer([](int root) {
    sys::mkdirat(root, "d", 0755);
    write(root, "d/f", "1");
  });
  EXPECT_EQ(names(), (Names{"d/", "d/f"}));
}

TEST_F(Squash, AChangedTypeIsTheLastOne) {
  layer([](int root) {
    sys::mkdirat(root, "was-folder", 0755);
    write(root, "was-folder/inner", "1");
    write(root, "was-file", "1");
  });
  endBase();
  layer([](int root) {
    fs::removeTree(root, "was-folder");
    write(root, "was-folder", "a file");
    sys::unlinkat(root, "was-file", 0);
    sys::mkdirat(root, "was-file", 0755);
  });
  layer([](int root) { write(root, "was-file/inner", "1"); });
  EXPECT_EQ(squashedTree(), wholeTree());
}

TEST_F(Squash, KeepsHardLinksOfOneLayer) {
  layer([](int root) {
    write(root, "a", "shared");
    sys::linkat(root, "a", root, "b", 0);
    sys::linkat(root, "a", root, "c", 0);
  });
  layer([](int root) { sys::unlinkat(root, "a", 0); });
  StringSource source{squashed()};
  TarReader reader{source, "squashed"};
  EXPECT_EQ(reader.next()->path, "b");
  const TarEntry* link = reader.next();
  EXPECT_EQ(link->type, TarEntry::Type::hardLink);
  EXPECT_EQ(link->linkTarget, "b");
  EXPECT_EQ(squashedTree(), wholeTree());
}

TEST_F(Squash, AFileThatIsAgainAsTheBaseHasItIsLeftOut) {
  layer([](int root) { write(root, "file", "x"); });
  const struct stat before = sys::fstatat(uppers_[0], "file");
  endBase();
  layer([](int root) { write(root, "file", "y"); });
  layer([&](int root) {
    write(root, "file", "x");
    sys::utimensat(root, "file", before.st_atim, before.st_mtim);
  });
  EXPECT_EQ(names(), Names{});
}

TEST_F(Squash, AllLayersAreTheRootFileSystem) {
  layer([](int root) { write(root, "base", "1"); });
  layer([](int root) { sys::unlinkat(root, "base", 0); });
  layer([](int root) { write(root, "new", "1"); });
  EXPECT_EQ(names(), (Names{"new"}));
}

TEST_F(Squash, GivesTheSameBytesEveryTime) {
  layer([](int root) {
    for (int i = 0; i < 40; ++i) write(root, "file" + std::to_string(i), std::to_string(i));
  });
  layer([](int root) { write(root, "file7", "again"); });
  EXPECT_EQ(squashed(), squashed());
}

TEST_F(Squash, AllTimesCanBeOne) {
  layer([](int root) { write(root, "file", "x"); });
  SealOptions options;
  options.setMtime = 1234;
  StringSink sink;
  writeLayerTar(uppers_, sink, options);
  StringSource source{sink.text};
  TarReader reader{source, "squashed"};
  EXPECT_EQ(reader.next()->mtimeSeconds, 1234);
}

// A few names, many changes: folders over files over folders, deleted, linked and moved.
class RandomChanges {
 public:
  explicit RandomChanges(unsigned seed) : random_(seed) {}

  void operator()(int root) {
    for (int i = 0; i < 12; ++i) change(root);
  }

 private:
  std::string name() {
    std::string path;
    for (int depth = pick(3); depth >= 0; --depth) {
      path += std::string(path.empty() ? 0 : 1, '/') + static_cast<char>('a' + pick(3));
    }
    return path;
  }
  int pick(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }

  // Whatever does not fit the state of the tree fails there and changes nothing.
  void change(int root) try {
    const std::string path = name();
    switch (pick(8)) {
      case 0: fs::removeTree(root, path); break;
      case 1:
      case 2: sys::mkdirat(root, path, 0755); break;
      case 3: sys::symlinkat("target", root, path); break;
      case 4: sys::linkat(root, name(), root, path, 0); break;
      case 5: sys::renameat(root, name(), root, path); break;
      case 6: sys::fchmod(sys::openat(root, path, O_RDONLY | O_DIRECTORY).get(), 0700); break;
      default: {
        const Fd file = sys::openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
        writeAll(file.get(), std::to_string(random_()), path);
      }
    }
  } catch (const Error& error) {
    EXPECT_NE(error.errnum(), EIO);
  }

  std::mt19937 random_;
};

class SquashRandom : public Squash, public testing::WithParamInterface<unsigned> {};

TEST_P(SquashRandom, ShowsTheSameTree) {
  RandomChanges change{GetParam()};
  layer(change);
  layer(change);
  endBase();
  for (int i = 0; i < 4; ++i) layer(change);
  const Tree whole = wholeTree();
  EXPECT_EQ(squashedTree(), whole);
  endBase();
  uppers_ = std::exchange(lowers_, {});  // the base as well
  fs::removeTree(dir_.fd(), "squashed");
  EXPECT_EQ(squashedTree(), whole);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SquashRandom, testing::Range(1U, 41U));

}  // namespace
}  // namespace img::store
