#include "cli/mount_options.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::cli {
namespace {

std::string describe(const MountRequest& request) {
  const char* types[] = {"bind", "volume", "tmpfs", "image"};
  std::string out = types[static_cast<int>(request.type)];
  out += " " + request.source + " -> " + request.destination;
  if (request.readOnly) out += " ro";
  if (request.noCopy) out += " nocopy";
  if (request.noExec) out += " noexec";
  if (request.noSuid) out += " nosuid";
  if (request.noDev) out += " nodev";
  if (!request.propagation.empty()) out += " " + request.propagation;
  if (!request.subpath.empty()) out += " " + request.subpath;
  if (request.nonRecursive) out += " nonrecursive";
  if (request.chown) out += " chown";
  if (request.overlay) out += " overlay";
  if (!request.tmpfsOptions.empty()) out += " [" + request.tmpfsOptions + "]";
  return out;
}

struct Case {
  std::string_view name, option, spec, expected;  // expected starting with '!': part of the error
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.option << " " << c.spec;
}

constexpr Case kCases[] = {
    {"BindPath", "v", "/src:/dst", "bind /src -> /dst"},
    {"BindRelative", "v", "./a/b:/dst:ro", "bind ./a/b -> /dst ro"},
    {"BindHome", "v", "~/a:/dst", "bind ~/a -> /dst"},
    {"NamedVolume", "v", "data:/dst", "volume data -> /dst"},
    {"RelativeWithoutDotIsAVolume", "v", "relative:/x", "volume relative -> /x"},
    {"AnonymousVolume", "v", "/dst", "volume  -> /dst"},
    {"ManyOptions", "v", "data:/dst:ro,nocopy,noexec,nosuid,nodev,z,cached",
     "volume data -> /dst ro nocopy noexec nosuid nodev"},
    {"LastOptionWins", "v", "data:/dst:ro,rw", "volume data -> /dst"},
    {"DestinationIsCleaned", "v", "/a://b/./c/../d/", "bind /a -> /b/d"},
    {"RelativeDestination", "v", "/a:b", "!is not an absolute path"},
    {"RootDestination", "v", "/a:/..", "!cannot be \"/\""},
    {"FourParts", "v", "/a:/b:ro:x", "!more than three parts"},
    {"UnknownOption", "v", "/a:/b:fast", "!unknown option \"fast\""},
    {"GivenToTheUser", "v", "/a:/b:U", "bind /a -> /b chown"},
    {"ThrowAwayLayer", "v", "/a:/b:O", "bind /a -> /b overlay"},
    {"Propagation", "v", "/a:/b:rslave", "bind /a -> /b rslave"},
    {"MountPropagation", "m", "type=bind,src=/a,dst=/b,bind-propagation=shared",
     "bind /a -> /b shared"},
    {"MountBadPropagation", "m", "type=bind,src=/a,dst=/b,bind-propagation=x",
     "!unknown propagation"},
    {"MountPropagationOfAVolume", "m", "type=volume,src=a,dst=/b,bind-propagation=slave",
     "!are for bind mounts"},
    {"MountNonRecursive", "m", "type=bind,src=/a,dst=/b,bind-nonrecursive,chown=true",
     "bind /a -> /b nonrecursive chown"},
    {"MountSubpath", "m", "type=volume,src=a,dst=/b,volume-subpath=c/d", "volume a -> /b c/d"},
    {"MountSubpathOutside", "m", "type=volume,src=a,dst=/b,volume-subpath=../x",
     "!relative path without .."},
    {"MountSubpathOfABind", "m", "type=bind,src=/a,dst=/b,volume-subpath=x",
     "!only a volume or an image"},
    {"MountImage", "m", "type=image,src=busybox,dst=/b", "image busybox -> /b"},
    {"MountImageForWriting", "m", "type=image,src=busybox,dst=/b,rw=true",
     "image busybox -> /b overlay"},
    {"MountImageWithoutName", "m", "type=image,dst=/b", "!the image is missing"},
    {"BadVolumeName", "v", "a/b:/dst", "!neither a path nor a volume name"},
    {"EmptySource", "v", ":/dst", "!the source is empty"},
    {"MountBind", "m", "type=bind,src=/a,dst=/b,readonly", "bind /a -> /b ro"},
    {"MountVolumeIsTheDefault", "m", "source=data,target=/b", "volume data -> /b"},
    {"MountReadonlyFalse", "m", "type=bind,source=/a,destination=/b,ro=false", "bind /a -> /b"},
    {"MountQuotedComma", "m", "type=bind,\"src=/a,b\",dst=/c", "bind /a,b -> /c"},
    {"MountTmpfs", "m", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700",
     "tmpfs  -> /t [size=1048576,mode=700]"},
    {"MountNoCopy", "m", "type=volume,src=d,dst=/b,volume-nocopy", "volume d -> /b nocopy"},
    {"MountWithoutDestination", "m", "type=bind,src=/a", "!the destination is missing"},
    {"MountBindWithoutSource", "m", "type=bind,dst=/a", "!needs a source"},
    {"MountUnknownKey", "m", "type=bind,src=/a,dst=/b,colour=red", "!unknown key \"colour\""},
    {"MountUnknownType", "m", "type=nfs,dst=/b", "!unknown mount type \"nfs\""},
    {"MountTmpfsWithSource", "m", "type=tmpfs,src=/a,dst=/b", "!has no source"},
    {"TmpfsDefaults", "t", "/run", "tmpfs  -> /run noexec nosuid nodev"},
    {"TmpfsOptions", "t", "/run:size=64m,mode=1777,exec",
     "tmpfs  -> /run nosuid nodev [size=67108864,mode=1777]"},
    {"TmpfsShareOfMemory", "t", "/run:size=50%", "tmpfs  -> /run noexec nosuid nodev [size=50%]"},
    {"TmpfsUnknown", "t", "/run:frob=1", "!unknown option \"frob=1\""},
    {"TmpfsBadMode", "t", "/run:mode=9", "!unknown option"},
};

class MountOptions : public testing::TestWithParam<Case> {};

TEST_P(MountOptions, MeanWhatTheySay) {
  const Case& c = GetParam();
  const std::string spec{c.spec};
  std::string got;
  try {
    got = describe(c.option == "v"   ? parseVolume(spec)
                   : c.option == "m" ? parseMount(spec)
                                     : parseTmpfs(spec));
  } catch (const Error& error) {
    ASSERT_TRUE(c.expected.starts_with('!')) << error.cause();
    EXPECT_NE(error.cause().find(c.expected.substr(1)), std::string::npos) << error.cause();
    return;
  }
  EXPECT_EQ(got, c.expected);
}

INSTANTIATE_TEST_SUITE_P(Specs, MountOptions, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(MountOrder, ParentsComeFirstAndTheLastRequestForAPlaceWins) {
  const auto ordered = orderMounts(
      {parseVolume("a:/x/y"), parseVolume("b:/x"), parseVolume("c:/z"), parseVolume("d:/x/y")});
  std::vector<std::string> sources;
  for (const MountRequest& request : ordered) sources.push_back(request.source);
  EXPECT_EQ(sources, (std::vector<std::string>{"b", "c", "d"}));
}

}  // namespace
}  // namespace img::cli
