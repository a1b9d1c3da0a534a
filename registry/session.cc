#include "registry/session.h"

#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "registry/channel.h"
#include "registry/client.h"
#include "registry/documents.h"
#include "registry/download.h"
#include "registry/upload.h"

namespace img::registry {
namespace {

class Session {
 public:
  Session(const Json& configuration, int socket, const std::string& trust)
      : client_(loop_, configuration, trust,
                [this](const std::string& text) {
                  channel_.send({{"notice", text}});
                }),
        channel_(loop_, socket,
                 [this](const Json& message, Fd fd) { accept(message, std::move(fd)); }) {}

  void run() {
    loop_.run([this] {
      forgetFinished();
      return channel_.isClosed();
    });
  }

 private:
  void accept(const Json& message, Fd fd);
  void cancel(std::int64_t id, std::int64_t victim);
  void finishGrowing(std::int64_t id, const Json& request);
  Task<> serve(std::int64_t id, Json request, Fd fd);
  Task<Json> dispatch(const Json& request, Fd fd);
  void answer(std::int64_t id, Json answer);
  void fail(std::int64_t id, const Error& error);
  void forgetFinished();

  Loop loop_;
  Client client_;
  Channel channel_;
  Servers servers_;
  Growths growths_;
  std::map<std::int64_t, Task<>> running_;  // the last: they use the others
};

void Session::accept(const Json& message, Fd fd) {
  if (!message.is_object() || !message.contains("id") || !message["id"].is_number_integer())
    throw Error{Kind::usage, "a request without an id"};
  const auto id = message["id"].get<std::int64_t>();
  if (running_.contains(id)) throw Error::make(Kind::usage, "request {} runs already", id);
  if (message.value("op", "") == "cancel") return cancel(id, message.value("of", std::int64_t{-1}));
  if (message.value("op", "") == "finish") return finishGrowing(id, message);
  const auto task = running_.emplace(id, serve(id, message, std::move(fd))).first;
  task->second.start();
}

// What a task holds goes with it: its transfer, its pipe.
void Session::cancel(std::int64_t id, std::int64_t victim) {
  const auto found = running_.find(victim);
  if (found != running_.end() && !found->second.isDone()) {
    running_.erase(found);
    fail(victim, Error{Kind::failed, "cancelled"}.code("cancelled"));
  }
  answer(id, Json::object());
}

// One that has failed meanwhile has said so itself.
void Session::finishGrowing(std::int64_t id, const Json& request) {
  const auto found = growths_.find(request.value("of", std::int64_t{-1}));
  if (found != growths_.end()) found->second->finish(request);
  answer(id, Json::object());
}

Task<> Session::serve(std::int64_t id, Json request, Fd fd) {
  try {
    Json result = co_await dispatch(request, std::move(fd));
    answer(id, std::move(result));
  } catch (...) {
    fail(id, currentError());
  }
}

Task<Json> Session::dispatch(const Json& request, Fd fd) {
  const std::string op = request.value("op", "");
  if (op == "head") return headManifest(client_, request);
  if (op == "manifest") return getManifest(client_, request, std::move(fd));
  if (op == "blob") return downloadBlob(client_, servers_, request, std::move(fd));
  if (op == "has") return hasBlob(client_, request);
  if (op == "mount") return mountBlob(client_, request);
  if (op == "upload") return uploadBlob(client_, request, std::move(fd));
  if (op == "upload_growing") {
    return uploadGrowing(client_, growths_, request, std::move(fd));
  }
  if (op == "put_manifest") return putManifest(client_, request, std::move(fd));
  if (op == "tags") return listTags(client_, std::move(fd));
  if (op == "ping") return ping(client_);
  throw Error::make(Kind::usage, "no operation is called {}", op);
}

void Session::answer(std::int64_t id, Json answer) {
  answer["id"] = id;
  channel_.send(answer);
}

void Session::fail(std::int64_t id, const Error& error) {
  const Error clean = client_.redactor.clean(error);
  answer(id, Json{{"error", parseJson(clean.toJson(), "error")}});
}

void Session::forgetFinished() {
  std::erase_if(running_, [](const auto& entry) { return entry.second.isDone(); });
}

}  // namespace

Json runSession(const Json& configuration, int socket, const std::string& trust) {
  Session session{configuration, socket, trust};
  session.run();
  return nullptr;
}

}  // namespace img::registry
