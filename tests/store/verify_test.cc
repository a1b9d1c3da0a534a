#include "store/verify.h"

#include <functional>
#include <ostream>

#include "store/archive.h"
#include "store/layers.h"
#include "store/verify_view.h"
#include "tests/store/store_fixture.h"
#include "tests/store/tar_helpers.h"

namespace img::store {
namespace {

using test::makeTar;

class VerifyTest : public test::StoreTest {
 protected:
  VerifyReport verify(bool mayRepair = false, bool isQuick = false) const {
    VerifyOptions options;
    options.isQuick = isQuick;
    options.mayRepair = mayRepair;
    return verifyStore(layout, options);
  }

  // The lines as the command shows them, digests shortened to what the test calls them.
  std::vector<std::string> lines(const VerifyReport& report) const {
    std::vector<std::string> all;
    for (const VerifyProblem& problem : report.problems) {
      std::string line = problem.object + " " + problem.problem;
      if (!problem.action.empty()) line += ": " + problem.action;
      for (const auto& [digest, word] : words) {
        for (size_t at = line.find(digest); at != std::string::npos; at = line.find(digest))
          line.replace(at, digest.size(), word);
      }
      all.push_back(line);
    }
    return all;
  }

  void know(const Digest& digest, const std::string& word) {
    words.emplace_back(digest.str(), word);
    words.emplace_back(digest.hex(), word);
  }

  Image wellKnownImage() {
    Image image = makeImage("content", {"docker.io/library/app:latest"});
    know(image.manifestDescriptor.digest, "MANIFEST");
    know(image.id, "CONFIG");
    know(image.config.diffIds.front(), "LAYER");
    return image;
  }

  void overwrite(const Digest& digest, std::string_view bytes) const {
    fs::replaceFile(layout.blobs(), digest.hex(), bytes, 0644, fs::Sync::none);
  }

  std::vector<std::pair<std::string, std::string>> words;
};

using Lines = std::vector<std::string>;

TEST_F(VerifyTest, FindsNothingInAStoreThatIsWell) {
  const Image image = wellKnownImage();
  Layers{layout}.ensure(image.config.diffIds[0], image.manifest.layers[0]);
  const VerifyReport report = verify();
  EXPECT_EQ(lines(report), Lines{});
  EXPECT_TRUE(report.isClean());
  EXPECT_EQ(report.images, 1U);
  EXPECT_EQ(report.blobs, 3U);
  EXPECT_EQ(report.layers, 1U);
}

TEST_F(VerifyTest, AnIndexIsWellWhateverItsTarTakesBack) {
  if (chooseLayerView(layout).view != LayerView::erofs) GTEST_SKIP() << "no EROFS views here";
  ::setenv("IMG_LAYER_VIEW", "erofs", 1);  // however small the layer is
  testing_tar::RawTar tar;
  tar.file("d/e/f").hardLink("d/g", "d/e/f").file("d/e", "takes the link's target away");
  StringSource source{tar.end()};
  const Image image = importTar(layout, source, "odd.tar", {});
  Images{layout}.publish(image.manifestDescriptor, {"docker.io/library/odd:1"});
  const VerifyReport well = verify();
  EXPECT_EQ(lines(well), Lines{});
  EXPECT_EQ(well.layers, 1U);
  // Neither is damage overlooked.
  const Digest diffId = image.config.diffIds.front();
  const Fd index = sys::openat(layout.fd(), Layers{layout}.pathOf(diffId), O_RDWR);
  std::string bytes = fs::readFile(layout.fd(), Layers{layout}.pathOf(diffId));
  const size_t name = bytes.rfind("..eg");
  ASSERT_NE(name, std::string::npos);
  ASSERT_EQ(::pwrite(index.get(), "h", 1, static_cast<off_t>(name + 3)), 1);
  EXPECT_FALSE(verify().isClean());
  ::unsetenv("IMG_LAYER_VIEW");
}

TEST_F(VerifyTest, AnIndexThatCannotBeReadCostsNoImage) {
  if (chooseLayerView(layout).view != LayerView::erofs) GTEST_SKIP() << "no EROFS views here";
  ::setenv("IMG_LAYER_VIEW", "erofs", 1);
  const Image image = wellKnownImage();
  const Digest diffId = image.config.diffIds.front();
  const Layers layers{layout};
  layers.ensure(diffId, image.manifest.layers.front());
  std::ignore = sys::openat(layout.fd(), layers.pathOf(diffId), O_WRONLY | O_TRUNC);
  const Lines found = lines(verify());
  ASSERT_EQ(found.size(), 1U);
  EXPECT_TRUE(found[0].starts_with("layer LAYER: / cannot be read: ")) << found[0];
  EXPECT_TRUE(verify(true).isClean());
  EXPECT_EQ(names().size(), 1U);
  EXPECT_EQ(lines(verify()), Lines{});
  layers.ensure(diffId, image.manifest.layers.front());
  EXPECT_GE(layers.open(diffId).get(), 0);
  ::unsetenv("IMG_LAYER_VIEW");
}

TEST_F(VerifyTest, AFolderIsWellWhateverItsTarTakesBack) {
  ::setenv("IMG_LAYER_VIEW", "directory", 1);
  testing_tar::RawTar tar;
  tar.file("d/e/f").hardLink("d/g", "d/e/f").file("d/e", "takes the link's target away");
  tar.file("a").hardLink("b", "a").symlink("a", "elsewhere").hardLink("c", "b");
  StringSource source{tar.end()};
  const Image image = importTar(layout, source, "odd.tar", {});
  Images{layout}.publish(image.manifestDescriptor, {"docker.io/library/odd:1"});
  const VerifyReport well = verify();
  EXPECT_EQ(lines(well), Lines{});
  EXPECT_EQ(well.layers, 1U);
  // Neither is damage overlooked.
  sys::unlinkat(layout.fd(), Layers{layout}.pathOf(image.config.diffIds.front()) + "/d/g", 0);
  EXPECT_FALSE(verify().isClean());
  ::unsetenv("IMG_LAYER_VIEW");
}

// --- Damage and what is said about it ---

struct Damage {
  const char* name;
  std::function<void(const Layout&, const Image&)> inflict;
  Lines found;     // one line per problem
  Lines repaired;  // the same with --repair
  size_t imagesLeft;
};
void PrintTo(const Damage& damage, std::ostream* out) {
  *out << damage.name;
}

void removeBlob(const Layout& layout, const Digest& digest) {
  sys::unlinkat(layout.blobs(), digest.hex(), 0);
}
void replaceBlob(const Layout& layout, const Digest& digest, std::string_view bytes) {
  fs::replaceFile(layout.blobs(), digest.hex(), bytes, 0644, fs::Sync::none);
}
void flipBlob(const Layout& layout, const Digest& digest) {
  std::string bytes = fs::readFile(layout.blobs(), digest.hex());
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  replaceBlob(layout, digest, bytes);
}

constexpr char kUser[] = "image docker.io/library/app:latest";
const std::string kGone = std::string{kUser} + " depends on what is lost: removed from index.json";

const Damage kDamages[] = {
    {"MissingLayer",
     [](const Layout& layout, const Image& image) {
       removeBlob(layout, image.manifest.layers[0].digest);
     },
     {"blob LAYER is missing; needed by image docker.io/library/app:latest"},
     {"blob LAYER is missing; needed by image docker.io/library/app:latest: what needs it is taken "
      "out",
      kGone},
     0},
    {"EmptyManifest",
     [](const Layout& layout, const Image& image) {
       replaceBlob(layout, image.manifestDescriptor.digest, "");
     },
     {"blob MANIFEST has 0 bytes, its descriptor says SIZE; needed by image "
      "docker.io/library/app:latest"},
     {"blob MANIFEST has 0 bytes, its descriptor says SIZE; needed by image "
      "docker.io/library/app:latest: moved to quarantine/blob-MANIFEST, what needs it is taken out",
      kGone},
     0},
    {"FlippedByteInALayer",
     [](const Layout& layout, const Image& image) {
       flipBlob(layout, image.manifest.layers[0].digest);
     },
     {"blob LAYER is damaged: its 2048 bytes have the digest OTHER; needed by image "
      "docker.io/library/app:latest"},
     {"blob LAYER is damaged: its 2048 bytes have the digest OTHER; needed by image "
      "docker.io/library/app:latest: moved to quarantine/blob-LAYER, what needs it is taken out",
      kGone},
     0},
    {"DamagedBlobThatNobodyNeeds",
     [](const Layout& layout, const Image&) {
       const Descriptor blob = putBlob(layout, "alone", media::kLayer);
       replaceBlob(layout, blob.digest, "other");
     },
     {"blob LONE is damaged: its 5 bytes have the digest OTHER"},
     {"blob LONE is damaged: its 5 bytes have the digest OTHER: moved to quarantine/blob-LONE"},
     1},
    {"NoOciLayout",
     [](const Layout& layout, const Image&) { sys::unlinkat(layout.fd(), "oci-layout", 0); },
     {"oci-layout is missing"},
     {"oci-layout is missing: written again"},
     1},
    {"OciLayoutOfAnotherVersion",
     [](const Layout& layout, const Image&) {
       fs::replaceFile(layout.fd(), "oci-layout", R"({"imageLayoutVersion":"9"})", 0644,
                       fs::Sync::none);
     },
     {"oci-layout has the version \"9\""},
     {"oci-layout has the version \"9\": written again"},
     1},
    {"StrangersInTheStore",
     [](const Layout& layout, const Image&) {
       for (const char* path : {"notes.txt", "blobs/sha512", "blobs/sha256/x", "layers/mine"})
         fs::replaceFile(layout.fd(), path, "x", 0644, fs::Sync::none);
     },
     {"notes.txt is not known", "blobs/sha512 is not known", "blobs/sha256/x is not known",
      "layers/mine is not known"},
     {"notes.txt is not known: moved to quarantine/notes.txt",
      "blobs/sha512 is not known: moved to quarantine/blobs-sha512",
      "blobs/sha256/x is not known: moved to quarantine/blobs-sha256-x",
      "layers/mine is not known: moved to quarantine/layers-mine"},
     1},
    {"UnreadableCacheRecord",
     [](const Layout& layout, const Image&) {
       fs::replaceFile(layout.fd(), "cache/steps/0123456789abcdef", "{", 0600, fs::Sync::none);
     },
     {"cache record 0123456789ab is damaged: dropped"},
     {"cache record 0123456789ab is damaged: dropped"},
     1},
    {"ContainerNameWithoutContainer",
     [](const Layout& layout, const Image&) {
       const Fd names = fs::makeDirs(layout.fd(), "containers/.names");
       fs::replaceFile(names.get(), "web", std::string(64, 'a'), 0600, fs::Sync::none);
     },
     {"container name web leads to no container"},
     {"container name web leads to no container: removed"},
     1},
};

class DamagedStore : public VerifyTest, public testing::WithParamInterface<Damage> {
 protected:
  // Digests of damaged bytes and sizes of documents depend on the time and the machine.
  static Lines plain(Lines all) {
    for (std::string& line : all) {
      for (size_t at = 0; (at = line.find("sha256:", at)) != std::string::npos;)
        line.replace(at, 71, line.starts_with("blob sha256:") && at == 5 ? "LONE" : "OTHER");
      if (const size_t at = line.find("blob-"); at != std::string::npos) {
        const size_t end = line.find_first_not_of("0123456789abcdef", at + 5);
        if ((end == std::string::npos ? line.size() : end) - at == 69)
          line.replace(at + 5, 64, "LONE");
      }
      if (const size_t at = line.find("says "); at != std::string::npos)
        line.replace(at + 5, line.find(';') - at - 5, "SIZE");
    }
    return all;
  }
};

TEST_P(DamagedStore, IsDescribedLineByLine) {
  const Image image = wellKnownImage();
  GetParam().inflict(layout, image);
  const VerifyReport report = verify();
  EXPECT_EQ(plain(lines(report)), GetParam().found);
  const bool isDropped = GetParam().found == GetParam().repaired;
  EXPECT_EQ(report.isClean(), isDropped);
}

TEST_P(DamagedStore, IsCleanAfterItsRepair) {
  const Image image = wellKnownImage();
  GetParam().inflict(layout, image);
  const VerifyReport report = verify(true);
  EXPECT_EQ(plain(lines(report)), GetParam().repaired);
  EXPECT_TRUE(report.isClean());
  EXPECT_EQ(names().size(), GetParam().imagesLeft);
  EXPECT_EQ(lines(verify()), Lines{});
}

INSTANTIATE_TEST_SUITE_P(Damages, DamagedStore, testing::ValuesIn(kDamages),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_F(VerifyTest, QuicklyFindsSizesOnly) {
  const Image image = wellKnownImage();
  flipBlob(layout, image.manifest.layers[0].digest);
  EXPECT_EQ(lines(verify(false, true)), Lines{});
  overwrite(image.manifest.layers[0].digest, "short");
  EXPECT_EQ(lines(verify(false, true)),
            Lines{"blob LAYER has 5 bytes, its descriptor says 2048; needed by image "
                  "docker.io/library/app:latest"});
}

TEST_F(VerifyTest, FetchesALostBlobAgain) {
  const Image image = wellKnownImage();
  const std::string bytes = readBlob(layout, image.manifest.layers[0].digest);
  flipBlob(layout, image.manifest.layers[0].digest);
  VerifyOptions options;
  options.mayRepair = true;
  options.refetch = [&](const Descriptor& blob) {
    EXPECT_EQ(blob.size, bytes.size());
    putBlob(layout, bytes, media::kLayer);
    return true;
  };
  const VerifyReport report = verifyStore(layout, options);
  ASSERT_EQ(report.problems.size(), 1U);
  EXPECT_NE(report.problems[0].action.find(", fetched again"), std::string::npos);
  EXPECT_EQ(names(), Lines{"docker.io/library/app:latest"});
  EXPECT_EQ(lines(verify()), Lines{});
}

TEST_F(VerifyTest, TakesOutOnlyWhatDependsOnTheLoss) {
  const Image image = wellKnownImage();
  makeImage("other", {"docker.io/library/other:latest"});
  removeBlob(layout, image.id);
  EXPECT_TRUE(verify(true).isClean());
  EXPECT_EQ(names(), Lines{"docker.io/library/other:latest"});
}

TEST_F(VerifyTest, AnIndexThatCannotBeReadLosesTheNamesAndNoImage) {
  wellKnownImage();
  fs::replaceFile(layout.fd(), "index.json", "", 0644, fs::Sync::none);
  EXPECT_FALSE(verify().isClean());
  const VerifyReport report = verify(true);
  EXPECT_TRUE(report.isClean());
  EXPECT_EQ(names(), Lines{"<none>"});
  EXPECT_TRUE(sys::tryFstatat(layout.fd(), "quarantine/index.json").has_value());
}

TEST_F(VerifyTest, TwoEntriesOfOneNameBecomeTheFirst) {
  const Image image = wellKnownImage();
  Descriptor entry = image.manifestDescriptor;
  entry.annotations[kRefName] = "docker.io/library/app:latest";
  Images{layout}.reset({entry, entry});
  EXPECT_EQ(lines(verify()),
            Lines{"image docker.io/library/app:latest is in index.json twice, also for MANIFEST"});
  EXPECT_TRUE(verify(true).isClean());
  EXPECT_EQ(names(), Lines{"docker.io/library/app:latest"});
}

TEST_F(VerifyTest, AContainerWithoutItsLayersIsSetAside) {
  const Image image = wellKnownImage();
  const std::string id(64, 'c');
  makeContainer(id, image);
  EXPECT_EQ(lines(verify()), Lines{});
  removeBlob(layout, image.config.diffIds[0]);
  const VerifyReport report = verify(true);
  ASSERT_EQ(report.problems.size(), 3U);
  EXPECT_EQ(lines(report)[1],
            "container cccccccccccc its layer LAYER is lost: moved to quarantine/container-" + id);
  EXPECT_EQ(lines(verify()), Lines{});
}

// --- Unpacked layers ---

constexpr char kLink[] = "link";

class DamagedView : public VerifyTest {
 protected:
  ~DamagedView() override { ::unsetenv("IMG_LAYER_VIEW"); }
  DamagedView() {
    ::setenv("IMG_LAYER_VIEW", "directory", 1);
    const std::string tar = makeTar({{"folder", "", TarEntry::Type::directory},
                                     {"folder/file", "content"},
                                     {"folder/twin", "", TarEntry::Type::hardLink, "folder/file"},
                                     {"folder/.wh.gone", ""},
                                     {"hidden", "", TarEntry::Type::directory},
                                     {"hidden/.wh..wh..opq", ""},
                                     {kLink, "", TarEntry::Type::symlink, "folder/file"},
                                     {"implied/below", "x"}});
    blob = putBlob(layout, tar, media::kLayer);
    // Compressed layers are compared strictly; the media type decides nothing here.
    Layers{layout}.ensure(blob.digest, blob);
    root = sys::openDirectory(layout.layers(), blob.digest.hex() + "/fs");
  }

  std::vector<std::string> problems(bool isSealed = false) {
    StringSource tar{readBlob(layout, blob.digest)};
    std::vector<std::string> all;
    for (const ViewProblem& one : compareView(root.get(), tar, "layer", {isSealed, {}}))
      all.push_back(one.path + " " + one.problem);
    return all;
  }

  void keepTimes(const char* path, const std::function<void()>& change) const {
    const struct stat st = sys::fstatat(root.get(), path);
    change();
    sys::utimensat(root.get(), path, st.st_atim, st.st_mtim);
  }

  Descriptor blob;
  Fd root;
};

TEST_F(DamagedView, IsWellAfterUnpacking) {
  EXPECT_EQ(problems(), Lines{});
  EXPECT_EQ(problems(true), Lines{});
}

TEST_F(DamagedView, ShowsOtherBytesOfTheSameSizeAndTime) {
  keepTimes("folder/file", [&] {
    const Fd file = sys::openat(root.get(), "folder/file", O_WRONLY);
    writeAll(file.get(), std::string_view{"Content"}, "file");
  });
  EXPECT_EQ(problems(), Lines{"folder/file has other bytes than in its blob"});
}

TEST_F(DamagedView, ShowsAFileThatWasCutShort) {
  keepTimes("folder/file",
            [&] { sys::ftruncate(sys::openat(root.get(), "folder/file", O_WRONLY).get(), 0); });
  EXPECT_EQ(problems(), Lines{"folder/file has 0 bytes, in its blob 7"});
}

TEST_F(DamagedView, ShowsAnotherMode) {
  sys::fchmodat(root.get(), "folder/file", 0600);
  EXPECT_EQ(problems(), Lines{"folder/file has mode 0600, in its blob 0644"});
}

TEST_F(DamagedView, ShowsAnotherTime) {
  sys::utimensat(root.get(), "folder/file", {5, 0}, {5, 0});
  EXPECT_EQ(problems(), Lines{"folder/file was changed at 1970-01-01T00:00:05Z, in its blob at "
                              "1970-01-01T00:00:00Z"});
}

TEST_F(DamagedView, ShowsAnotherLinkTarget) {
  sys::unlinkat(root.get(), kLink, 0);
  sys::symlinkat("/etc/passwd", root.get(), kLink);
  sys::utimensat(root.get(), kLink, {0, 0}, {0, 0});
  keepTimes("folder", [] {});
  EXPECT_EQ(problems(), Lines{"link leads to \"/etc/passwd\", in its blob to \"folder/file\""});
}

TEST_F(DamagedView, ShowsAFolderInThePlaceOfAFile) {
  sys::unlinkat(root.get(), kLink, 0);
  sys::mkdirat(root.get(), kLink, 0755);
  EXPECT_EQ(problems(), Lines{"link is a folder, in its blob it is a symbolic link"});
}

TEST_F(DamagedView, ShowsAHardLinkThatBecameACopy) {
  keepTimes("folder", [&] {
    sys::unlinkat(root.get(), "folder/twin", 0);
    fs::replaceFile(root.get(), "folder/twin", "content", 0644, fs::Sync::none);
  });
  EXPECT_EQ(problems(), Lines{"folder/twin is not the same file as \"folder/file\""});
}

TEST_F(DamagedView, ShowsWhatIsMissingAndWhatIsTooMuch) {
  keepTimes("folder", [&] {
    sys::unlinkat(root.get(), "folder/file", 0);
    sys::unlinkat(root.get(), "folder/gone", 0);
    fs::replaceFile(root.get(), "folder/new", "", 0644, fs::Sync::none);
  });
  EXPECT_EQ(problems(), (Lines{"folder/.wh.gone is missing: it hides a name of the layers below",
                               "folder/file is missing", "folder/new is not in its blob",
                               "folder/twin is not the same file as \"folder/file\""}));
}

TEST_F(DamagedView, ShowsALostOpaqueMark) {
  fs::removeTree(root.get(), "hidden");
  sys::mkdirat(root.get(), "hidden", 0755);
  sys::utimensat(root.get(), "hidden", {0, 0}, {0, 0});
  EXPECT_EQ(problems(), Lines{"hidden does not hide what lies below it"});
}

TEST_F(DamagedView, OfALayerMadeHereMayHoldWhatAStepOnlyTouched) {
  keepTimes("folder",
            [&] { fs::replaceFile(root.get(), "folder/touched", "", 0644, fs::Sync::none); });
  EXPECT_EQ(problems(true), Lines{});
  EXPECT_EQ(problems(false), Lines{"folder/touched is not in its blob"});
}

TEST_F(DamagedView, ComparedWithWhatLiesBelowShowsTheRest) {
  fs::TempDir below;
  sys::mkdirat(below.fd(), "folder", 0755);
  fs::replaceFile(below.fd(), "folder/touched", "same", 0644, fs::Sync::none);
  fs::replaceFile(below.fd(), "folder/changed", "old", 0644, fs::Sync::none);
  keepTimes("folder", [&] {
    fs::replaceFile(root.get(), "folder/touched", "same", 0644, fs::Sync::none);
    fs::replaceFile(root.get(), "folder/changed", "new", 0644, fs::Sync::none);
  });
  StringSource tar{readBlob(layout, blob.digest)};
  const auto found = compareView(root.get(), tar, "layer", {true, {{below.fd()}}});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].path, "folder/changed");
}

TEST_F(DamagedView, IsUnpackedAgainByARepair) {
  ImageConfig config;
  config.platform = Platform::host();
  config.diffIds = {blob.digest};
  const Image image = writeImage(layout, config, {blob});
  Images{layout}.publish(image.manifestDescriptor, {"docker.io/library/app:latest"});
  know(blob.digest, "LAYER");
  sys::fchmodat(root.get(), "folder/file", 0600);
  const VerifyReport report = verify(true);
  EXPECT_EQ(lines(report),
            Lines{"layer LAYER: /folder/file has mode 0600, in its blob 0644: unpacked again"});
  EXPECT_TRUE(report.isClean());
  EXPECT_EQ(lines(verify()), Lines{});
}

}  // namespace
}  // namespace img::store
