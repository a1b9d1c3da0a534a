#include "builder/http_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/lock.h"
#include "base/stream.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/remote_url.h"
#include "distribution/remote_program.h"

namespace img::builder {
namespace {

constexpr char kFolder[] = "cache/http";
constexpr char kBody[] = "body";
constexpr std::uint64_t kMaxBytes = std::uint64_t{64} << 30;  // as a layer, security.md L1

struct Record {
  HttpFile file;
  std::string etag;
};

// What was fetched with a secret is not for a build without one: not even by its checksum, for
// which nobody asks the server.
std::string keyOf(const std::string& url, bool hasCredentials) {
  return Digest::of(hasCredentials ? "private " + url : url).hex();
}

Digest hashOf(const Fd& fd) {
  FdSource source{fd.duplicate(), "a cached download"};
  HashingSource hashing{source};
  std::vector<std::byte> buffer(size_t{256} << 10);
  while (hashing.read(buffer) > 0) {
  }
  return hashing.digest();
}

// The cached file if it still has the bytes the record says.
std::optional<Fd> openChecked(const store::Layout& layout, const HttpFile& file) {
  auto fd = sys::tryOpenat(layout.fd(), file.path, O_RDONLY | O_NOFOLLOW);
  if (!fd) return std::nullopt;
  const struct stat st = sys::fstat(fd->get());
  if (!S_ISREG(st.st_mode) || static_cast<std::uint64_t>(st.st_size) != file.size ||
      hashOf(*fd) != file.digest)
    return std::nullopt;
  sys::check([&] { return ::lseek(fd->get(), 0, SEEK_SET); }, "rewind {}", file.path);
  return fd;
}

// A damaged record is none.
std::optional<Record> readRecord(int folder, const std::string& key) {
  const auto text = fs::tryReadFile(folder, key + ".json", size_t{64} << 10);
  if (!text) return std::nullopt;
  try {
    const Json json = parseJson(*text, "download record");
    Record record;
    record.file = parseHttpFile(*text);
    record.etag = json.value("etag", "");
    return record;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

class Download {
 public:
  Download(const RemotePlace& place, const std::string& url, const RemoteAccess& access)
      : layout_(place.layout),
        work_(place.work),
        url_(url),
        shown_(text::escape(withoutCredentials(url), 500)),
        access_(access),
        folder_(fs::makeDirs(place.layout.fd(), kFolder, 0700)),
        key_(keyOf(url, !credentials().empty())),
        lock_(FileLock::acquire(folder_.get(), key_ + ".lock", FileLock::Mode::exclusive)) {}

  HttpFile run(const std::optional<Digest>& expected) {
    std::optional<Record> known = readRecord(folder_.get(), key_);
    if (known && !openChecked(layout_, known->file)) known.reset();
    if (known && expected && known->file.digest == *expected) return known->file;
    const Fd body = sys::openat(work_.fd(), kBody, O_RDWR | O_CREAT | O_TRUNC, 0600);
    const Json answer =
        distribution::callRemote("fetch", request(known ? known->etag : ""), body.get());
    const int status = answer.value("status", 0);
    if (status == 304 && known) {
      checkDigest(known->file.digest, expected);
      return known->file;
    }
    // 206 is a part of something, and nobody has asked for a part.
    if (status < 200 || status > 299 || status == 206) throw refused(status);
    return keep(answer, body, expected, known);
  }

 private:
  [[nodiscard]] Json request(const std::string& etag) const {
    Json request{{"url", url_}, {"limit", kMaxBytes}};
    if (!etag.empty() && !etag.starts_with("W/")) request["etag"] = etag;
    if (const std::string authorization = credentials(); !authorization.empty())
      request["authorization"] = authorization;
    return request;
  }

  // For the host with its port first: two services of one machine need not share a secret.
  [[nodiscard]] std::string credentials() const {
    if (!access_.findSecret) return {};
    const std::string host = hostOfUrl(url_);
    for (const std::string& name : {host, host.substr(0, host.rfind(':'))}) {
      if (const std::string* header = access_.findSecret("HTTP_AUTH_HEADER_" + name))
        return std::string{text::trim(*header)};
      if (const std::string* token = access_.findSecret("HTTP_AUTH_TOKEN_" + name))
        return "Bearer " + std::string{text::trim(*token)};
    }
    return {};
  }

  [[nodiscard]] Error refused(int status) const {
    Error error = Error::make(Kind::failed, "{}: the server answered {}", shown_, status);
    if (status == 401 || status == 403) {
      const std::string host = hostOfUrl(url_);
      error.code("unauthorized");
      error.why(credentials().empty() ? "no secret for this host was given"
                                      : "the server does not take the secret for this host");
      error.hint(
          fmt::format("--secret id=HTTP_AUTH_TOKEN_{0},src=FILE gives a bearer token, "
                      "id=HTTP_AUTH_HEADER_{0} a whole Authorization header",
                      text::escape(host)));
    }
    return error;
  }

  void checkDigest(const Digest& digest, const std::optional<Digest>& expected) const {
    if (!expected || digest == *expected) return;
    throw Error::make(Kind::failed, "{}: expected {}, got {}", shown_, expected->str(),
                      digest.str())
        .code("digest-mismatch");
  }

  [[nodiscard]] HttpFile keep(const Json& answer, const Fd& body,
                              const std::optional<Digest>& expected,
                              const std::optional<Record>& known) const {
    HttpFile file;
    const auto digest = Digest::tryParseHex(answer.value("sha256", ""));
    if (!digest) throw Error{Kind::internal, "img-remote gave no digest"};
    file.digest = *digest;
    file.size = answer.value("size", std::uint64_t{0});
    if (const auto& modified = answer.at("modified"); modified.is_number_integer())
      file.modified = modified.get<std::int64_t>();
    checkDigest(file.digest, expected);
    const std::string name = key_ + "-" + file.digest.hex();
    file.path = std::string{kFolder} + "/" + name;
    const timespec mtime{file.modified, 0};
    sys::futimens(body.get(), mtime, mtime);
    sys::renameat(work_.fd(), kBody, folder_.get(), name);
    Json record = parseJson(toJson(file), "record");
    record["etag"] = answer.value("etag", "");
    fs::replaceFile(folder_.get(), key_ + ".json", dumpJson(record), 0600, fs::Sync::none);
    if (known && known->file.path != file.path) sys::tryUnlinkat(layout_.fd(), known->file.path, 0);
    return file;
  }

  const store::Layout& layout_;
  const store::IngestDir& work_;
  const std::string& url_;
  std::string shown_;
  const RemoteAccess& access_;
  Fd folder_;
  std::string key_;
  FileLock lock_;
};

}  // namespace

std::string toJson(const HttpFile& file) {
  return dumpJson(Json{{"sha256", file.digest.hex()},
                       {"size", file.size},
                       {"modified", file.modified},
                       {"path", file.path}});
}

HttpFile parseHttpFile(const std::string& text) {
  const Json json = parseJson(text, "download record");
  HttpFile file;
  const auto digest = Digest::tryParseHex(json.at("sha256").get<std::string>());
  file.path = json.at("path").get<std::string>();
  const bool isOurs = file.path.starts_with(kFolder) && file.path.find("..") == std::string::npos;
  if (!digest || !isOurs) throw Error{Kind::corrupt, "damaged download record"};
  file.digest = *digest;
  file.size = json.at("size").get<std::uint64_t>();
  file.modified = json.at("modified").get<std::int64_t>();
  return file;
}

HttpFile fetchHttp(const RemotePlace& place, const std::string& url, const RemoteAccess& access,
                   const std::optional<Digest>& expected) {
  return Download{place, url, access}.run(expected);
}

Fd openHttpFile(const RemotePlace& place, const std::string& url, const RemoteAccess& access,
                const HttpFile& file) {
  if (auto fd = openChecked(place.layout, file)) return std::move(*fd);
  const HttpFile again = fetchHttp(place, url, access, file.digest);
  if (auto fd = openChecked(place.layout, again)) return std::move(*fd);
  throw Error::make(Kind::busy, "{}: the downloaded file is gone",
                    text::quote(withoutCredentials(url)));
}

}  // namespace img::builder
