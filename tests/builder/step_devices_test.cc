#include "builder/step_devices.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include "tests/builder/support.h"

namespace img::builder {
namespace {

constexpr char kFile[] = R"({
  "cdiVersion": "0.6.0", "kind": "vendor.com/class",
  "containerEdits": {"env": ["ALL=1"]},
  "devices": [
    {"name": "zero", "containerEdits": {
      "env": ["ZERO=1"], "additionalGids": [44],
      "deviceNodes": [{"path": "/dev/zero2", "hostPath": "/dev/zero", "fileMode": 384, "uid": 5},
                      {"path": "/dev/made", "type": "c", "major": 1, "minor": 7}]}},
    {"name": "hooked", "containerEdits": {"hooks": [{"path": "/bin/true"}]}},
    {"name": "mounted", "containerEdits": {
      "mounts": [{"hostPath": "/", "containerPath": "/host", "options": ["ro", "nosuid"]}]}}
  ]})";

class Devices : public testing::Test {
 protected:
  Devices() { writeFile(temp.fd(), "vendor.json", kFile); }
  void add(const std::string& name, bool isRequired = true) {
    addCdiDevice(spec, {name, isRequired}, {"/no/such/folder", temp.path()});
  }
  Error failure(const std::string& name) {
    try {
      add(name);
    } catch (const Error& error) {
      return error;
    }
    return Error{Kind::internal, "nothing was thrown"};
  }
  fs::TempDir temp;
  runtime::Spec spec;
};

TEST_F(Devices, AddsTheNodesVariablesAndGroupsOfACdiDevice) {
  add("vendor.com/class=zero");
  EXPECT_EQ(spec.env, (std::vector<std::string>{"ALL=1", "ZERO=1"}));
  EXPECT_EQ(spec.groupAdd, std::vector<std::string>{"44"});
  ASSERT_EQ(spec.devices.size(), 2U);
  EXPECT_EQ(spec.devices[0].path, "/dev/zero2");
  EXPECT_EQ(spec.devices[0].device, makedev(1, 5));
  EXPECT_EQ(spec.devices[0].type, S_IFCHR | 0600U);
  EXPECT_EQ(spec.devices[0].uid, 5U);
  EXPECT_EQ(spec.devices[1].device, makedev(1, 7));
}

TEST_F(Devices, TakesTheFirstDeviceOfAKind) {
  add("vendor.com/class");
  EXPECT_EQ(spec.devices.size(), 2U);
}

TEST_F(Devices, AddsMounts) {
  add("vendor.com/class=mounted");
  ASSERT_EQ(spec.mounts.size(), 1U);
  EXPECT_EQ(spec.mounts[0].target, "/host");
  EXPECT_TRUE(spec.mounts[0].readOnly);
}

TEST_F(Devices, IgnoresAMissingOneUnlessItIsRequired) {
  add("vendor.com/class=none", false);
  EXPECT_TRUE(spec.devices.empty());
  EXPECT_EQ(failure("vendor.com/class=none").cause(),
            "no CDI file describes the device \"vendor.com/class=none\"");
  writeFile(temp.fd(), "other.yaml", "kind: x\n");
  EXPECT_NE(failure("x.y/z=a").hints().front().find("other.yaml is YAML"), std::string::npos);
}

TEST_F(Devices, SaysWhatItCannotDo) {
  EXPECT_EQ(failure("vendor.com/class=hooked").kind(), Kind::unsupported);
  writeFile(temp.fd(), "vendor.json", R"({"kind": "vendor.com/class", "devices": 5})");
  EXPECT_EQ(failure("vendor.com/class=zero").kind(), Kind::corrupt);
}

TEST_F(Devices, AddsNodesOfTheHost) {
  addHostDevice(spec, "/dev/null", {});
  addHostDevice(spec, "/dev/zero:/dev/mine:r", {});
  ASSERT_EQ(spec.devices.size(), 2U);
  EXPECT_EQ(spec.devices[0].path, "/dev/null");
  EXPECT_EQ(spec.devices[1].path, "/dev/mine");
  EXPECT_EQ(spec.devices[1].device, makedev(1, 5));
  EXPECT_THROW(addHostDevice(spec, "/dev/no-such-device", {}), Error);
  EXPECT_THROW(addHostDevice(spec, "/etc/passwd", {}), Error);
}

struct Text {
  std::string_view name, text, device;
  bool isRequired;
};
void PrintTo(const Text& text, std::ostream* out) {
  *out << text.text;
}
constexpr Text kTexts[] = {
    {"Bare", "vendor.com/class=dev", "vendor.com/class=dev", false},
    {"Named", "name=vendor.com/class=dev,required=false", "vendor.com/class=dev", false},
    {"Required", "vendor.com/class=dev,required", "vendor.com/class=dev", true},
    {"RequiredByValue", "required=true,name=a/b", "a/b", true},
};
class DeviceTexts : public testing::TestWithParam<Text> {};
TEST_P(DeviceTexts, AreRead) {
  const DeviceRequest request = parseDeviceRequest(std::string{GetParam().text});
  EXPECT_EQ(request.name, GetParam().device);
  EXPECT_EQ(request.isRequired, GetParam().isRequired);
}
INSTANTIATE_TEST_SUITE_P(Forms, DeviceTexts, testing::ValuesIn(kTexts),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(DeviceRequest, RefusesWhatIsNoDevice) {
  for (const char* text : {"", "required", "a/b,c/d", "a/b,required=maybe"})
    EXPECT_THROW(parseDeviceRequest(text), Error) << text;
}

}  // namespace
}  // namespace img::builder
