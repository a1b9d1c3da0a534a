#include "registry/session.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <tuple>

#include "base/digest.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/sys.h"

namespace img::registry {
namespace {

// A registry in a thread: each connection carries one request, `script` says the whole answer.
class Server {
 public:
  using Script = std::function<std::string(const std::string& head, int number)>;
  explicit Server(Script script) : script_(std::move(script)) {
    socket_ = Fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    sys::check([&] { return ::bind(socket_.get(), raw, size); }, "bind");
    sys::check([&] { return ::listen(socket_.get(), 20); }, "listen");
    sys::check([&] { return ::getsockname(socket_.get(), raw, &size); }, "getsockname");
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread{[this] { serve(); }};
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() { ::shutdown(socket_.get(), SHUT_RDWR); }  // ends accept(2)

  [[nodiscard]] std::string host() const { return "127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> heads() {
    const std::scoped_lock lock{mutex_};
    return heads_;
  }
  // From now on a body in chunks is not read.
  void answerBodiesEarly() { isHasty_ = true; }
  // Waits for so many bytes of a body in chunks.
  void waitFor(size_t bytes) {
    for (size_t seen = 0; seen < bytes; seen = received_) received_.wait(seen);
  }

 private:
  // To the last chunk (RFC 9112, 7.1), of content that does not look like one.
  void readChunks(int connection, std::string body) {
    std::array<char, 65536> room{};
    for (;;) {
      received_ = body.size();
      received_.notify_all();
      if (body.ends_with("\r\n0\r\n\r\n")) return;
      const ssize_t count = ::read(connection, room.data(), room.size());
      if (count <= 0) return;
      body.append(room.data(), static_cast<size_t>(count));
    }
  }

  // A connection that is closed with something unread in it is reset (RFC 1122, 4.2.2.13).
  void readBody(int connection, std::string& head) {
    constexpr std::string_view kLength = "Content-Length: ";
    const size_t end = head.find("\r\n\r\n") + 4;
    if (head.find("Transfer-Encoding: chunked") < end) {
      if (!isHasty_) readChunks(connection, head.substr(end));
      return head.resize(end);
    }
    const size_t at = head.find(kLength);
    if (at == std::string::npos) return;
    size_t left = std::stoul(head.substr(at + kLength.size())) - (head.size() - end);
    head.resize(end);
    for (std::array<char, 65536> room{}; left > 0;) {
      const ssize_t count = ::read(connection, room.data(), std::min(left, room.size()));
      if (count <= 0) return;
      left -= static_cast<size_t>(count);
    }
  }

  void serve() {
    for (;;) {
      const Fd connection{::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      if (!connection) return;
      std::string head;
      std::array<char, 4096> room{};
      while (head.find("\r\n\r\n") == std::string::npos) {
        const ssize_t count = ::read(connection.get(), room.data(), room.size());
        if (count <= 0) break;
        head.append(room.data(), static_cast<size_t>(count));
      }
      readBody(connection.get(), head);
      int number = 0;
      {
        const std::scoped_lock lock{mutex_};
        heads_.push_back(head);
        number = static_cast<int>(heads_.size());
      }
      writeAll(connection.get(), script_(head, number), "answer");
      // Not reset: the answer has to arrive.
      while (isHasty_ && ::read(connection.get(), room.data(), room.size()) > 0) {
      }
    }
  }

  Script script_;
  Fd socket_;
  int port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> heads_;  // guarded by mutex_
  std::atomic<size_t> received_ = 0;
  std::atomic<bool> isHasty_ = false;
  std::jthread thread_;
};

std::string ok(const std::string& body, const std::string& headers = "") {
  return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n" + headers + "\r\n" + body;
}

Json configurationFor(const std::string& host) {
  const Json endpoint{{"host", host}, {"repository", "team/app"}, {"scheme", "http"}};
  return {{"action", "pull"},
          {"endpoints", Json::array({endpoint})},
          {"tries", 3},
          {"retry_delay_ms", 1}};
}

void sendTo(int socket, const std::string& text, int fd = -1) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  sys::check([&] { return ::sendmsg(socket, &message, MSG_NOSIGNAL); }, "sendmsg");
}

// runSession in a thread, and our end of its socket.
class Client {
 public:
  explicit Client(const Json& configuration) {
    int ends[2];
    sys::check([&] { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends); },
               "socketpair");
    ours_ = Fd{ends[0]};
    theirs_ = Fd{ends[1]};
    thread_ = std::jthread{[this, configuration] {
      try {
        runSession(configuration, theirs_.get(), "");
      } catch (const Error& error) {
        end_ = error.cause();
        theirs_.reset();
      }
    }};
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { end(); }

  // Why the session ended by itself; empty when we ended it.
  std::string end() {
    ours_.reset();
    if (thread_.joinable()) thread_.join();
    return end_;
  }
  std::string waitForEnd() {
    thread_.join();
    return end_;
  }

  void send(const std::string& text, int fd = -1) const { sendTo(ours_.get(), text, fd); }
  [[nodiscard]] Json receive() const {
    std::string text(128 << 10, '\0');
    const ssize_t size =
        sys::check([&] { return ::recv(ours_.get(), text.data(), text.size(), 0); }, "recv");
    return parseJson(std::string_view{text}.substr(0, static_cast<size_t>(size)), "answer");
  }
  [[nodiscard]] Json call(Json request, int fd = -1) const {
    request["id"] = 1;
    send(dumpJson(request), fd);
    return receive();
  }
  // A blob through a pipe that is large enough for all of it.
  std::pair<Json, std::string> blob(const std::string& body, std::uint64_t size) const {
    Pipe pipe = Pipe::make();
    send(dumpJson(
             Json{{"id", 1}, {"op", "blob"}, {"digest", Digest::of(body).str()}, {"size", size}}),
         pipe.write.get());
    pipe.write.reset();
    Json answer = receive();
    return {std::move(answer), readAll(pipe.read.get(), "blob")};
  }

 private:
  Fd ours_, theirs_;
  std::string end_;
  std::jthread thread_;
};

TEST(Session, AsksForAManifestByItsName) {
  Server server{[](const std::string&, int) {
    return ok("{}", "Content-Type: application/x; charset=utf-8\r\n");
  }};
  const Client client{configurationFor(server.host())};
  const Pipe pipe = Pipe::make();
  const Json answer = client.call({{"op", "manifest"}, {"reference", "v1"}}, pipe.write.get());
  EXPECT_EQ(answer["size"], 2);
  EXPECT_EQ(answer["media_type"], "application/x");
  EXPECT_EQ(answer["digest"], "");
  EXPECT_EQ(answer["host"], server.host());
  EXPECT_TRUE(server.heads().front().starts_with("GET /v2/team/app/manifests/v1 HTTP/1.1\r\n"));
  EXPECT_NE(server.heads().front().find("vnd.oci.image.index.v1+json"), std::string::npos);
}

TEST(Session, GetsABlobOverTwoConnectionsWithoutLosingOrRepeatingAByte) {
  const std::string body = "the whole body of a blob";
  Server server{[&](const std::string& head, int number) {
    if (number == 1)
      return ok(body, "ETag: \"e1\"\r\n").substr(0, ok(body, "ETag: \"e1\"\r\n").size() - 9);
    EXPECT_NE(head.find("Range: bytes=15-\r\n"), std::string::npos) << head;
    EXPECT_NE(head.find("If-Range: \"e1\"\r\n"), std::string::npos) << head;
    return "HTTP/1.1 206 Partial\r\nConnection: close\r\nContent-Length: 9\r\nContent-Range: bytes "
           "15-23/24\r\n\r\n" +
           body.substr(15);
  }};
  const Client client{configurationFor(server.host())};
  const auto [answer, got] = client.blob(body, body.size());
  EXPECT_EQ(got, body);
  EXPECT_EQ(answer["requests"], 2);
  EXPECT_EQ(answer["received"], body.size());
}

TEST(Session, AWeakEtagIsNoPromise) {
  const std::string body = "the whole body of a blob";
  Server server{[&](const std::string& head, int number) {
    EXPECT_EQ(head.find("If-Range"), std::string::npos);
    const std::string whole = ok(body, "ETag: W/\"e1\"\r\n");
    return number == 1 ? whole.substr(0, whole.size() - 9) : whole;
  }};
  const Client client{configurationFor(server.host())};
  EXPECT_EQ(client.blob(body, body.size()).second, body);
}

TEST(Session, ABlobOfAnotherLengthIsRefusedBeforeItsFirstByte) {
  Server server{[](const std::string&, int) { return ok("longer than that"); }};
  const Client client{configurationFor(server.host())};
  const auto [answer, got] = client.blob("longer", 6);
  EXPECT_EQ(answer["error"]["code"], "digest-mismatch");
  EXPECT_EQ(got, "");
  EXPECT_EQ(server.heads().size(), 2);  // once more, on another connection
}

TEST(Session, AnswersEveryRequestUnderItsOwnId) {
  Server server{[](const std::string& head, int) {
    return head.find("/b ") == std::string::npos
               ? std::string{"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"}
               : ok("");
  }};
  const Client client{configurationFor(server.host())};
  client.send(R"({"id":7,"op":"head","reference":"a"})");
  client.send(R"({"id":9,"op":"head","reference":"b"})");
  std::map<int, bool> found;
  for (int i = 0; i < 2; ++i) {
    const Json answer = client.receive();
    found[answer["id"].get<int>()] = answer["found"].get<bool>();
  }
  EXPECT_EQ(found, (std::map<int, bool>{{7, false}, {9, true}}));
}

TEST(Session, SecretsOfTheConfigurationShowInNoError) {
  Server server{[](const std::string&, int) {
    return std::string{
        "HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 24\r\n\r\n"
        "hunter22 is not welcome\n"};
  }};
  Json configuration = configurationFor(server.host());
  configuration["endpoints"][0]["credentials"] = {{"username", "me"}, {"password", "hunter22"}};
  const Client client{configuration};
  const Json answer = client.call({{"op", "ping"}});
  EXPECT_EQ(answer["error"]["why"], "the registry says: *** is not welcome");
  EXPECT_EQ(server.heads().front().find("Authorization"), std::string::npos);
}

// The maker of a blob that is uploaded while it grows.
class Maker {
 public:
  explicit Maker(std::string content) : content_(std::move(content)) {
    file_ = Fd{::memfd_create("blob", MFD_CLOEXEC)};
    std::tie(ours_, theirs_) = sys::socketPair();
    writeAll(file_.get(), content_, "blob");
  }
  [[nodiscard]] int listener() const { return theirs_.get(); }
  // Every time with the file: only the first message needs it.
  void tell(size_t size) const { sendTo(ours_.get(), dumpJson({{"size", size}}), file_.get()); }
  [[nodiscard]] std::string finish(int upload) const {
    return dumpJson({{"id", upload + 1},
                     {"op", "finish"},
                     {"of", upload},
                     {"digest", Digest::of(content_).str()},
                     {"size", content_.size()}});
  }
  [[nodiscard]] std::string hex() const { return Digest::of(content_).hex(); }

 private:
  std::string content_;
  Fd file_, ours_, theirs_;
};

std::string uploadAnswer(const std::string& status, const std::string& headers = "") {
  return "HTTP/1.1 " + status +
         "\r\nConnection: close\r\nContent-Length: 0\r\n"
         "Location: /v2/team/app/blobs/uploads/1\r\n" +
         headers + "\r\n";
}

// "PATCH 0-7": the methods, and what of the blob came with them.
std::vector<std::string> steps(Server& server) {
  std::vector<std::string> all;
  for (const std::string& head : server.heads()) {
    std::string step = head.substr(0, head.find(' '));
    const size_t range = head.find("Content-Range: ");
    if (range != std::string::npos)
      step += head.substr(range + 14, head.find('\r', range) - range - 14);
    all.push_back(step);
  }
  return all;
}

constexpr size_t kPiece = size_t{8} << 20;
constexpr const char* kGrowing = R"({"id":1,"op":"upload_growing"})";

TEST(Session, SendsABlobInOneStreamWhileItIsMade) {
  Server server{[&](const std::string& head, int) {
    return uploadAnswer(head.starts_with("PUT") ? "201 Created" : "202 Accepted");
  }};
  const Client client{configurationFor(server.host())};
  const Maker maker{std::string(kPiece + 5, 'x')};
  client.send(kGrowing, maker.listener());
  maker.tell(0);
  maker.tell(1000);
  server.waitFor(1000);
  maker.tell(kPiece);
  server.waitFor(kPiece);  // and nobody has said yet how much it will be
  client.send(maker.finish(1));
  EXPECT_EQ(client.receive(), (Json{{"id", 2}}));
  EXPECT_EQ(client.receive(), (Json{{"id", 1}}));
  EXPECT_EQ(steps(server), (std::vector<std::string>{"POST", "PATCH", "PUT"}));
  EXPECT_NE(server.heads().back().find(maker.hex()), std::string::npos);
}

TEST(Session, ARegistryThatWantsLengthsGetsAGrowingBlobInPieces) {
  std::promise<void> patched;
  Server server{[&](const std::string& head, int number) {
    if (number == 2) return uploadAnswer("411 Length Required");
    if (number == 4) patched.set_value();
    return uploadAnswer(head.starts_with("PUT") ? "201 Created" : "202 Accepted");
  }};
  server.answerBodiesEarly();
  const Client client{configurationFor(server.host())};
  const Maker maker{std::string(kPiece + 5, 'x')};
  client.send(kGrowing, maker.listener());
  maker.tell(kPiece);
  patched.get_future().wait();
  client.send(maker.finish(1));
  EXPECT_EQ(client.receive(), (Json{{"id", 2}}));
  EXPECT_EQ(client.receive(), (Json{{"id", 1}}));
  EXPECT_EQ(steps(server), (std::vector<std::string>{"POST", "PATCH", "POST", "PATCH 0-8388607",
                                                     "PATCH 8388608-8388612", "PUT"}));
}

TEST(Session, AGrowingBlobGoesOnWhereTheRegistryHasIt) {
  Server server{[](const std::string& head, int number) {
    if (number == 2) return uploadAnswer("503 No");
    if (head.starts_with("GET")) return uploadAnswer("204 No Content", "Range: 0-99\r\n");
    if (head.starts_with("HEAD")) return uploadAnswer("404 No");
    return uploadAnswer(head.starts_with("PUT") ? "201 Created" : "202 Accepted");
  }};
  const Client client{configurationFor(server.host())};
  const Maker maker{std::string(200, 'x')};
  client.send(kGrowing, maker.listener());
  client.send(maker.finish(1));  // may be read before the maker's first word
  maker.tell(0);
  EXPECT_EQ(client.receive(), (Json{{"id", 2}}));
  EXPECT_EQ(client.receive(), (Json{{"id", 1}}));
  EXPECT_EQ(steps(server), (std::vector<std::string>{"POST", "PATCH 0-199", "HEAD", "GET",
                                                     "PATCH 100-199", "PUT"}));
}

TEST(Session, AGrowingBlobThatIsRefusedSaysSoAtOnce) {
  Server server{[](const std::string& head, int) {
    return uploadAnswer(head.starts_with("POST") ? "202 Accepted" : "405 No");
  }};
  server.answerBodiesEarly();
  const Client client{configurationFor(server.host())};
  const Maker maker{std::string(kPiece, 'x')};
  client.send(kGrowing, maker.listener());
  maker.tell(kPiece);
  const Json answer = client.receive();
  EXPECT_EQ(answer["id"], 1);
  EXPECT_EQ(answer["error"]["code"], "registry-error") << answer;
  client.send(maker.finish(1));
  EXPECT_EQ(client.receive(), (Json{{"id", 2}}));
}

TEST(Session, CancelEndsARequestThatWaits) {
  Server server{[](const std::string&, int) {
    return std::string{
        "HTTP/1.1 503 No\r\nConnection: close\r\nRetry-After: 50\r\n"
        "Content-Length: 0\r\n\r\n"};
  }};
  const Client client{configurationFor(server.host())};
  client.send(R"({"id":1,"op":"head","reference":"a"})");
  client.send(R"({"id":2,"op":"cancel","of":1})");
  EXPECT_EQ(client.receive()["error"]["code"], "cancelled");
  EXPECT_EQ(client.receive(), (Json{{"id", 2}}));
}

TEST(Session, EndsWithItsSocket) {
  Client client{configurationFor("127.0.0.1:1")};
  EXPECT_EQ(client.end(), "");
}

struct Message {
  std::string_view name, text, error;
};
void PrintTo(const Message& c, std::ostream* out) {
  *out << c.text;
}
constexpr Message kMessages[] = {
    {"NoJson", "hello", "request"},
    {"NoObject", "[]", "without an id"},
    {"NoId", R"({"op":"ping"})", "without an id"},
    {"IdOfAnotherType", R"({"id":"1","op":"ping"})", "without an id"},
};
class BadMessages : public testing::TestWithParam<Message> {};
TEST_P(BadMessages, ThatAreNoRequestsEndTheSession) {
  Client client{configurationFor("127.0.0.1:1")};
  client.send(std::string{GetParam().text});
  EXPECT_NE(client.waitForEnd().find(GetParam().error), std::string::npos);
}
INSTANTIATE_TEST_SUITE_P(Texts, BadMessages, testing::ValuesIn(kMessages),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Session, WithoutARepositoryThereIsOnlyTheLogin) {
  Server server{[](const std::string&, int) { return ok(""); }};
  Json configuration = configurationFor(server.host());
  configuration["endpoints"][0].erase("repository");
  const Client client{configuration};
  EXPECT_EQ(client.call({{"op", "ping"}})["status"], 200);
  const Json answer = client.call({{"op", "head"}, {"reference", "v1"}});
  EXPECT_EQ(answer["error"]["cause"], "\"\" is no repository");
  EXPECT_EQ(server.heads().size(), 1);
}

TEST(Session, AConfigurationWithoutEndpointsIsRefused) {
  for (const char* text : {"{}", R"({"endpoints":[]})", R"({"endpoints":[{"repository":"c"}]})",
                           R"({"endpoints":[{"host":"a/b","repository":"c"}]})"}) {
    Client client{parseJson(text, "test")};
    EXPECT_NE(client.waitForEnd(), "") << text;
  }
}

}  // namespace
}  // namespace img::registry
