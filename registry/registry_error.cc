#include "registry/registry_error.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "base/json.h"
#include "base/text.h"

namespace img::registry {
namespace {

constexpr size_t kMaxMessage = 500;

struct StatusName {
  long status;
  std::string_view name;
};
constexpr StatusName kStatusNames[] = {
    {400, "Bad Request"},       {401, "Unauthorized"},          {403, "Forbidden"},
    {404, "Not Found"},         {405, "Method Not Allowed"},    {408, "Request Timeout"},
    {409, "Conflict"},          {413, "Content Too Large"},     {416, "Range Not Satisfiable"},
    {429, "Too Many Requests"}, {500, "Internal Server Error"}, {501, "Not Implemented"},
    {502, "Bad Gateway"},       {503, "Service Unavailable"},   {504, "Gateway Timeout"},
};

// "CODE: message" of one entry.
std::string entryText(const Json& entry) {
  if (!entry.is_object()) return {};
  std::vector<std::string> parts;
  for (const char* key : {"code", "message"}) {
    if (entry.contains(key) && entry[key].is_string() && !entry[key].get<std::string>().empty())
      parts.push_back(entry[key].get<std::string>());
  }
  return text::join(parts, ": ");
}

std::string documentText(const Json& document) {
  std::vector<std::string> parts;
  if (document.contains("errors") && document["errors"].is_array()) {
    for (const Json& entry : document["errors"]) {
      if (std::string part = entryText(entry); !part.empty()) parts.push_back(std::move(part));
      if (parts.size() == 3) break;
    }
  } else {  // token servers: RFC 6749 5.2, and plainer ones
    for (const char* key : {"error", "error_description", "message", "details"}) {
      if (document.contains(key) && document[key].is_string())
        parts.push_back(document[key].get<std::string>());
    }
  }
  return text::join(parts, "; ");
}

// The first error code that says which thing is unknown.
std::string_view unknownThing(std::string_view body, std::string_view action) {
  struct Known {
    std::string_view theirs, ours;
  };
  static constexpr Known kKnown[] = {{"MANIFEST_UNKNOWN", "manifest-unknown"},
                                     {"BLOB_UNKNOWN", "blob-unknown"},
                                     {"NAME_UNKNOWN", "name-unknown"}};
  for (const Known& known : kKnown) {
    if (body.find(known.theirs) != std::string_view::npos) return known.ours;
  }
  if (action.find("manifest") != std::string_view::npos) return "manifest-unknown";
  return action.find("blob") != std::string_view::npos ? "blob-unknown" : "name-unknown";
}

std::string requestId(const HttpAnswer& answer) {
  for (const char* name : {"x-request-id", "x-amz-request-id", "x-github-request-id",
                           "x-amzn-requestid", "x-ms-correlation-request-id"}) {
    if (const std::string value = answer.header(name); !value.empty())
      return fmt::format(" ({}: {})", name, text::escape(value, 100));
  }
  return {};
}

std::string triesText(int tries) {
  return tries > 1 ? fmt::format(" after {} tries", tries) : std::string{};
}

void nameStatus(Error& error, const HttpAnswer& answer, std::string_view action) {
  // distribution-spec, "Error Codes": what a manifest refers to is not there; docker-registry says
  // it with 400, others with 404.
  if (answer.body.find("MANIFEST_BLOB_UNKNOWN") != std::string::npos) {
    error.code("blob-unknown");
    return;
  }
  switch (answer.status) {
    case 401: error.code("unauthorized"); break;
    case 403: error.code("forbidden"); break;
    case 404: error.code(std::string{unknownThing(answer.body, action)}); break;
    case 429: error.code("too-many-requests"); break;
    default: error.code("registry-error"); break;
  }
}

Kind kindOf(long status) {
  if (status == 401 || status == 403) return Kind::denied;
  return status == 404 ? Kind::notFound : Kind::failed;
}

}  // namespace

std::string statusText(long status) {
  for (const StatusName& known : kStatusNames) {
    if (known.status == status) return fmt::format("{} {}", status, known.name);
  }
  return std::to_string(status);
}

std::string registryMessage(std::string_view body) {
  std::string message;
  try {
    const Json document = parseJson(body, "error");
    if (document.is_object()) message = documentText(document);
  } catch (const Error&) {
    // No JSON: a proxy's page, say. Its first line tells more than nothing.
    if (!body.starts_with("<")) message = body.substr(0, body.find('\n'));
  }
  return text::escape(text::trim(message), kMaxMessage);
}

Error refusal(const Endpoint& endpoint, std::string_view action, const HttpAnswer& answer,
              int tries) {
  const bool isElsewhere = answer.url.origin() != endpoint.origin();
  const std::string who = isElsewhere ? fmt::format(" from {}", answer.url.origin()) : "";
  Error error = Error::make(kindOf(answer.status), "{}: cannot {}: {}{}{}", endpoint.place(),
                            action, statusText(answer.status), who, triesText(tries));
  const std::string message = registryMessage(answer.body);
  const std::string id = requestId(answer);
  if (!message.empty() || !id.empty()) {
    error.why(fmt::format("the registry says: {}{}", message.empty() ? "nothing" : message, id));
  }
  nameStatus(error, answer, action);
  if (answer.status == 429) {
    const std::string after = answer.header("retry-after");
    if (!after.empty())
      error.hint("try again later; it asks for " + text::escape(after, 60) +
                 (text::parseUnsigned(after) ? " seconds" : ""));
  }
  return error;
}

Error unreachable(const Endpoint& endpoint, std::string_view action, const Error& failure,
                  int tries) {
  Error error =
      Error::make(failure.kind(), "{}: cannot {}{}", endpoint.place(), action, triesText(tries));
  error.why(failure.why().empty() ? failure.cause() : failure.why());
  error.code(failure.code().empty() ? "registry-error" : failure.code());
  if (failure.code() == "plain-http") {
    error.hint(
        "if it speaks plain HTTP: --tls-verify=false, or `insecure = true` in registries.conf");
  }
  for (const std::string& hint : failure.hints()) error.hint(hint);
  return error;
}

}  // namespace img::registry
