// Saving, loading and importing whole images. Hostile archives: archive_hostile_test.cc.
#include "store/archive.h"

#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "base/environment.h"
#include "base/json.h"
#include "base/process.h"
#include "store/layers.h"
#include "store/unsynced.h"
#include "tests/store/archive_fixture.h"

namespace img::store {
namespace {

using test::errorOf;
using test::makeTar;
using Strings = std::vector<std::string>;

constexpr char kA[] = "docker.io/library/a:latest";
constexpr char kB[] = "localhost:5000/b:1";

class Archive : public test::ArchiveTest {
 protected:
  std::string save(const std::vector<SaveItem>& items,
                   ArchiveFormat format = ArchiveFormat::dockerArchive) {
    StringSink sink;
    saveArchive(layout, items, format, sink);
    return sink.text;
  }
};

std::map<std::string, std::string> membersOf(const std::string& tar) {
  StringSource source{tar};
  TarReader reader{source, "test"};
  std::map<std::string, std::string> members;
  while (const TarEntry* entry = reader.next()) {
    EXPECT_EQ(entry->mtimeSeconds, 0);
    std::string& content = members[entry->path];
    std::byte buffer[4096];
    while (const size_t count = reader.read(buffer)) content += asText(std::span{buffer, count});
  }
  return members;
}

TEST_F(Archive, IsAtTheSameTimeADockerArchiveAndAnOciLayout) {
  const Image image = makeImage("1", {kA});
  const auto members = membersOf(save({{image, {kA, kB}}}));
  EXPECT_EQ(members.at("oci-layout"), R"({"imageLayoutVersion":"1.0.0"})");
  const Json docker = parseJson(members.at("manifest.json"), "manifest.json");
  EXPECT_EQ(docker[0]["RepoTags"], (Json{"a:latest", "localhost:5000/b:1"}));
  EXPECT_EQ(Digest::of(members.at(docker[0]["Config"])), image.id);
  EXPECT_EQ(Digest::of(members.at(docker[0]["Layers"][0])), image.config.diffIds[0]);
  const Index index = parseIndex(members.at("index.json"), "index.json");
  ASSERT_EQ(index.manifests.size(), 2U);
  EXPECT_EQ(index.manifests[1].annotations.at(kRefName), kB);
  EXPECT_EQ(index.manifests[0].digest, image.manifestDescriptor.digest);
}

TEST_F(Archive, OfTheSameImagesHasTheSameBytes) {
  const Image first = makeImage("1", {kA});
  const Image second = makeImage("2", {kB});
  const std::vector<SaveItem> items = {{first, {kA}}, {second, {kB}}};
  EXPECT_EQ(save(items), save(items));
}

TEST_F(Archive, BringsAnImageToAnotherStoreWithItsDigestAndNames) {
  const Image first = makeImage("1", {kA});
  const Image second = makeImage("2", {});
  for (const ArchiveFormat format : {ArchiveFormat::dockerArchive, ArchiveFormat::ociArchive}) {
    const Layout other =
        Layout::open(folder.path() + (format == ArchiveFormat::ociArchive ? "/o" : "/d"));
    const auto loaded = load(other, save({{first, {kA, kB}}, {second, {}}}, format));
    EXPECT_EQ(loaded.front().id, first.id);
    EXPECT_EQ(loaded.back().id, second.id);
    EXPECT_TRUE(loaded.back().names.empty());
    EXPECT_EQ(Images{other}.get("a").manifestDescriptor.digest, first.manifestDescriptor.digest);
    EXPECT_EQ(Images{other}.get("localhost:5000/b:1").id, first.id);
    EXPECT_EQ(Images{other}.list().size(), 3U);
    EXPECT_TRUE(fs::list(other.ingest()).empty());
  }
}

TEST_F(Archive, LayersThatNeedNoUnpackingAreReadyWhenTheyAreLoaded) {
  const Image image = makeImage("1", {kA});
  const std::string archive = save({{image, {kA}}});
  const Layout other = Layout::open(folder.path() + "/other");
  load(other, archive);
  const bool isCheap = chooseLayerView(other).view == LayerView::erofs;
  EXPECT_EQ(Layers{other}.has(image.config.diffIds[0]), isCheap);

  ::setenv("IMG_LAYER_VIEW", "directory", 1);
  const Layout third = Layout::open(folder.path() + "/third");
  load(third, archive);
  EXPECT_FALSE(Layers{third}.has(image.config.diffIds[0]));
  ::unsetenv("IMG_LAYER_VIEW");
}

TEST_F(Archive, WhatWasLoadedIsOnTheDiskOnceItHasItsName) {
  const std::string tar = save({{makeImage("1", {kA}), {kA}}});
  const fs::TempDir dir;
  const Layout other = Layout::open(dir.path());
  const std::string before = variableOrEmpty("IMG_DURABILITY");
  ::unsetenv("IMG_DURABILITY");
  load(other, tar);
  const auto mark = readUnsyncedMark(other);  // what a power cut before the name would have left
  ::setenv("IMG_DURABILITY", before.c_str(), 1);
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->what, Unsynced::blobs);
  const std::vector<fs::Entry> blobs = fs::list(other.blobs());
  EXPECT_EQ(blobs.size(), 3U);
  for (const fs::Entry& blob : blobs)
    EXPECT_FALSE(isUnsynced(sys::fstatat(other.blobs(), blob.name))) << blob.name;
}

// What is not synced by who loads or builds has its write permission still (unsynced.h).
class DurableArchive : public Archive {
 protected:
  DurableArchive() : before_(variableOrEmpty("IMG_DURABILITY")) { ::unsetenv("IMG_DURABILITY"); }
  ~DurableArchive() override { ::setenv("IMG_DURABILITY", before_.c_str(), 1); }
  DurableArchive(const DurableArchive&) = delete;
  DurableArchive& operator=(const DurableArchive&) = delete;

 private:
  std::string before_;
};

TEST_F(DurableArchive, WhatIsLoadedInPlaceOfALostBlobIsOnTheDiskThoughTheNameWasThere) {
  const std::string tar = save({{makeImage("1", {kA}), {kA}}});
  const fs::TempDir dir;
  const Layout other = Layout::open(dir.path());
  load(other, tar);
  const Digest layer = Images{other}.get(kA).manifest.layers[0].digest;
  sys::unlinkat(other.blobs(), layer.hex(), 0);
  load(other, tar);
  EXPECT_FALSE(isUnsynced(sys::fstatat(other.blobs(), layer.hex())));
}

// No descriptor is kept for each of them.
TEST_F(DurableArchive, SyncsManyBlobsOneByOne) {
  std::vector<SaveItem> items;
  for (int i = 0; i < 25; ++i) {
    const std::string name = "docker.io/library/many:" + std::to_string(i);
    items.push_back({makeImage(std::to_string(i), {name}), {name}});
  }
  const fs::TempDir dir;
  const Layout other = Layout::open(dir.path());
  load(other, save(items));
  const std::vector<fs::Entry> blobs = fs::list(other.blobs());
  EXPECT_EQ(blobs.size(), 75U);
  for (const fs::Entry& blob : blobs)
    EXPECT_FALSE(isUnsynced(sys::fstatat(other.blobs(), blob.name))) << blob.name;
  EXPECT_FALSE(readUnsyncedMark(other));  // they never were anything else
}

TEST_F(DurableArchive, ABlobThatSomebodyElseLeftUnsyncedIsReadBeforeItGetsAName) {
  const std::string tar = save({{makeImage("1", {kA}), {kA}}});
  const fs::TempDir dir;
  const Layout other = Layout::open(dir.path());
  const Digest layer = Images{layout}.get(kA).manifest.layers[0].digest;
  const std::string bytes(blobSize(layout, layer), '\0');  // as the disk has kept it
  fs::replaceFile(other.blobs(), layer.hex(), bytes, 0644, fs::Sync::none);
  noteUnsynced(other, Unsynced::blobs);
  EXPECT_EQ(errorOf([&] { load(other, tar); }).kind(), Kind::corrupt);
  EXPECT_FALSE(hasBlob(other, layer));
  load(other, tar);
  EXPECT_NO_THROW(checkBlob(other, layer));
}

TEST_F(Archive, MayBeCompressed) {
  const std::string tar = save({{makeImage("1", {kA}), {kA}}});
  for (const char* program : {"gzip", "zstd", "xz", "bzip2"}) {
    Output output;
    output = runProgram({program, "-c"}, tar);
    if (output.status.code == 127) continue;
    const Layout other = Layout::open(folder.path() + "/" + program);
    EXPECT_EQ(load(other, output.out).size(), 1U) << program;
  }
}

TEST_F(Archive, AsAFolderIsWrittenAndReadLikewise) {
  const Image image = makeImage("1", {kA});
  const std::string path = folder.path() + "/oci";
  saveDirectory(layout, {{image, {kA}}}, path);
  EXPECT_EQ(errorOf([&] { saveDirectory(layout, {{image, {kA}}}, path); }).kind(), Kind::exists);
  const Layout other = Layout::open(folder.path() + "/other");
  const auto loaded = loadDirectory(other, sys::openDirectory(AT_FDCWD, path).get(), path);
  ASSERT_EQ(loaded.size(), 1U);
  EXPECT_EQ(loaded[0].names, Strings{kA});
  EXPECT_EQ(Images{other}.get("a").id, image.id);
}

TEST_F(Archive, IntoAFolderThatIsALayoutKeepsOtherNames) {
  const std::string path = folder.path() + "/saved";
  const Image one = makeImage("1", {});
  const Image two = makeImage("2", {});
  saveDirectory(layout, {{one, {kA}}}, path, Existing::merge);
  saveDirectory(layout, {{two, {kB}}}, path, Existing::merge);
  saveDirectory(layout, {{two, {kB}}}, path, Existing::merge);
  const Layout saved = Layout::open(path);  // our store is such a layout
  EXPECT_EQ(Images{saved}.list().size(), 2U);
  EXPECT_EQ(Images{saved}.get(kA).id, one.id);
  EXPECT_EQ(Images{saved}.get(kB).id, two.id);
  saveDirectory(layout, {{two, {kA}}}, folder.path() + "/saved", Existing::merge);
  EXPECT_EQ(Images{saved}.get(kA).id, two.id);
}

TEST_F(Archive, IntoAFullFolderLeavesNoHalfBlob) {
  const Image image = makeImage("1", {kA});
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit tiny{1, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tiny), 0);
  const Error error = errorOf([&] {
    saveDirectory(layout, {{image, {kA}}}, folder.path() + "/full");
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(error.errnum(), EFBIG);
  const Fd blobs = sys::openDirectory(folder.fd(), "full/blobs/sha256");
  EXPECT_TRUE(fs::list(blobs.get()).empty());
}

TEST_F(Archive, IntoAFolderOfSomethingElseIsRefused) {
  fs::makeDirs(folder.fd(), "mine/work").reset();
  const Error error = errorOf([&] {
    saveDirectory(layout, {{makeImage("1", {}), {kA}}}, folder.path() + "/mine", Existing::merge);
  });
  EXPECT_EQ(error.kind(), Kind::exists);
}

TEST_F(Archive, OfSeveralPlatformsHoldsTheIndex) {
  SaveItem item{makeImage("1", {}), {kA}};
  item.others = {makeImage("2", {})};
  Index index;
  index.manifests = {item.image.manifestDescriptor, item.others[0].manifestDescriptor};
  index.manifests[0].platform = Platform::host();
  index.manifests[1].platform = Platform{"linux", "riscv64", "", ""};
  item.index = putBlob(layout, toJson(index), media::kIndex);
  item.annotations = {{"org.example.key", "v"}};
  StringSink sink;
  saveArchive(layout, {item}, ArchiveFormat::ociArchive, sink);
  const Layout other = Layout::open(folder.path() + "/other");
  const auto loaded = load(other, sink.text);
  ASSERT_EQ(loaded.size(), 1U);
  EXPECT_EQ(loaded[0].manifest.digest, item.index->digest);
  EXPECT_EQ(Images{other}.get(kA).id, item.image.id);
  EXPECT_TRUE(hasBlob(other, item.others[0].id));
  EXPECT_NE(sink.text.find("\"org.example.key\":\"v\""), std::string::npos);
  EXPECT_EQ(
      errorOf([&] { saveArchive(layout, {item}, ArchiveFormat::dockerArchive, sink); }).kind(),
      Kind::unsupported);
}

TEST_F(Archive, OfAnotherStoreFolderIsReadAsItLies) {
  makeImage("1", {kA});
  const Layout other = Layout::open(folder.path() + "/other");
  EXPECT_EQ(loadDirectory(other, layout.fd(), "store")[0].names, Strings{kA});
}

TEST_F(Archive, LoadedTwiceChangesNothing) {
  const std::string tar = save({{makeImage("1", {kA}), {kA}}});
  const auto before = sys::fstatat(layout.fd(), "index.json");
  EXPECT_TRUE(load(layout, tar)[0].moved.empty());
  EXPECT_EQ(sys::fstatat(layout.fd(), "index.json").st_ino, before.st_ino);
}

TEST_F(Archive, ThatMovesANameSaysWhatItPointedTo) {
  const Image old = makeImage("old", {});
  const std::string tar = save({{makeImage("new", {}), {kA}}});
  Images{layout}.publish(old.manifestDescriptor, {kA});
  const auto loaded = load(layout, tar);
  ASSERT_EQ(loaded[0].moved.size(), 1U);
  EXPECT_EQ(loaded[0].moved[0], std::make_pair(std::string{kA}, old.id));
}

// What docker before version 25 writes: layers as <id>/layer.tar, one of them a link to another
// image's.
TEST_F(Archive, OfOldDockerIsRead) {
  const std::string layer = makeTar({{"file", "x"}});
  const std::string config = configFor({Digest::of(layer), Digest::of(layer)});
  const std::string name = Digest::of(config).hex() + ".json";
  const auto loaded = load(
      layout, makeTar({{"aaa/layer.tar", layer},
                       {"aaa/VERSION", "1.0"},
                       {"bbb/layer.tar", "", TarEntry::Type::symlink, "../aaa/layer.tar"},
                       {name, config},
                       {"manifest.json", dockerManifest(name, {"aaa/layer.tar", "bbb/layer.tar"},
                                                        R"(["old:1","old:2"])")},
                       {"repositories", "{}"}}));
  ASSERT_EQ(loaded.size(), 1U);
  EXPECT_EQ(loaded[0].id, Digest::of(config));
  EXPECT_EQ(loaded[0].names, (Strings{"docker.io/library/old:1", "docker.io/library/old:2"}));
  const Image image = Images{layout}.get("old:1");
  EXPECT_EQ(image.manifest.layers[1].digest, Digest::of(layer));
  EXPECT_EQ(image.manifest.layers[0].mediaType, media::kLayer);
}

TEST_F(Archive, MembersMayComeInAnyOrderAndWithADotInFront) {
  const std::string layer = makeTar({{"file", "x"}});
  const std::string config = configFor({Digest::of(layer)});
  EXPECT_EQ(load(layout, makeTar({{"manifest.json", dockerManifest("c.json", {"l.tar"}, "null")},
                                  {"./c.json", config},
                                  {"./l.tar", layer}}))[0]
                .id,
            Digest::of(config));
}

TEST_F(Archive, WithCompressedLayersKeepsThemAsTheyAre) {
  const std::string layer = makeTar({{"file", "x"}});
  const std::string zipped = runProgram({"gzip", "-nc"}, layer).out;
  const std::string config = configFor({Digest::of(layer)});
  load(layout, makeTar({{"c.json", config},
                        {"l", zipped},
                        {"manifest.json", dockerManifest("c.json", {"l"}, R"(["z"])")}}));
  const Image image = Images{layout}.get("z");
  EXPECT_EQ(image.manifest.layers[0].mediaType, media::kLayerGzip);
  EXPECT_EQ(image.manifest.layers[0].digest, Digest::of(zipped));
}

TEST_F(Archive, OfSeveralPlatformsKeepsTheIndexAndWhatIsThere) {
  const Image own = makeImage("own", {});
  Index index;
  index.manifests = {own.manifestDescriptor, own.manifestDescriptor, own.manifestDescriptor};
  index.manifests[0].platform = Platform::host();
  index.manifests[1].platform = Platform{"linux", "pdp11", "", ""};
  index.manifests[1].digest = Digest::of("left out");
  index.manifests[2].platform = Platform{"windows", "amd64", "", "10"};
  index.manifests[2].digest = Digest::of("{}");  // there, but not for us
  const std::string nested = toJson(index);
  auto members = ociMembers(own);
  members.push_back({"blobs/sha256/" + Digest::of("{}").hex(), "{}"});
  members.push_back({"blobs/sha256/" + Digest::of(nested).hex(), nested});
  Descriptor top{media::kIndex, Digest::of(nested), nested.size(), {{kRefName, "multi"}}, {}, {}};
  members.push_back({"index.json", toJson(Index{{top}, {}})});
  const Layout other = Layout::open(folder.path() + "/other");
  const auto loaded = load(other, makeTar(members));
  EXPECT_EQ(loaded[0].id, own.id);
  EXPECT_EQ(loaded[0].manifest.mediaType, media::kIndex);
  EXPECT_EQ(Images{other}.get("multi").id, own.id);
}

TEST_F(Archive, ImportMakesAnImageOfOneLayer) {
  if (!test::isRoot()) GTEST_SKIP() << "unpacking with owners needs root";
  const std::string tar = makeTar({{"bin", "", TarEntry::Type::directory}, {"bin/sh", "#!"}});
  StringSource source{runProgram({"gzip", "-c"}, tar).out};
  ImageConfig config;
  config.cmd = Strings{"sh"};
  const Image image = importTar(layout, source, "base.tar.gz", config);
  EXPECT_EQ(image.config.diffIds, std::vector<Digest>{Digest::of(tar)});
  EXPECT_EQ(image.manifest.layers[0].digest, Digest::of(tar));
  EXPECT_EQ(image.config.history[0].comment, "Imported from base.tar.gz");
  EXPECT_EQ(image.config.cmd, Strings{"sh"});
  EXPECT_EQ(image.config.platform.os, "linux");
  EXPECT_TRUE(Layers{layout}.has(Digest::of(tar)));
  Images{layout}.publish(image.manifestDescriptor, {kA});
  EXPECT_EQ(Images{layout}.get("a").id, image.id);
}

// A layer of zeros behind the end marker: 1 GiB of them is 1 MiB of gzip.
TEST_F(Archive, PaddingCountsForTheLimitOfALayer) {
  const std::string layer = makeTar({{"file", "x"}}) + std::string(size_t{1} << 20, '\0');
  ::setenv("IMG_LIMIT_LAYER_BYTES", "100000", 1);
  StringSource source{layer};
  const Error imported = errorOf([&] { importTar(layout, source, "file", {}); });
  const std::string config = configFor({Digest::of(layer)});
  const Error loaded = errorOf([&] {
    load(layout, makeTar({{"c.json", config},
                          {"l.tar", runProgram({"gzip", "-nc"}, layer).out},
                          {"manifest.json", R"([{"Config":"c.json","Layers":["l.tar"]}])"}}));
  });
  ::unsetenv("IMG_LIMIT_LAYER_BYTES");
  for (const Error& error : {imported, loaded}) {
    EXPECT_NE(error.cause().find("more than 100000 bytes in one layer"), std::string::npos);
    ASSERT_FALSE(error.hints().empty());
    EXPECT_NE(error.hints()[0].find("IMG_LIMIT_LAYER_BYTES"), std::string::npos);
  }
  EXPECT_EQ(countIn("blobs/sha256") + countIn("ingest") + countIn("layers"), 0U);
}

TEST_F(Archive, ImportOfSomethingElseLeavesNothing) {
  for (const std::string& text : {std::string{}, std::string(3000, 'x'), std::string{"short"}}) {
    StringSource source{text};
    const Error error = errorOf([&] { importTar(layout, source, "file", {}); });
    EXPECT_EQ(error.kind(), Kind::corrupt);
  }
  EXPECT_EQ(countIn("blobs/sha256") + countIn("ingest") + countIn("layers"), 0U);
}

}  // namespace
}  // namespace img::store
