// images, tag, rmi, history, inspect, save, load, import and volumes against a store of the test's
// own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/json.h"
#include "base/sys.h"
#include "store/containers.h"
#include "store/images.h"
#include "store/tar.h"
#include "store/volumes.h"
#include "tests/cli/command_line.h"

namespace img::cli {
namespace {

class ImageCommands : public testing::Test {
 protected:
  ImageCommands() : root_("IMG_ROOT", (folder_.path() + "/store").c_str()) {
    if (geteuid() != 0) reason_ = "unpacking layers needs root";
  }
  void SetUp() override {
    if (!reason_.empty()) GTEST_SKIP() << reason_;
  }

  CommandResult run(const std::vector<std::string>& words) { return runImg(words); }
  // stdout of a command that must succeed.
  std::string outOf(const std::vector<std::string>& words) {
    const CommandResult result = runImg(words);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }

  // A tar with one file of `size` bytes.
  std::string makeTar(const std::string& name, size_t size) {
    const std::string path = folder_.path() + "/" + name + ".tar";
    FdSink sink{sys::openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0644), path};
    store::TarWriter tar{sink};
    store::TarEntry entry;
    entry.path = name;
    entry.type = store::TarEntry::Type::file;
    entry.mode = 0644;
    entry.size = size;
    tar.add(entry);
    tar.data(asBytes(std::string(size, 'x')));
    tar.finish();
    return path;
  }

  // "sha256:<hex>" of a new image `name`, created at the given second.
  std::string makeImage(const std::string& name, long long created = 1'700'000'000,
                        const std::vector<std::string>& more = {}) {
    const ScopedVariable epoch{"SOURCE_DATE_EPOCH", std::to_string(created).c_str()};
    std::vector<std::string> words{"import"};
    words.insert(words.end(), more.begin(), more.end());
    std::string file = name.empty() ? "nameless" : name;
    for (char& c : file) {
      if (c == '/' || c == ':') c = '-';
    }
    words.push_back(makeTar(file, 100));
    if (!name.empty()) words.push_back(name);
    std::string id = outOf(words);
    EXPECT_EQ(id.size(), 72U) << id;
    if (!id.empty()) id.pop_back();
    return id;
  }

  store::Layout layout() { return store::Layout::open(folder_.path() + "/store"); }

  store::ContainerConfig makeContainer(const std::string& name, const std::string& image) {
    const store::Layout store = layout();
    store::ContainerConfig config;
    config.name = name;
    config.imageName = image;
    config.imageId = store::Images{store}.get(image).id;
    config.diffIds = store::Images{store}.get(image).config.diffIds;
    return store::Containers{store}.create(config);
  }

  fs::TempDir folder_;
  ScopedVariable root_;
  ScopedVariable fast_{"IMG_DURABILITY", "fast"};
  std::string reason_;
};

TEST_F(ImageCommands, ListNewestFirstWithFamiliarNames) {
  const std::string old = makeImage("app:1", 1'000'000'000);
  const std::string young = makeImage("localhost:5000/team/tool:2", 1'500'000'000);
  const std::string out =
      outOf({"images", "--format", "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}}"});
  EXPECT_EQ(out, "localhost:5000/team/tool 2 " + young.substr(7, 12) + " 100B\napp 1 " +
                     old.substr(7, 12) + " 100B\n");
  const std::string table = outOf({"images"});
  EXPECT_TRUE(
      table.starts_with("REPOSITORY                 TAG   IMAGE ID       CREATED        SIZE\n"))
      << table;
  EXPECT_NE(outOf({"ls", "--digests"}).find("TAG   DIGEST"), std::string::npos);
}

TEST_F(ImageCommands, ListIdsOncePerImage) {
  const std::string id = makeImage("app:1");
  outOf({"tag", "app:1", "app:2", "other"});
  EXPECT_EQ(outOf({"images", "-q"}), id.substr(7, 12) + "\n");
  EXPECT_EQ(outOf({"images", "-q", "--no-trunc"}), id + "\n");
  EXPECT_EQ(outOf({"images", "--format", "{{.Tag}}", "app"}), "1\n2\n");
}

TEST_F(ImageCommands, ListOnlyWhatTheFiltersLetThrough) {
  makeImage("app:1", 1'000'000'000, {"-c", "LABEL tier=front"});
  makeImage("app:2", 1'100'000'000, {"-c", "LABEL tier=back"});
  makeImage("team/x:3", 1'200'000'000);
  makeImage("", 1'300'000'000);
  const auto tags = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"images", "--format", "{{.Tag}}"});
    return outOf(words);
  };
  EXPECT_EQ(tags({}), "<none>\n3\n2\n1\n");
  EXPECT_EQ(tags({"-f", "dangling=true"}), "<none>\n");
  EXPECT_EQ(tags({"-f", "dangling=false"}), "3\n2\n1\n");
  EXPECT_EQ(tags({"-f", "label=tier"}), "2\n1\n");
  EXPECT_EQ(tags({"-f", "label=tier=front"}), "1\n");
  EXPECT_EQ(tags({"-f", "before=app:2"}), "1\n");
  EXPECT_EQ(tags({"-f", "since=app:2", "-f", "dangling=0"}), "3\n");
  EXPECT_EQ(tags({"-f", "until=1100000000"}), "1\n");
  EXPECT_EQ(tags({"-f", "reference=*:2"}), "2\n");
  EXPECT_EQ(tags({"-f", "reference=team/*"}), "3\n");
  EXPECT_EQ(tags({"app"}), "2\n1\n");
  EXPECT_EQ(tags({"app:1"}), "1\n");
  EXPECT_EQ(tags({"none"}), "");
  EXPECT_EQ(tags({"-f", "reference=*:2", "app"}), "2\n");
  EXPECT_EQ(tags({"--sort", "tag", "app"}), "1\n2\n");
  EXPECT_EQ(run({"images", "-f", "size=1"}).status, 125);
  EXPECT_EQ(run({"images", "--sort", "beauty"}).status, 125);
}

TEST_F(ImageCommands, ListAsJsonOneObjectALine) {
  const std::string id = makeImage("app");
  const Json row = Json::parse(outOf({"images", "--format", "json"}));
  EXPECT_EQ(row.at("Repository"), "app");
  EXPECT_EQ(row.at("ID"), id.substr(7, 12));
  for (const auto& [key, value] : row.items()) EXPECT_TRUE(value.is_string()) << key;
}

TEST_F(ImageCommands, ListWarnsOfAnImageThatCannotBeReadAndShowsTheOthers) {
  const std::string id = makeImage("broken");
  makeImage("whole", 1'000'000'000, {"-m", "another config"});
  sys::unlinkat(AT_FDCWD, folder_.path() + "/store/blobs/sha256/" + id.substr(7), 0);
  const CommandResult result = run({"images", "--format", "{{.Repository}}"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "whole\n");
  EXPECT_TRUE(result.err.starts_with("warning: ")) << result.err;
}

TEST_F(ImageCommands, EveryCommandRemovesWhatAKilledOneLeft) {
  makeImage("app");
  const std::string litter = folder_.path() + "/store/ingest/left-behind";
  fs::replaceFile(AT_FDCWD, litter, "half a blob", 0600, fs::Sync::none);
  outOf({"images"});
  EXPECT_FALSE(sys::tryFstatat(AT_FDCWD, litter));
}

TEST_F(ImageCommands, TagGivesNamesAndMovesThem) {
  const std::string first = makeImage("a");
  const std::string second = makeImage("b");
  EXPECT_EQ(outOf({"tag", "a", "name"}), "");
  EXPECT_EQ(outOf({"tag", second.substr(7, 12), "name"}), "");
  EXPECT_EQ(outOf({"inspect", "-f", "{{.Id}}", "name"}), second + "\n");
  const CommandResult missing = run({"tag", "nope", "x"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.err, "error: no such image: nope\n");
  EXPECT_EQ(run({"tag", "a", "Bad/Name/UPPER"}).status, 125);
  EXPECT_EQ(run({"tag", "a", "x@" + first}).status, 125);
}

TEST_F(ImageCommands, RmiTakesTheNameAndWithTheLastOneTheImage) {
  const std::string id = makeImage("app:1");
  outOf({"tag", "app:1", "app:2"});
  EXPECT_EQ(outOf({"rmi", "app:1"}), "Untagged: app:1\n");
  const std::string out = outOf({"rmi", "app:2"});
  EXPECT_TRUE(out.starts_with("Untagged: app:2\nDeleted: " + id + "\nDeleted: sha256:")) << out;
  EXPECT_EQ(outOf({"images", "-q"}), "");
  const Fd blobs = sys::openDirectory(AT_FDCWD, folder_.path() + "/store/blobs/sha256");
  EXPECT_TRUE(fs::list(blobs.get()).empty());
}

TEST_F(ImageCommands, RmiByIdWantsForceForSeveralNames) {
  const std::string id = makeImage("app:1");
  outOf({"tag", "app:1", "app:2"});
  const CommandResult refused = run({"rmi", id.substr(7, 12)});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("has several names"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("app:1, app:2"), std::string::npos);
  const std::string out = outOf({"rmi", "-f", id.substr(7, 12)});
  EXPECT_TRUE(out.starts_with("Untagged: app:1\nUntagged: app:2\nDeleted: " + id)) << out;
}

TEST_F(ImageCommands, RmiRefusesAnImageThatAContainerUses) {
  makeImage("app");
  makeContainer("web", "app");
  const CommandResult refused = run({"rmi", "app"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_TRUE(refused.err.starts_with("error: image app is used by container web\n"))
      << refused.err;
  EXPECT_NE(refused.err.find("img rm web"), std::string::npos);
  const CommandResult forced = run({"rmi", "-f", "app"});
  EXPECT_EQ(forced.status, 0);
  EXPECT_EQ(forced.out, "Untagged: app:latest\n");
  EXPECT_NE(forced.err.find("stays without a name"), std::string::npos);
  EXPECT_NE(outOf({"images"}).find("<none>"), std::string::npos);
}

TEST_F(ImageCommands, RmiGoesOnAfterAMissingOne) {
  makeImage("a");
  makeImage("b");
  const CommandResult result = run({"rmi", "a", "nope", "b"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "error: no such image: nope\n");
  EXPECT_EQ(outOf({"images", "-q"}), "");
  const CommandResult forced = run({"rmi", "-f", "nope"});
  EXPECT_EQ(forced.status, 0);
  EXPECT_EQ(forced.err, "error: no such image: nope\n");
  EXPECT_EQ(run({"rmi", "--ignore", "nope"}).err, "");
  EXPECT_EQ(run({"rmi"}).status, 125);
}

TEST_F(ImageCommands, RmiAllEmptiesTheStore) {
  makeImage("a");
  makeImage("");
  EXPECT_EQ(run({"rmi", "-a"}).status, 0);
  EXPECT_EQ(outOf({"images", "-q"}), "");
}

TEST_F(ImageCommands, HistoryShowsWhatAnImageBringsAlong) {
  const std::string id = makeImage("app", 1'000'000'000, {"-m", "the base"});
  EXPECT_EQ(outOf({"history", "--format",
                   "{{.ID}}|{{.CreatedAt}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}}", "app"}),
            id.substr(7, 12) + "|2001-09-09T01:46:40Z||100B|the base\n");
  EXPECT_TRUE(outOf({"history", "app"})
                  .starts_with("IMAGE          CREATED        CREATED BY   SIZE   COMMENT\n"));
  EXPECT_EQ(outOf({"history", "-q", "--no-trunc", "app"}), id + "\n");
  EXPECT_EQ(outOf({"history", "-H=false", "--format", "{{.Size}}", "app"}), "100\n");
}

TEST_F(ImageCommands, HistoryNamesTheImageOfAnEarlierState) {
  const std::string base = makeImage("base");
  const store::Layout store = layout();
  store::Image image = store::Images{store}.get("base");
  image.config.history.push_back(
      {"2001-09-09T01:46:41Z", "ENV A=" + std::string(100, 'x'), "", "", true});
  image.config.history.push_back({"2001-09-09T01:46:42Z", "CMD [\"sh\"]", "", "", true});
  const store::Image derived = store::writeImage(store, image.config, image.manifest.layers);
  store::Images{store}.publish(derived.manifestDescriptor, {"docker.io/library/app:latest"});
  EXPECT_EQ(outOf({"history", "-q", "app"}),
            derived.id.shortHex() + "\n<missing>\n" + base.substr(7, 12) + "\n");
  const std::string commands = outOf({"history", "--format", "{{.CreatedBy}}", "app"});
  EXPECT_NE(commands.find("\nENV A=" + std::string(38, 'x') + "…\n"), std::string::npos)
      << commands;
}

TEST_F(ImageCommands, TreeShowsEachLayerWithWhatMadeIt) {
  const std::string id = makeImage("app");
  const store::Layout store = layout();
  store::Image image = store::Images{store}.get("app");
  image.config.history.push_back({"2001-09-09T01:46:41Z", "RUN a\nb \x1b[31m", "", "", false});
  image.config.history.push_back({"2001-09-09T01:46:42Z", "CMD [\"sh\"]", "", "", true});
  const Digest lower = image.config.diffIds.front();
  image.config.diffIds.push_back(lower);
  image.manifest.layers.push_back(image.manifest.layers.front());
  const store::Image derived = store::writeImage(store, image.config, image.manifest.layers);
  store::Images{store}.publish(derived.manifestDescriptor, {"docker.io/library/two:latest"});

  const std::string tree = outOf({"image", "tree", "two"});
  EXPECT_TRUE(tree.starts_with(derived.id.shortHex() + "  two:latest  200B\n")) << tree;
  EXPECT_NE(tree.find("\n├── " + lower.shortHex() + "     100B  "), std::string::npos) << tree;
  EXPECT_NE(tree.find("\n└── " + lower.shortHex() + "     100B  RUN a b \\x1b[31m\n"),
            std::string::npos)
      << tree;
  EXPECT_EQ(tree.find("CMD"), std::string::npos) << tree;
}

TEST_F(ImageCommands, ExistsAnswersByItsStatus) {
  makeImage("app");
  EXPECT_EQ(outOf({"image", "exists", "app:latest"}), "");
  const CommandResult missing = run({"image", "exists", "other"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.out + missing.err, "");
}

TEST_F(ImageCommands, InspectHasDockersKeys) {
  const std::string id = makeImage("app", 1'000'000'000,
                                   {"-c", "ENV A=b", "-c", "CMD [\"sh\"]", "-c", "EXPOSE 80", "-c",
                                    "LABEL k=v", "-c", "WORKDIR /w", "-m", "hello"});
  outOf({"tag", "app", "me/app:2"});
  const std::string text = outOf({"inspect", "app"});
  EXPECT_TRUE(text.starts_with("[\n    {\n        \"Architecture\"")) << text;
  const Json image = Json::parse(text).at(0);
  EXPECT_EQ(image.at("Id"), id);
  EXPECT_EQ(image.at("RepoTags"), Json({"app:latest", "me/app:2"}));
  EXPECT_EQ(image.at("RepoDigests"), Json::array());
  EXPECT_EQ(image.at("Comment"), "hello");
  EXPECT_EQ(image.at("Created"), "2001-09-09T01:46:40Z");
  EXPECT_EQ(image.at("Size"), 100);
  EXPECT_EQ(image.at("RootFS").at("Layers").size(), 1U);
  const Json& config = image.at("Config");
  EXPECT_EQ(config.at("Cmd"), Json({"sh"}));
  EXPECT_EQ(config.at("ExposedPorts"), Json::parse(R"({"80/tcp": {}})"));
  EXPECT_EQ(config.at("Labels"), Json::parse(R"({"k": "v"})"));
  EXPECT_EQ(config.at("WorkingDir"), "/w");
  EXPECT_TRUE(config.at("Entrypoint").is_null());
  EXPECT_FALSE(config.contains("Healthcheck"));
}

TEST_F(ImageCommands, InspectPrintsWhatItFoundAndFails) {
  const std::string id = makeImage("app");
  const CommandResult result = run({"inspect", "nope", "app"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(Json::parse(result.out).at(0).at("Id"), id);
  EXPECT_EQ(result.err, "error: no such object: nope\n");
  const CommandResult nothing = run({"inspect", "nope"});
  EXPECT_EQ(nothing.status, 1);
  EXPECT_EQ(nothing.out, "[]\n");
  EXPECT_EQ(run({"inspect", "--type", "volume", "app"}).status, 1);
  EXPECT_EQ(run({"inspect", "--type", "planet", "app"}).status, 125);
  EXPECT_EQ(run({"image", "inspect", "nope"}).err, "error: no such image: nope\n");
}

TEST_F(ImageCommands, InspectTakesATemplate) {
  const std::string id = makeImage("app", 1'000'000'000, {"-c", "ENV A=b"});
  EXPECT_EQ(outOf({"inspect", "-f", "{{.Id}} {{index .Config.Env 0}}", "app", "app"}),
            id + " A=b\n" + id + " A=b\n");
  EXPECT_EQ(Json::parse(outOf({"inspect", "--format=json", "app"})).at(0).at("Id"), id);
  EXPECT_EQ(outOf({"inspect", "-f", "{{if .Config.Healthcheck}}x{{else}}none{{end}}", "app"}),
            "none\n");
  const CommandResult bad = run({"inspect", "-f", "{{.Nope}}", "app"});
  EXPECT_EQ(bad.status, 1);
  EXPECT_TRUE(
      bad.err.starts_with("error: template: no field \"Nope\"; fields here: Architecture, "))
      << bad.err;
}

TEST_F(ImageCommands, SaveAndLoadKeepEveryName) {
  const std::string one = makeImage("one");
  const std::string two = makeImage("two:2");
  outOf({"tag", "one", "me/one:x"});
  for (const std::string format : {"docker-archive", "oci-archive", "oci-dir"}) {
    const std::string file = folder_.path() + "/" + format;
    EXPECT_EQ(outOf({"save", "--format", format, "-o", file, "one", "two:2", "me/one:x"}), "");
    const ScopedVariable other{"IMG_ROOT", (folder_.path() + "/" + format + "-store").c_str()};
    const std::string out = outOf({"load", "-i", file});
    for (const char* name : {"one:latest", "two:2", "me/one:x"}) {
      EXPECT_NE(out.find("Loaded image: " + std::string{name} + "\n"), std::string::npos) << out;
    }
    EXPECT_EQ(outOf({"inspect", "-f", "{{.Id}}", "one", "me/one:x", "two:2"}),
              one + "\n" + one + "\n" + two + "\n");
  }
}

TEST_F(ImageCommands, SaveOfAnIdHasNoName) {
  const std::string id = makeImage("one");
  const std::string file = folder_.path() + "/x.tar";
  outOf({"save", "-o", file, id});
  const ScopedVariable other{"IMG_ROOT", (folder_.path() + "/other").c_str()};
  EXPECT_EQ(outOf({"load", "-q", "-i", file}), "Loaded image ID: " + id + "\n");
}

TEST_F(ImageCommands, SaveLeavesTheOldFileWhenItFails) {
  makeImage("one");
  const std::string file = folder_.path() + "/x.tar";
  fs::replaceFile(AT_FDCWD, file, "old", 0644, fs::Sync::none);
  EXPECT_EQ(run({"save", "-o", file, "one", "nope"}).status, 1);
  EXPECT_EQ(fs::readFile(AT_FDCWD, file), "old");
  EXPECT_EQ(run({"save", "--format", "zip", "one"}).status, 125);
  EXPECT_EQ(run({"save", "--format", "oci-dir", "one"}).status, 1);
  const CommandResult noFolder = run({"save", "-o", folder_.path() + "/no/x.tar", "one"});
  EXPECT_EQ(noFolder.status, 1);
}

TEST_F(ImageCommands, LoadSaysWhichNameMoved) {
  const std::string before = makeImage("app", 1'000'000'000);
  const std::string file = folder_.path() + "/x.tar";
  outOf({"save", "-o", file, "app"});
  const std::string now = makeImage("app", 1'100'000'000);
  const CommandResult result = run({"load", "-i", file});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "Loaded image: app:latest\n");
  EXPECT_NE(result.err.find("app:latest was " + now + " and is now " + before), std::string::npos)
      << result.err;
}

TEST_F(ImageCommands, LoadRefusesWhatIsNoArchive) {
  const std::string file = folder_.path() + "/x.tar";
  fs::replaceFile(AT_FDCWD, file, "not a tar at all", 0644, fs::Sync::none);
  EXPECT_EQ(run({"load", "-i", file}).status, 1);
  EXPECT_EQ(run({"load", "-i", folder_.path() + "/nothing"}).status, 1);
  EXPECT_EQ(run({"load", file}).status, 125);
  EXPECT_EQ(outOf({"images", "-q"}), "");
}

TEST_F(ImageCommands, ImportRefusesWhatItCannotDo) {
  const std::string tar = makeTar("x", 1);
  EXPECT_EQ(run({"import", "-c", "RUN x", tar}).status, 125);
  EXPECT_EQ(run({"import", "--platform", "amd64", tar}).status, 125);
  EXPECT_EQ(run({"import", tar, "UPPER/x/Y"}).status, 125);
  EXPECT_EQ(run({"import", "https://example.com/x.tar"}).status, 1);
  const ScopedVariable epoch{"SOURCE_DATE_EPOCH", "soon"};
  EXPECT_EQ(run({"import", tar}).status, 125);
}

TEST_F(ImageCommands, ImportIsTheSameForTheSameTar) {
  const std::string first = makeImage("app");
  const ScopedVariable other{"IMG_ROOT", (folder_.path() + "/other").c_str()};
  EXPECT_EQ(makeImage("app"), first);
}

TEST_F(ImageCommands, VolumesComeAndGo) {
  EXPECT_EQ(outOf({"volume", "create", "-l", "a=b", "data"}), "data\n");
  EXPECT_EQ(outOf({"volume", "create", "data"}), "data\n");
  EXPECT_EQ(outOf({"volume", "create"}).size(), 65U);
  EXPECT_EQ(outOf({"volume", "ls", "-f", "name=dat"}), "DRIVER   VOLUME NAME\nlocal    data\n");
  EXPECT_EQ(outOf({"volume", "ls", "-q", "-f", "label=a=b"}), "data\n");
  const Json volume = Json::parse(outOf({"volume", "inspect", "data"})).at(0);
  EXPECT_EQ(volume.at("Name"), "data");
  EXPECT_EQ(volume.at("Labels"), Json::parse(R"({"a": "b"})"));
  EXPECT_EQ(outOf({"inspect", "-f", "{{.Mountpoint}}", "data"}),
            volume.at("Mountpoint").get<std::string>() + "\n");
  EXPECT_EQ(outOf({"volume", "rm", "data"}), "data\n");
  EXPECT_EQ(run({"volume", "rm", "data"}).status, 1);
  EXPECT_EQ(run({"volume", "rm", "-f", "data"}).status, 0);
  EXPECT_EQ(run({"volume", "create", "--driver", "nfs", "x"}).status, 1);
}

TEST_F(ImageCommands, VolumesInUseStay) {
  makeImage("app");
  outOf({"volume", "create", "data"});
  const store::Layout store = layout();
  store::ContainerConfig config;
  config.name = "web";
  config.imageId = store::Images{store}.get("app").id;
  store::MountRecord mount;
  mount.type = "volume";
  mount.name = "data";
  mount.destination = "/data";
  config.mounts.push_back(mount);
  (void)store::Containers{store}.create(config);
  const CommandResult refused = run({"volume", "rm", "-f", "data"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("mounted by web"), std::string::npos) << refused.err;
  EXPECT_EQ(outOf({"volume", "ls", "-q", "-f", "dangling=false"}), "data\n");
  EXPECT_EQ(outOf({"volume", "ls", "-q", "-f", "dangling=true"}), "");
}

TEST_F(ImageCommands, InfoAndVersionGiveFacts) {
  const std::string conf = folder_.path() + "/registries.conf";
  const ScopedVariable confVariable{"CONTAINERS_REGISTRIES_CONF", conf.c_str()};
  const std::string auth = folder_.path() + "/auth.json";
  const ScopedVariable authVariable{"REGISTRY_AUTH_FILE", auth.c_str()};
  fs::replaceFile(AT_FDCWD, conf,
                  "[[registry]]\nprefix = \"docker.io\"\n[[registry.mirror]]\n"
                  "location = \"mirror.example\"\n[[registry]]\nprefix = \"bad.example\"\n"
                  "blocked = true\n",
                  0644, fs::Sync::none);
  const Json info = Json::parse(outOf({"info", "--format", "json"}));
  EXPECT_EQ(info.at("Store"), folder_.path() + "/store");
  EXPECT_EQ(info.at("Images"), 0);
  EXPECT_EQ(info.at("CredentialsFile"), folder_.path() + "/auth.json");
  EXPECT_EQ(info.at("Registries"), Json::array({"docker.io (mirror mirror.example, " + conf + ":1)",
                                                "bad.example (blocked, " + conf + ":5)"}));
  EXPECT_EQ(outOf({"version", "--format", "{{.Version}}"}), IMG_VERSION "\n");
  EXPECT_NE(outOf({"version"}).find("OS/Arch: linux/"), std::string::npos);
}

}  // namespace
}  // namespace img::cli
