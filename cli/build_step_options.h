// Options of img build for its RUN steps: secrets, agents, limits, rights, devices, volumes, name
// servers (cli.md 9.1, dockerfile.md 9). Values are checked, and files of secrets read, before the
// build begins.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "builder/request.h"
#include "cli/options.h"
#include "store/containers.h"

namespace img::cli {

struct StepOptionTable {
  std::vector<std::string> secrets, agents, resources, ulimits, volumes, devices;
  std::vector<std::string> capAdd, capDrop, securityOpt, dns, dnsSearch, dnsOptions;
  std::string secretGuard = "error", cgroupParent;
  std::optional<long long> shmSize;
  store::LimitRecord limits;

  void addTo(Options& options);
  // Warnings go to the context's notices.
  void apply(Context& context, builder::Request& request);

 private:
  void applySecrets(builder::StepOptions& step) const;
  void applyLimits(builder::StepOptions& step);
  void applyRights(builder::StepOptions& step) const;
};

// One value of --secret: id=ID[,src=FILE|env=VAR][,type=file|env].
builder::Secret parseSecret(const std::string& text);
// One value of --ssh: default | ID | ID=SOCKET | ID=KEY[,KEY].
builder::SshAgentSource parseSshAgent(const std::string& text);
// One value of -v: HOST:CTR[:ro|O].
builder::HostMount parseHostMount(const std::string& text);
// One value of --resource: memory=512m, cpu-quota=..., into the limits.
void takeResource(store::LimitRecord& limits, const std::string& text);

}  // namespace img::cli
