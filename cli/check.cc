#include "cli/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/text.h"
#include "builder/checks.h"
#include "builder/outline.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/values.h"
#include "parser/dockerfile.h"
#include "store/images.h"

namespace img::cli {
namespace {

// Keys in the order in which they are documented.
using OrderedJson = nlohmann::ordered_json;

std::string dump(const OrderedJson& value) {
  return value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

struct Call {
  std::string what = "build";  // build, check, outline, targets
  bool isJson = false;
  bool isExtended = false;
};

bool readFormat(const std::string& value, std::string_view option) {
  if (value != "text" && value != "json")
    throw Error::make(Kind::usage, "{} {}: use text or json", option, text::quote(value));
  return value == "json";
}

Call readCall(const CallOptions& options) {
  Call call;
  if (!options.call.empty()) {
    const auto fields = parseCsvFields(options.call, "--call");
    call.what = fields.front().first;
    for (size_t i = 1; i < fields.size(); ++i) {
      if (fields[i].first != "format")
        throw Error::make(Kind::usage, "--call: unknown option {}", text::quote(fields[i].first));
      call.isJson = readFormat(fields[i].second, "--call format");
    }
    constexpr std::array<std::string_view, 4> kCalls{"build", "check", "outline", "targets"};
    if (std::find(kCalls.begin(), kCalls.end(), call.what) == kCalls.end()) {
      throw Error::make(Kind::usage, "--call {}: use build, check, outline or targets",
                        text::quote(call.what));
    }
  }
  if (!options.check.empty()) {
    if (options.check != "basic" && options.check != "extended")
      throw Error::make(Kind::usage, "--check {}: use basic or extended",
                        text::quote(options.check));
    call.what = "check";
    call.isExtended = options.check == "extended";
  }
  if (call.what != "build" && !options.format.empty())
    call.isJson = readFormat(options.format, "--format");
  return call;
}

// A store that cannot be opened holds no base image; checks go without.
std::optional<store::Image> findImage(Context& context, const std::string& name) {
  try {
    return store::Images{context.store()}.find(name);
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string renderFindings(const Context& context, const parser::Dockerfile& file,
                           const std::vector<builder::Finding>& findings, bool isJson) {
  std::string out;
  if (isJson) {
    for (const builder::Finding& finding : findings) {
      out += dump(
          {{"rule", finding.rule}, {"line", finding.lines.first}, {"message", finding.message}});
    }
    return out;
  }
  ReportStyle style;
  style.isWarning = true;
  style.color = context.useColor(context.out());
  for (const builder::Finding& finding : findings)
    out += renderReport(builder::warningOf(file, finding), style);
  return out + fmt::format("{} finding{} in {}\n", findings.size(), findings.size() == 1 ? "" : "s",
                           printable(file.fileName));
}

int check(Context& context, const parser::Dockerfile& file, const builder::Request& request,
          const Call& call) {
  builder::CheckOptions options;
  options.allStages = true;
  options.extended = call.isExtended;
  const builder::CheckReport report = builder::runChecks(
      file, request, options, [&](const std::string& name) { return findImage(context, name); });
  context.print(renderFindings(context, file, report.findings, call.isJson));
  if (report.error) context.report(*report.error);
  return report.error || !report.findings.empty() ? 1 : 0;
}

int showTargets(Context& context, const parser::Dockerfile& file, const Call& call) {
  const std::vector<builder::TargetRow> targets = builder::listTargets(file);
  if (call.isJson) {
    OrderedJson rows = OrderedJson::array();
    for (const builder::TargetRow& target : targets) {
      OrderedJson row = {{"name", target.name}};
      if (target.isDefault) row["default"] = true;
      if (!target.description.empty()) row["description"] = target.description;
      row["base"] = target.base;
      rows.push_back(std::move(row));
    }
    context.print(dump({{"targets", std::move(rows)}}));
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"TARGET", "DESCRIPTION"}};
  for (const builder::TargetRow& target : targets)
    rows.push_back({target.name + (target.isDefault ? " (default)" : ""), target.description});
  context.print(layoutTable(rows));
  return 0;
}

OrderedJson outlineJson(const builder::TargetOutline& outline) {
  OrderedJson args = OrderedJson::array();
  for (const auto& arg : outline.args) {
    OrderedJson row = {{"name", arg.name}};
    if (!arg.description.empty()) row["description"] = arg.description;
    if (arg.value) row["value"] = *arg.value;
    row["line"] = arg.line;
    args.push_back(std::move(row));
  }
  OrderedJson secrets = OrderedJson::array();
  for (const auto& secret : outline.secrets) {
    secrets.push_back({{"name", secret.id}, {"required", secret.required}, {"line", secret.line}});
  }
  OrderedJson object = {{"name", outline.name}};
  if (!outline.description.empty()) object["description"] = outline.description;
  object["args"] = std::move(args);
  object["secrets"] = std::move(secrets);
  return object;
}

int showOutline(Context& context, const parser::Dockerfile& file, const builder::Request& request,
                const Call& call) {
  const builder::TargetOutline outline = builder::outlineTarget(file, request);
  if (call.isJson) {
    context.print(dump(outlineJson(outline)));
    return 0;
  }
  std::string out = "TARGET: " + printable(outline.name) + "\n";
  if (!outline.description.empty()) out += "DESCRIPTION: " + printable(outline.description) + "\n";
  if (!outline.args.empty()) {
    std::vector<std::vector<std::string>> rows{{"BUILD ARG", "VALUE", "DESCRIPTION"}};
    for (const auto& arg : outline.args)
      rows.push_back({arg.name, arg.value.value_or(""), arg.description});
    out += "\n" + layoutTable(rows);
  }
  if (!outline.secrets.empty()) {
    std::vector<std::vector<std::string>> rows{{"SECRET", "REQUIRED"}};
    for (const auto& secret : outline.secrets)
      rows.push_back({secret.id, secret.required ? "true" : "false"});
    out += "\n" + layoutTable(rows);
  }
  context.print(out);
  return 0;
}

}  // namespace

bool isCall(const CallOptions& options) {
  return readCall(options).what != "build";
}

int runCall(Context& context, const builder::Request& request, const CallOptions& options) {
  const Call call = readCall(options);
  parser::Dockerfile file;
  try {
    file = parser::parseDockerfile(request.dockerfileText, request.dockerfileName);
  } catch (const Error& error) {
    // One line, as for --print=ast (X3).
    const int line = error.position() ? error.position()->line : 1;
    context.notice(fmt::format("{}:{}: {}\n", request.dockerfileName, line,
                               text::escape(error.cause(), 1000)));
    return 1;
  }
  if (call.what == "targets") return showTargets(context, file, call);
  if (call.what == "outline") return showOutline(context, file, request, call);
  return check(context, file, request, call);
}

}  // namespace img::cli
