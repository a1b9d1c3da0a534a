#include "distribution/session.h"

#include <poll.h>

#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/interruption.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "distribution/memory_file.h"
#include "distribution/messages.h"
#include "distribution/remote_process.h"
#include "store/blobs.h"

namespace img::distribution {
namespace {

constexpr std::uint64_t kMonolithic = 0;
constexpr size_t kMaxTagList = size_t{64} << 20;
constexpr std::string_view kPeer = "img-remote";

std::string_view schemeName(Endpoint::Scheme scheme) {
  switch (scheme) {
    case Endpoint::Scheme::https: return "https";
    case Endpoint::Scheme::httpsThenHttp: return "https-then-http";
    case Endpoint::Scheme::http: return "http";
  }
  return "https";
}

Json endpointJson(const Endpoint& endpoint) {
  const Credentials& credentials = endpoint.credentials;
  return {{"host", endpoint.host},
          {"repository", endpoint.repository},
          {"scheme", schemeName(endpoint.scheme)},
          {"verify_tls", endpoint.verifiesTls},
          {"is_mirror", endpoint.isMirror},
          {"serves_tags", endpoint.servesTags},
          {"serves_digests", endpoint.servesDigests},
          {"authorities", endpoint.authorities},
          {"client_certificate", endpoint.clientCertificate},
          {"client_key", endpoint.clientKey},
          {"credentials",
           {{"username", credentials.username},
            {"password", credentials.password},
            {"identity_token", credentials.identityToken},
            {"registry_token", credentials.registryToken}}}};
}

Json configuration(const std::string& repository, Action action,
                   const std::vector<Endpoint>& endpoints, const AccessOptions& options,
                   const Session::Patience& patience) {
  Json list = Json::array();
  for (const Endpoint& endpoint : endpoints) list.push_back(endpointJson(endpoint));
  const int tries = options.retries ? *options.retries + 1 : patience.tries;
  return {{"repository", repository},
          {"action", action == Action::pull ? "pull" : "push"},
          {"endpoints", std::move(list)},
          {"tries", tries},
          {"retry_delay_ms", options.retryDelayMs.value_or(patience.delayMs)},
          {"connect_tries", options.connectTries.value_or(0)},
          {"connect_seconds", patience.connectSeconds},
          {"first_byte_seconds", patience.firstByteSeconds},
          {"stall_seconds", 30},
          {"parallel", 6},
          {"document_limit", store::documentLimit()}};
}

std::string contentOf(const Fd& file, size_t limit) {
  const auto size = static_cast<size_t>(sys::fstat(file.get()).st_size);
  if (size > limit) throw Error::make(Kind::corrupt, "a document is longer than {} bytes", limit);
  std::string bytes(size, '\0');
  bytes.resize(preadFull(file.get(), std::as_writable_bytes(std::span{bytes}), 0, "a document"));
  return bytes;
}

// Content-Type may have parameters (RFC 9110, 8.3).
std::string withoutParameters(const std::string& mediaType) {
  return std::string{text::trim(std::string_view{mediaType}.substr(0, mediaType.find(';')))};
}

[[noreturn]] void failAnswer(std::string_view what) {
  throw Error::make(Kind::internal, "img-remote gave an answer without {}", what);
}

std::string stringOf(const Json& answer, const char* key) {
  const auto found = answer.find(key);
  if (found == answer.end() || found->is_null()) return {};
  if (!found->is_string()) failAnswer(key);
  return found->get<std::string>();
}

std::uint64_t sizeOf(const Json& answer) {
  const auto found = answer.find("size");
  if (found == answer.end() || !found->is_number_unsigned()) return 0;
  return found->get<std::uint64_t>();
}

bool flagOf(const Json& answer, const char* key) {
  const auto found = answer.find(key);
  if (found == answer.end() || !found->is_boolean()) failAnswer(key);
  return found->get<bool>();
}

bool isDigest(const std::string& reference) {
  return reference.find(':') != std::string::npos;
}

}  // namespace

struct Session::State {
  State(const std::string& repository, Action action, std::vector<Endpoint> places,
        const AccessOptions& options, const Patience& patience)
      : endpoints(std::move(places)),
        login(endpoints.back()),
        process({"session"}, configuration(repository, action, endpoints, options, patience)) {}

  int send(const char* op, Json fields, int fd = -1);
  Json wait(int id);
  Json call(const char* op, Json fields, int fd = -1) {
    return wait(send(op, std::move(fields), fd));
  }
  // False: nothing was there (only with Receive::ifThere).
  bool take(Receive how);
  void awaitNews();
  [[noreturn]] void failEnded();
  Error explained(Error error) const;

  std::vector<Endpoint> endpoints;
  const Endpoint& login;  // the registry itself
  RemoteProcess process;
  std::map<int, Json> answers;  // not yet taken
  std::optional<Error> ended;
  std::function<void(const std::string&)> onNotice;
  std::string loginHost;  // as `img login` takes it
  int lastId = 0;
};

void Session::State::failEnded() {
  if (!ended) ended = process.ending().during("talking to {}", login.host);
  throw *ended;
}

int Session::State::send(const char* op, Json fields, int fd) {
  if (ended) failEnded();
  fields["op"] = op;
  fields["id"] = ++lastId;
  if (!sendMessage(process.socket(), fields, fd)) failEnded();
  return lastId;
}

bool Session::State::take(Receive how) {
  if (ended) failEnded();
  const Message message = receiveMessage(process.socket(), how, kPeer);
  if (message.state == Message::State::none) return false;
  if (message.state == Message::State::ended) failEnded();
  Json json = parseJson(message.text, "the answer of img-remote");
  if (const std::string notice = stringOf(json, "notice"); !notice.empty()) {
    onNotice ? onNotice(notice) : log::info("{}", notice);
    return true;
  }
  const auto id = json.find("id");
  if (id == json.end() || !id->is_number_integer()) failAnswer("an id");
  const int number = id->get<int>();
  answers[number] = std::move(json);
  return true;
}

void Session::State::awaitNews() {
  pollfd polls[] = {{process.socket(), POLLIN, 0}, {interruptionFd(), POLLIN, 0}};
  sys::check([&] { return ::poll(polls, std::size(polls), -1); }, "wait for img-remote");
  if (polls[1].revents != 0) throwIfInterrupted();
}

Json Session::State::wait(int id) {
  while (answers.count(id) == 0) {
    awaitNews();
    std::ignore = take(Receive::ifThere);
  }
  Json answer = std::move(answers.extract(id).mapped());
  const auto error = answer.find("error");
  if (error != answer.end()) throw explained(Error::fromJson(error->dump()));
  return answer;
}

// Who was refused has to know as whom (reliability.md 12): the name of the place the credentials
// came from, never what is in it.
Error Session::State::explained(Error error) const {
  if (error.kind() != Kind::denied) return error;
  if (error.code() != "unauthorized" && error.code() != "forbidden") return error;
  const Credentials& credentials = login.credentials;
  if (credentials.isEmpty()) {
    error.hint(fmt::format("no credentials were sent: `img login {}`", loginHost));
    return error;
  }
  std::string who = credentials.source.empty() ? "those given" : credentials.source;
  error.hint(
      fmt::format("the credentials came from {}; `img login {}` stores others", who, loginHost));
  return error;
}

Session::Session(const store::Reference& reference, Action action, const AccessOptions& options)
    : Session(reference, action, options, Patience{}) {}

Session::Session(const store::Reference& reference, Action action, const AccessOptions& options,
                 const Patience& patience)
    : Session(reference, action, options, endpointsOf(reference, action, options), patience) {}

Session::Session(const store::Reference& reference, Action action, const AccessOptions& options,
                 std::vector<Endpoint> endpoints)
    : Session(reference, action, options, std::move(endpoints), Patience{}) {}

Session::Session(const store::Reference& reference, Action action, const AccessOptions& options,
                 std::vector<Endpoint> endpoints, const Patience& patience)
    : state_(std::make_unique<State>(reference.path, action, std::move(endpoints), options,
                                     patience)) {
  state_->loginHost = reference.host;
}

Session::~Session() = default;

void Session::setNotice(std::function<void(const std::string&)> notice) {
  state_->onNotice = std::move(notice);
}

std::optional<store::Descriptor> Session::head(const std::string& reference) {
  const Json answer = state_->call("head", {{"reference", reference}});
  if (!flagOf(answer, "found")) return std::nullopt;
  store::Descriptor descriptor;
  descriptor.mediaType = withoutParameters(stringOf(answer, "media_type"));
  descriptor.size = sizeOf(answer);
  // Only a hint at what a GET would give: one that is no SHA-256 is as good as none.
  if (const auto digest = Digest::tryParse(stringOf(answer, "digest"))) descriptor.digest = *digest;
  return descriptor;
}

Session::Document Session::manifest(const std::string& reference) {
  constexpr int kTries = 2;
  for (int attempt = 1;; ++attempt) {
    const Fd file = memoryFile("document");
    const Json answer = state_->call("manifest", {{"reference", reference}}, file.get());
    Document document;
    document.bytes = contentOf(file, store::documentLimit());
    document.descriptor.mediaType = withoutParameters(stringOf(answer, "media_type"));
    document.descriptor.size = document.bytes.size();
    document.descriptor.digest = Digest::of(document.bytes);
    if (!isDigest(reference) || document.descriptor.digest.str() == reference) return document;
    if (attempt < kTries) continue;
    const std::string host = stringOf(answer, "host");
    throw Error::make(Kind::corrupt, "{} sent another manifest than {}",
                      text::escape(host.empty() ? state_->login.host : host), reference)
        .why(fmt::format("its {} bytes have the digest {}", document.bytes.size(),
                         document.descriptor.digest.str()))
        .code("digest-mismatch");
  }
}

Digest Session::putManifest(const std::string& reference, const store::Descriptor& descriptor,
                            std::string_view bytes) {
  const Fd file = memoryFile("document", bytes);
  const Json answer = state_->call(
      "put_manifest", {{"reference", reference}, {"media_type", descriptor.mediaType}}, file.get());
  return Digest::tryParse(stringOf(answer, "digest")).value_or(descriptor.digest);
}

std::vector<std::string> Session::tags() {
  const Fd file = memoryFile("document");
  std::ignore = state_->call("tags", Json::object(), file.get());
  const Json list = parseJson(contentOf(file, kMaxTagList), "the list of tags");
  std::vector<std::string> tags;
  for (const Json& tag : list) {
    if (!tag.is_string()) throw Error{Kind::corrupt, "the list of tags holds more than names"};
    tags.push_back(tag.get<std::string>());
  }
  return tags;
}

void Session::checkLogin() {
  std::ignore = state_->call("ping", Json::object());
}

int Session::startBlob(const store::Descriptor& blob, std::uint64_t offset, Fd pipe, bool isAgain) {
  return state_->send(
      "blob",
      {{"digest", blob.digest.str()}, {"size", blob.size}, {"offset", offset}, {"again", isAgain}},
      pipe.get());
}

int Session::startHas(const Digest& digest) {
  return state_->send("has", {{"digest", digest.str()}});
}

bool Session::hasBlob(const Digest& digest) {
  return flagOf(wait(startHas(digest)), "found");
}

int Session::startMount(const Digest& digest, const std::string& fromRepository) {
  return state_->send("mount", {{"digest", digest.str()}, {"from", fromRepository}});
}

bool Session::mountBlob(const Digest& digest, const std::string& fromRepository) {
  return flagOf(wait(startMount(digest, fromRepository)), "mounted");
}

int Session::startUpload(const store::Descriptor& blob, const Fd& file) {
  return state_->send(
      "upload", {{"digest", blob.digest.str()}, {"size", blob.size}, {"chunk_bytes", kMonolithic}},
      file.get());
}

int Session::startGrowing(Fd socket) {
  return state_->send("upload_growing", Json::object(), socket.get());
}

void Session::finishGrowing(int id, const store::Descriptor& blob) {
  state_->call("finish", {{"of", id}, {"digest", blob.digest.str()}, {"size", blob.size}});
}

void Session::cancel(int id) {
  state_->call("cancel", {{"of", id}});
}

int Session::fd() const {
  return state_->process.socket();
}

std::vector<int> Session::answered() {
  while (state_->take(Receive::ifThere)) {
  }
  std::vector<int> ids;
  ids.reserve(state_->answers.size());
  for (const auto& [id, answer] : state_->answers) ids.push_back(id);
  return ids;
}

Json Session::wait(int id) {
  return state_->wait(id);
}

}  // namespace img::distribution
