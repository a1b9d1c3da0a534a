#include "cli/security_options.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/fs.h"
#include "cli/container_spec.h"
#include "runtime/rootfs.h"
#include "runtime/security.h"

namespace img::cli::test {
namespace {

runtime::Spec specOf(const std::vector<std::string>& options) {
  store::ContainerConfig config;
  config.securityOpt = options;
  runtime::Spec spec;
  applyRights(config, spec);
  return spec;
}

std::string failureOf(const std::vector<std::string>& options) {
  try {
    recordedSecurityOptions(options, 0);
  } catch (const Error& error) {
    return error.cause();
  }
  return "(accepted)";
}

TEST(SecurityOptions, HaveThreeRowsOfDefaults) {
  EXPECT_EQ(specOf({}).capabilities, 0x800405fbU);
  EXPECT_FALSE(specOf({}).noNewPrivs);
  EXPECT_EQ(specOf({"confinement=strict"}).capabilities, 0x800405fbU);
  EXPECT_TRUE(specOf({"confinement=strict"}).noNewPrivs);
  EXPECT_EQ(specOf({"confinement=docker"}).capabilities, 0xa80425fbU);
  EXPECT_FALSE(specOf({"confinement=docker"}).noNewPrivs);
  EXPECT_EQ(findConfinement("strict")->pids, 4096);
  EXPECT_EQ(findConfinement("loose"), nullptr);
}

TEST(SecurityOptions, SwitchNoNewPrivilegesInAnySpelling) {
  for (const char* on : {"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"})
    EXPECT_TRUE(specOf({on}).noNewPrivs) << on;
  EXPECT_FALSE(specOf({"confinement=strict", "no-new-privileges=false"}).noNewPrivs);
  EXPECT_FALSE(specOf({"no-new-privileges:false", "confinement=strict"}).noNewPrivs);
}

TEST(SecurityOptions, ChooseTheFilter) {
  EXPECT_EQ(specOf({}).seccomp, runtime::Seccomp::standard);
  EXPECT_EQ(specOf({"seccomp=default"}).seccomp, runtime::Seccomp::standard);
  EXPECT_EQ(specOf({"seccomp=unconfined"}).seccomp, runtime::Seccomp::unconfined);
  EXPECT_EQ(specOf({"seccomp:unconfined"}).seccomp, runtime::Seccomp::unconfined);
  const runtime::Spec custom = specOf({R"(seccomp={"defaultAction": "SCMP_ACT_ALLOW"})"});
  EXPECT_EQ(custom.seccomp, runtime::Seccomp::profile);
  EXPECT_FALSE(custom.seccompFilter.empty());
  EXPECT_TRUE(specOf({"abi32=off"}).only64Bit);
  EXPECT_FALSE(specOf({"abi32=on"}).only64Bit);
}

TEST(SecurityOptions, ListTheMaskedAndReadOnlyPaths) {
  const auto has = [](const std::vector<std::string>& paths, const std::string& path) {
    return std::find(paths.begin(), paths.end(), path) != paths.end();
  };
  const runtime::Spec standard = specOf({});
  EXPECT_TRUE(has(runtime::maskedPaths(standard), "/proc/kcore"));
  EXPECT_TRUE(has(runtime::maskedPaths(standard), "/sys/firmware"));
  EXPECT_TRUE(has(runtime::readOnlyPaths(standard), "/proc/sys"));

  const runtime::Spec own = specOf({"mask=/etc/secret:/srv", "unmask=/proc/kcore:/proc/sys"});
  EXPECT_TRUE(has(runtime::maskedPaths(own), "/etc/secret"));
  EXPECT_TRUE(has(runtime::maskedPaths(own), "/srv"));
  EXPECT_FALSE(has(runtime::maskedPaths(own), "/proc/kcore"));
  EXPECT_TRUE(has(runtime::maskedPaths(own), "/proc/keys"));
  EXPECT_FALSE(has(runtime::readOnlyPaths(own), "/proc/sys"));

  const runtime::Spec pattern = specOf({"unmask=/proc/*"});
  EXPECT_FALSE(has(runtime::maskedPaths(pattern), "/proc/keys"));
  EXPECT_TRUE(has(runtime::maskedPaths(pattern), "/sys/firmware"));

  for (const char* all : {"unmask=ALL", "unmask=all", "systempaths=unconfined"}) {
    EXPECT_TRUE(runtime::maskedPaths(specOf({all})).empty()) << all;
    EXPECT_TRUE(runtime::readOnlyPaths(specOf({all})).empty()) << all;
  }
}

TEST(SecurityOptions, OfAPrivilegedContainerLeaveEverythingOpen) {
  store::ContainerConfig config;
  config.privileged = true;
  config.securityOpt = {"apparmor=some-profile", "seccomp={}"};
  runtime::Spec spec;
  applyRights(config, spec);
  EXPECT_EQ(spec.capabilities, runtime::parseCapability("ALL"));
  EXPECT_EQ(spec.seccomp, runtime::Seccomp::unconfined);
  EXPECT_EQ(spec.appArmor, "");
  EXPECT_TRUE(runtime::maskedPaths(spec).empty());
}

TEST(SecurityOptions, RecordTheTextOfAProfile) {
  const fs::TempDir dir;
  fs::replaceFile(dir.fd(), "profile.json", "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n", 0644,
                  fs::Sync::none);
  const std::vector<std::string> recorded = recordedSecurityOptions(
      {"no-new-privileges", "seccomp=" + dir.path() + "/profile.json", "label=disable"}, 0);
  EXPECT_EQ(recorded, (std::vector<std::string>{"no-new-privileges",
                                                R"(seccomp={"defaultAction":"SCMP_ACT_ALLOW"})",
                                                "label=disable"}));
  EXPECT_EQ(recordedSecurityOptions(recorded, 0), recorded) << "they are read again at each start";
}

TEST(SecurityOptions, NameAProfileThatIsWrong) {
  const fs::TempDir dir;
  fs::replaceFile(dir.fd(), "p.json", R"({"defaultAction": "YES"})", 0644, fs::Sync::none);
  EXPECT_NE(failureOf({"seccomp=" + dir.path() + "/p.json"}).find("/p.json: the seccomp profile"),
            std::string::npos);
  EXPECT_NE(failureOf({"seccomp=/no/such/file"}).find("--security-opt seccomp: open /no/such/file"),
            std::string::npos);
}

TEST(SecurityOptions, RefuseWhatTheyDoNotKnow) {
  EXPECT_EQ(failureOf({"frobnicate"}), "--security-opt: unknown option \"frobnicate\"");
  EXPECT_EQ(failureOf({"confinement=none"}), "--security-opt confinement: \"none\" is not a value");
  EXPECT_EQ(failureOf({"no-new-privileges=maybe"}),
            "--security-opt no-new-privileges: \"maybe\" is not a value");
  EXPECT_EQ(failureOf({"mask=relative"}),
            "--security-opt mask: \"relative\" is not an absolute path");
  EXPECT_EQ(failureOf({"mask=ALL"}), "--security-opt mask: \"ALL\" is not an absolute path");
  EXPECT_EQ(failureOf({"systempaths=all"}), "--security-opt systempaths: \"all\" is not a value");
  EXPECT_EQ(failureOf({"abi32=never"}), "--security-opt abi32: \"never\" is not a value");
  EXPECT_EQ(failureOf({"seccomp="}), "--security-opt seccomp: \"\" is not a value");
  EXPECT_EQ(failureOf({"apparmor=unconfined", "label=type:x", "label:disable"}), "(accepted)");
}

TEST(SecurityOptions, NeedAppArmorForAProfileOfIt) {
  const auto enabled = fs::tryReadFile(AT_FDCWD, "/sys/module/apparmor/parameters/enabled");
  const bool isOn = enabled && enabled->starts_with('Y');
  EXPECT_EQ(failureOf({"apparmor=img-no-such-profile"}),
            isOn ? "the AppArmor profile \"img-no-such-profile\" is not loaded"
                 : "cannot run under the AppArmor profile \"img-no-such-profile\"");
}

}  // namespace
}  // namespace img::cli::test
