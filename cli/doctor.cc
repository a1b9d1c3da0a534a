// `img doctor`: can builds and containers work here, and what would make them work.
#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/examine.h"
#include "cli/options.h"

namespace img::cli {
namespace {

// A pod with a user namespace of its own (hostUsers: false): its CAP_SYS_ADMIN is worth nothing
// outside. The store cannot lie on the container's own overlay.
constexpr std::string_view kPod = R"(spec:
  hostUsers: false
  containers:
    - securityContext:
        capabilities:
          add: [SYS_ADMIN]
        procMount: Unmasked
        appArmorProfile:
          type: Unconfined
        seccompProfile:
          type: Unconfined
      volumeMounts:
        - name: img
          mountPath: /var/lib/img
  volumes:
    - name: img
      emptyDir: {}
)";

int runDoctor(Context& context, const std::vector<std::string>& args) {
  std::string format;
  bool forKubernetes = false;
  Options options{context, "", "Try what builds and containers need, and name what is missing"};
  options.text("-f,--format", format, "FORMAT", "json")
      .flag("--k8s", forKubernetes, "Print what a Kubernetes pod needs")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  if (!format.empty() && format != "json") {
    throw Error::make(Kind::usage, "invalid value {} for --format: expected json",
                      text::quote(format));
  }
  if (forKubernetes) {
    context.print(kPod);
    return 0;
  }
  const std::vector<Finding> findings = examineMachine(context.storeRoot());
  context.print(format.empty() ? findingsText(findings) : findingsJson(findings));
  return canWork(findings) ? 0 : 1;
}

}  // namespace

void addDoctorCommand(CommandTable& table) {
  table.add({"doctor", Group::system, "Try what builds and containers need", runDoctor});
}

}  // namespace img::cli
