#include "registry/documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "registry/link.h"
#include "registry/registry_error.h"
#include "registry/text_receiver.h"

namespace img::registry {
namespace {

constexpr int kMaxPages = 10'000;
constexpr size_t kMaxTags = 1'000'000;

const char* const kManifestTypes =
    "Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

bool isDigest(const std::string& reference) {
  return Digest::tryParse(reference).has_value();
}

ApiRequest manifestRequest(const std::string& method, const std::string& reference) {
  checkReference(reference);
  ApiRequest request;
  request.method = method;
  request.action = (method == "PUT" ? "put manifest " : "get manifest ") + reference;
  request.path = "manifests/" + reference;
  request.headers = {kManifestTypes};
  return request;
}

// The media type alone, without parameters, in lower case.
std::string mediaType(const HttpAnswer& answer) {
  const std::string type = answer.header("content-type");
  return text::lower(text::trim(std::string_view{type}.substr(0, type.find(';'))));
}

bool isMissing(const Served& served) {
  return !served.outcome.failure && served.outcome.answer.status == 404;
}

void requireSuccess(const Served& served, const std::string& action) {
  const bool isGood = !served.outcome.failure && served.outcome.answer.isSuccess();
  if (!isGood) throw Client::errorOf(served, action);
}

Json describe(const HttpAnswer& answer) {
  const std::string digest = answer.header("docker-content-digest");
  Json described{{"media_type", mediaType(answer)},
                 {"digest", Digest::tryParse(digest) ? digest : ""}};
  const auto size = text::parseUnsigned(answer.header("content-length"));
  described["size"] = size ? Json(*size) : Json(nullptr);
  return described;
}

void requireFile(const Fd& file) {
  if (!file) throw Error{Kind::usage, "this request needs a descriptor of a file"};
}

}  // namespace

Task<Json> headManifest(Client& client, const Json& request) {
  const std::string reference = request.value("reference", "");
  const ApiRequest wanted = manifestRequest("HEAD", reference);
  const Served served = co_await client.askAll(isDigest(reference), wanted, nullptr);
  if (isMissing(served)) co_return Json{{"found", false}};
  requireSuccess(served, wanted.action);
  Json answer = describe(served.outcome.answer);
  answer["found"] = true;
  co_return answer;
}

Task<Json> getManifest(Client& client, const Json& request, Fd file) {
  requireFile(file);
  const std::string reference = request.value("reference", "");
  const ApiRequest wanted = manifestRequest("GET", reference);
  TextReceiver body{client.documentLimit};
  const Served served = co_await client.askAll(isDigest(reference), wanted, &body);
  requireSuccess(served, wanted.action);
  const Endpoint& endpoint = served.address->endpoint;
  if (body.isTooLong()) {
    throw Error::make(Kind::corrupt, "{}: manifest {} has more than {} bytes", endpoint.place(),
                      reference, client.documentLimit)
        .hint("IMG_LIMIT_JSON_BYTES sets the limit");
  }
  if (served.outcome.answer.status != 200) throw Client::errorOf(served, wanted.action);
  writeAll(file.get(), body.text(), "the manifest");
  Json answer = describe(served.outcome.answer);
  answer["size"] = body.text().size();
  answer["host"] = endpoint.host;
  co_return answer;
}

Task<Json> putManifest(Client& client, const Json& request, Fd file) {
  requireFile(file);
  const std::string reference = request.value("reference", "");
  ApiRequest wanted = manifestRequest("PUT", reference);
  const std::string type = request.value("media_type", "");
  if (type.empty() || type.find_first_of("\r\n") != std::string::npos) {
    throw Error{Kind::usage, "put_manifest without a media type"};
  }
  wanted.headers = {"Content-Type: " + type};
  BodySource body;
  body.file = file.get();
  body.size = static_cast<std::uint64_t>(sys::fstat(file.get()).st_size);
  wanted.body = body;
  // The same bytes under the same name: doing it twice is doing it once.
  const Served served = co_await client.ask(client.registry(), wanted, nullptr);
  requireSuccess(served, wanted.action);
  const std::string digest = served.outcome.answer.header("docker-content-digest");
  co_return Json{{"digest", Digest::tryParse(digest) ? digest : ""}};
}

Task<Json> hasBlob(Client& client, const Json& request) {
  const std::string digest = request.value("digest", "");
  checkDigest(digest);
  ApiRequest wanted;
  wanted.method = "HEAD";
  wanted.action = "look for blob " + digest;
  wanted.path = "blobs/" + digest;
  const Served served = co_await client.askAll(true, wanted, nullptr);
  if (isMissing(served)) co_return Json{{"found", false}};
  requireSuccess(served, wanted.action);
  Json answer = describe(served.outcome.answer);
  co_return Json{{"found", true}, {"size", answer["size"]}};
}

Task<Json> listTags(Client& client, Fd file) {
  requireFile(file);
  Address& address = client.registry();
  ApiRequest wanted;
  wanted.action = "list tags";
  wanted.path = "tags/list?n=1000";
  std::vector<std::string> tags;
  for (int pages = 0; pages < kMaxPages; ++pages) {
    TextReceiver body{client.documentLimit};
    const Served served = co_await client.ask(address, wanted, &body);
    requireSuccess(served, wanted.action);
    const HttpAnswer& answer = served.outcome.answer;
    const Json page = parseJson(body.text(), "the list of tags");
    if (!page.is_object() || body.isTooLong())
      throw Error{Kind::corrupt, "the list of tags is none"}.code("registry-error");
    for (const Json& tag : page.value("tags", Json{}))
      if (tag.is_string()) tags.push_back(tag.get<std::string>());
    const std::string next = nextLink(answer.header("link"));
    if (next.empty() || tags.size() > kMaxTags) break;
    wanted.url = answer.url.resolve(next);
    if (wanted.url->origin() != address.endpoint.origin()) {
      throw Error::make(Kind::denied, "{}: the list of tags goes on at {}, which is not followed",
                        address.endpoint.place(), wanted.url->origin())
          .code("registry-error");
    }
  }
  writeAll(file.get(), dumpJson(tags), "the list of tags");
  co_return Json{{"count", tags.size()}};
}

Task<Json> ping(Client& client) {
  Address& address = client.registry();
  ApiRequest wanted;
  wanted.action = "log in";
  wanted.url = address.endpoint.url("");
  wanted.needsNoScope = true;
  const Served served = co_await client.ask(address, wanted, nullptr);
  requireSuccess(served, wanted.action);
  co_return Json{{"status", served.outcome.answer.status}};
}

}  // namespace img::registry
