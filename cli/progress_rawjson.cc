#include "cli/progress_rawjson.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/text.h"

namespace img::cli {
namespace {

std::string timeText(std::int64_t wallNs) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  return text::formatTime(wallNs / kSecond, static_cast<long>(wallNs % kSecond));
}

std::string vertexName(const StepView& step) {
  return "[" + step.label.stage + "] " + step.label.text;
}

// A name for the step within this build; the cache key is not known to displays.
std::string vertexDigest(const StepView& step) {
  return Digest::of(std::to_string(step.label.number) + " " + vertexName(step)).str();
}

}  // namespace

void RawJsonProgress::send(const char* kind, const nlohmann::json& item) {
  host().write(dumpJson(Json{{kind, Json::array({item})}}) + "\n");
}

void RawJsonProgress::vertex(const StepView& step) {
  const std::string digest = vertexDigest(step);
  if (inputs_.count(step.label.number) == 0) {
    std::string& head = heads_[step.label.stageName];
    inputs_[step.label.number] = head;
    head = digest;
  }
  Json item = {{"digest", digest}, {"name", vertexName(step)}};
  if (const std::string& input = inputs_.at(step.label.number); !input.empty()) {
    item["inputs"] = Json::array({input});
  }
  item["started"] = timeText(step.startWallNs);
  if (step.isOver()) item["completed"] = timeText(step.endWallNs);
  if (step.state == StepView::State::cached) item["cached"] = true;
  if (!step.error.empty()) item["error"] = step.error;
  Json ours = {{"step", step.label.number}, {"line", step.label.line}};
  if (!step.reason.empty()) ours["reason"] = step.reason;
  if (step.layer) {
    ours["layer"] = step.layer->str();
    ours["bytes"] = step.bytes;
  }
  item["img"] = std::move(ours);
  send("vertexes", item);
}

void RawJsonProgress::started(const StepView& step) {
  vertex(step);
}
void RawJsonProgress::cached(const StepView& step) {
  vertex(step);
}
void RawJsonProgress::done(const StepView& step) {
  vertex(step);
}
void RawJsonProgress::failed(const StepView& step) {
  vertex(step);
}

void RawJsonProgress::output(const StepView& step, std::string_view bytes, bool) {
  constexpr int kStdout = 1;  // a step has one pipe for both of its streams
  send("logs", Json{{"vertex", vertexDigest(step)},
                    {"stream", kStdout},
                    {"data", text::base64(bytes)},
                    {"timestamp", timeText(host().clock.wallNs())}});
}

void RawJsonProgress::sealed(const StepView& step) {
  const std::string now = timeText(host().clock.wallNs());
  send("statuses", Json{{"id", step.layer->str()},
                        {"vertex", vertexDigest(step)},
                        {"name", "sealing layer"},
                        {"total", step.bytes},
                        {"current", step.bytes},
                        {"timestamp", now},
                        {"started", timeText(step.endWallNs)},
                        {"completed", now}});
  vertex(step);
}

void RawJsonProgress::warning(const Error& warning) {
  Json item = {{"vertex", ""}, {"level", 1}, {"short", text::base64(warning.cause())}};
  Json detail = Json::array();
  if (!warning.why().empty()) detail.push_back(text::base64(warning.why()));
  for (const std::string& hint : warning.hints()) detail.push_back(text::base64(hint));
  if (!detail.empty()) item["detail"] = std::move(detail);
  if (const auto& position = warning.position(); position && position->line > 0) {
    item["sourceInfo"] = {{"filename", position->file}};
    item["range"] = Json::array(
        {{{"start", {{"line", position->line}}},
          {"end", {{"line", position->endLine > 0 ? position->endLine : position->line}}}}});
  }
  send("warnings", item);
}

}  // namespace img::cli
