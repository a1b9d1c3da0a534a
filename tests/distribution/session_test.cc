#include "distribution/session.h"

#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <csignal>

#include "base/interruption.h"
#include "distribution/messages.h"
#include "distribution/remote_process.h"
#include "tests/distribution/remote_fixture.h"

namespace img::distribution::test {
namespace {

class SessionTest : public FakeRegistry {
 protected:
  Session session(Credentials credentials = {}) {
    Endpoint endpoint;
    endpoint.host = "registry.example";
    endpoint.repository = "app";
    endpoint.credentials = std::move(credentials);
    return Session{reference(), Action::pull, {}, {endpoint}};
  }
  template <class Work>
  static Error errorOf(Work&& work) {
    try {
      work();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "nothing was thrown";
    return Error{Kind::internal, ""};
  }
};

TEST_F(SessionTest, ConfigurationAndSecretsGoThroughStdinOnly) {
  Credentials credentials;
  credentials.username = "me";
  credentials.password = "secret word";
  Session one = session(credentials);
  one.checkLogin();
  const Json config = parseJson(read("config"), "config");
  EXPECT_EQ(config["repository"], "app");
  EXPECT_EQ(config["action"], "pull");
  EXPECT_EQ(config["tries"], 4);
  EXPECT_EQ(config["endpoints"][0]["host"], "registry.example");
  EXPECT_EQ(config["endpoints"][0]["scheme"], "https");
  EXPECT_EQ(config["endpoints"][0]["credentials"]["password"], "secret word");
}

TEST_F(SessionTest, HeadGivesDigestTypeAndSize) {
  const auto document = addDocument("{}", "application/x; charset=utf-8", "v1");
  Session one = session();
  const auto head = one.head("v1");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->digest, document.digest);
  EXPECT_EQ(head->mediaType, "application/x");
  EXPECT_EQ(head->size, 2);
  EXPECT_FALSE(one.head("v2"));
}

TEST_F(SessionTest, AManifestOfADigestIsVerified) {
  const auto document = addDocument("{\"a\":1}", "t", "v1");
  Session one = session();
  EXPECT_EQ(one.manifest("v1").bytes, "{\"a\":1}");
  EXPECT_EQ(one.manifest(document.digest.str()).descriptor.digest, document.digest);
  write("manifests/sha256-" + document.digest.hex(), "{\"a\":2}");
  const Error error = errorOf([&] { one.manifest(document.digest.str()); });
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_NE(error.cause().find("registry.example"), std::string::npos) << error.cause();
}

TEST_F(SessionTest, AnUnknownManifestIsNotFound) {
  Session one = session();
  const Error error = errorOf([&] { one.manifest("v9"); });
  EXPECT_EQ(error.kind(), Kind::notFound);
  EXPECT_EQ(error.code(), "manifest-unknown");
}

TEST_F(SessionTest, ABlobArrivesInThePipeFromItsOffset) {
  const auto blob = addBlob("0123456789");
  Session one = session();
  Pipe pipe = Pipe::make();
  const int id = one.startBlob(blob, 4, std::move(pipe.write));
  EXPECT_EQ(readAll(pipe.read.get(), "blob"), "456789");
  EXPECT_EQ(one.wait(id)["received"], 6);
}

TEST_F(SessionTest, BlobsRunAtTheSameTimeAndAnswersAreTakenById) {
  const auto first = addBlob("first"), second = addBlob("second");
  Session one = session();
  Pipe a = Pipe::make(), b = Pipe::make();
  const int idA = one.startBlob(first, 0, std::move(a.write));
  const int idB = one.startBlob(second, 0, std::move(b.write));
  EXPECT_EQ(one.wait(idB)["received"], 6);
  EXPECT_EQ(one.wait(idA)["received"], 5);
  EXPECT_EQ(readAll(a.read.get(), "blob"), "first");
  EXPECT_TRUE(one.answered().empty());
}

TEST_F(SessionTest, UploadsMountsAndTags) {
  Session one = session();
  const Digest digest = Digest::of("layer");
  EXPECT_FALSE(one.hasBlob(digest));
  EXPECT_TRUE(one.mountBlob(digest, "other/app"));
  EXPECT_FALSE(one.mountBlob(digest, "third/app"));
  const Fd file{::memfd_create("layer", MFD_CLOEXEC)};
  writeAll(file.get(), std::string_view{"layer"}, "layer");
  store::Descriptor blob;
  blob.digest = digest;
  blob.size = 5;
  one.wait(one.startUpload(blob, file));
  EXPECT_TRUE(one.hasBlob(digest));
  store::Descriptor manifest;
  manifest.mediaType = "t";
  manifest.digest = Digest::of("{}");
  EXPECT_EQ(one.putManifest("v3", manifest, "{}"), manifest.digest);
  EXPECT_EQ(one.tags(), std::vector<std::string>{"v3"});
}

TEST_F(SessionTest, NoticesReachTheListener) {
  Session one = session();
  std::string heard;
  one.setNotice([&](const std::string& text) { heard = text; });
  one.checkLogin();
  EXPECT_EQ(heard, "waits for the registry");
}

TEST_F(SessionTest, ARefusalNamesWhereTheCredentialsCameFrom) {
  write("faults/ping", "denied\n");
  const Error anonymous = errorOf([&] { session().checkLogin(); });
  ASSERT_EQ(anonymous.kind(), Kind::denied);
  EXPECT_EQ(anonymous.hints().back(), "no credentials were sent: `img login localhost:1`");
  Credentials credentials;
  credentials.username = "me";
  credentials.password = "secret word";
  credentials.source = "/home/me/auth.json";
  const Error refused = errorOf([&] { session(credentials).checkLogin(); });
  EXPECT_NE(refused.hints().back().find("/home/me/auth.json"), std::string::npos);
  EXPECT_EQ(refused.toJson().find("secret word"), std::string::npos);
}

TEST_F(SessionTest, ACrashOfTheProgramIsAnErrorWithItsLastWords) {
  const auto blob = addBlob("0123456789");
  setFault(blob.digest, "die 3");
  Session one = session();
  Pipe pipe = Pipe::make();
  const int id = one.startBlob(blob, 0, std::move(pipe.write));
  EXPECT_EQ(readAll(pipe.read.get(), "blob"), "012");
  const Error error = errorOf([&] { one.wait(id); });
  EXPECT_EQ(error.code(), "remote-ended");
  EXPECT_EQ(error.why(), "out of luck");
  EXPECT_EQ(errorOf([&] { one.head("v1"); }).code(), "remote-ended");
}

TEST_F(SessionTest, AMissingProgramIsNamed) {
  ::setenv("IMG_REMOTE", "/nonexistent/img-remote", 1);
  const Error error = errorOf([&] { session(); });
  EXPECT_EQ(error.kind(), Kind::unsupported);
  EXPECT_NE(error.why().find("/nonexistent/img-remote"), std::string::npos);
}

TEST_F(SessionTest, AProgramThatCannotBeStartedSaysWhy) {
  write("img-remote", "#!/nonexistent/interpreter\n");
  const Error error = errorOf([&] { session().checkLogin(); });
  EXPECT_NE(error.why().find("ENOENT"), std::string::npos) << error.why();
}

TEST_F(SessionTest, AnInterruptionEndsAWait) {
  const auto blob = addBlob(std::string(1 << 20, 'x'));
  Session one = session();
  Pipe pipe = Pipe::make();
  const InterruptionScope scope;
  const int id = one.startBlob(blob, 0, std::move(pipe.write));  // nobody reads it
  ::raise(SIGTERM);
  EXPECT_EQ(errorOf([&] { one.wait(id); }).cause(), "interrupted");
}

TEST(Messages, CarryADescriptorAndEndWithTheOtherSide) {
  auto [a, b] = sys::socketPair();
  EXPECT_EQ(receiveMessage(b.get(), Receive::ifThere, "a").state, Message::State::none);
  Pipe pipe = Pipe::make();
  ASSERT_TRUE(sendMessage(a.get(), {{"x", 1}}, pipe.write.get()));
  ASSERT_TRUE(sendMessage(a.get(), {{"y", "z"}}));
  pipe.write.reset();
  Message first = receiveMessage(b.get(), Receive::waiting, "a");
  EXPECT_EQ(first.text, R"({"x":1})");
  ASSERT_TRUE(first.fd);
  writeAll(first.fd.get(), std::string_view{"through"}, "pipe");
  first.fd.reset();
  EXPECT_EQ(readAll(pipe.read.get(), "pipe"), "through");
  const Message second = receiveMessage(b.get(), Receive::waiting, "a");
  EXPECT_EQ(second.text, R"({"y":"z"})");
  EXPECT_FALSE(second.fd);
  a.reset();
  EXPECT_EQ(receiveMessage(b.get(), Receive::waiting, "a").state, Message::State::ended);
  EXPECT_FALSE(sendMessage(b.get(), {{"x", 1}}));
}

}  // namespace
}  // namespace img::distribution::test
