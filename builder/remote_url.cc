#include "builder/remote_url.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace img::builder {
namespace {

bool isHttp(std::string_view text) {
  return text.starts_with("http://") || text.starts_with("https://");
}

bool isWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

// `user@host:path`, the form of scp.
bool isScpForm(std::string_view text) {
  const size_t at = text.find('@');
  if (at == 0 || at == std::string_view::npos) return false;
  const size_t colon = text.find(':', at);
  if (colon == std::string_view::npos || colon == at + 1) return false;
  const std::string_view user = text.substr(0, at), host = text.substr(at + 1, colon - at - 1);
  return std::all_of(user.begin(), user.end(), isWordCharacter) &&
         std::all_of(host.begin(), host.end(),
                     [](char c) { return isWordCharacter(c) || c == '.'; });
}

std::string_view beforeQuery(std::string_view url) {
  return url.substr(0, url.find_first_of("?#"));
}

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Percent-decoding, once; a `%` that starts no byte stays.
std::string decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool isByte = text[i] == '%' && i + 2 < text.size() && hexDigit(text[i + 1]) >= 0 &&
                        hexDigit(text[i + 2]) >= 0;
    if (!isByte) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(hexDigit(text[i + 1]) * 16 + hexDigit(text[i + 2]));
    i += 2;
  }
  return out;
}

// Between "://" and the path.
std::string_view authorityOf(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return {};
  const std::string_view rest = url.substr(scheme + 3);
  return rest.substr(0, rest.find_first_of("/?#"));
}

bool isControl(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

// git check-ref-format(1), and no option in disguise (CVE-2018-17456).
bool isRefName(std::string_view ref) {
  static constexpr std::string_view kForbidden = " ~^:?*[\\";
  if (ref.empty() || ref.front() == '-' || ref.front() == '/' || ref.back() == '/' ||
      ref.back() == '.' || ref == "@" || ref.ends_with(".lock"))
    return false;
  for (const std::string_view part : {"..", "//", "@{", "/."}) {
    if (ref.find(part) != std::string_view::npos) return false;
  }
  return std::none_of(ref.begin(), ref.end(), [](char c) {
    return isControl(c) || kForbidden.find(c) != std::string_view::npos;
  });
}

class GitUrlParser {
 public:
  explicit GitUrlParser(std::string_view text) : text_(text), isScp_(!hasScheme(text)) {}

  GitUrl parse() {
    const size_t hash = text_.find('#');
    std::string_view rest = text_.substr(0, hash);
    const size_t question = isScp_ ? std::string_view::npos : rest.find('?');
    url_.remote = std::string{rest.substr(0, question)};
    checkRemote();
    if (question != std::string_view::npos) readQuery(rest.substr(question + 1));
    if (hash != std::string_view::npos) readFragment(text_.substr(hash + 1));
    checkWhole();
    return std::move(url_);
  }

 private:
  static bool hasScheme(std::string_view text) {
    return text.find("://") != std::string_view::npos;
  }

  [[nodiscard]] Error bad(std::string_view what) const {
    return Error::make(Kind::failed, "{}: {}", text::quote(withoutCredentials(text_)), what);
  }

  // git itself refuses some of these; an old one would take a host for an option of ssh.
  void checkRemote() {
    const std::string& remote = url_.remote;
    if (std::any_of(remote.begin(), remote.end(), isControl) || remote.starts_with("-"))
      throw bad("not a git URL");
    if (isScp_) {
      const size_t at = remote.find('@'), colon = remote.find(':', at);
      url_.host = remote.substr(at + 1, colon - at - 1);
      if (colon + 1 == remote.size()) throw bad("there is no path");
      if (remote[colon + 1] == '-') throw bad("a path that begins with \"-\" is refused");
    } else {
      url_.host = hostOfUrl(remote);
      url_.origin = remote.substr(0, remote.find("://") + 3) + url_.host;
    }
    if (url_.host.empty()) throw bad("there is no host");
    if (url_.host.front() == '-') throw bad("a host that begins with \"-\" is refused");
  }

  void readQuery(std::string_view query) {
    for (const std::string& item : text::split(query, '&')) {
      if (item.empty()) continue;
      const size_t equals = item.find('=');
      std::string key = decode(item.substr(0, equals));
      if (key == "checksum") key = "commit";
      const bool hasValue = equals != std::string::npos;
      std::string value = hasValue ? decode(std::string_view{item}.substr(equals + 1)) : "";
      if (!query_.emplace(key, value).second) {
        throw bad(fmt::format("the parameter {} is given twice", text::quote(key)));
      }
      set(key, value, hasValue);
    }
  }

  void set(const std::string& key, const std::string& value, bool hasValue) {
    if (key == "keep-git-dir" || key == "submodules" || key == "fetch-by-commit") {
      setFlag(key, value, hasValue);
      return;
    }
    static constexpr std::array kKnown{"ref", "tag", "branch", "commit", "subdir", "mtime"};
    if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end()) {
      Error error = bad(fmt::format("unknown parameter {}", text::quote(key)));
      error.hint(
          "parameters of a git URL: ref, tag, branch, commit, subdir, keep-git-dir, submodules, "
          "mtime, fetch-by-commit");
      throw error;
    }
    if (value.empty()) throw bad(fmt::format("the parameter {} has no value", key));
    if (key == "ref" || key == "tag" || key == "branch") setRef(key, value);
    if (key == "commit") url_.commit = text::lower(value);
    if (key == "subdir") url_.subdir = value;
    if (key == "mtime") {
      if (value != "checkout" && value != "commit")
        throw bad(fmt::format("mtime={}: use checkout or commit", text::escape(value)));
      url_.hasCommitTimes = value == "commit";
    }
  }

  void setFlag(const std::string& key, const std::string& value, bool hasValue) {
    const bool isTrue = value == "1" || value == "true" || !hasValue || value.empty();
    if (!isTrue && value != "0" && value != "false") {
      throw bad(fmt::format("{}={}: use true or false", key, text::escape(value)));
    }
    if (key == "keep-git-dir") url_.keepGitDir = isTrue;
    if (key == "submodules") url_.submodules = isTrue;
    if (key == "fetch-by-commit") url_.fetchByCommit = isTrue;
  }

  void setRef(const std::string& key, const std::string& value) {
    if (!url_.ref.empty()) throw bad("only one of ref, tag and branch can be given");
    url_.ref = value;
    if (key == "tag") url_.refKind = GitUrl::RefKind::tag;
    if (key == "branch") url_.refKind = GitUrl::RefKind::branch;
  }

  void readFragment(std::string_view fragment) {
    const size_t colon = fragment.find(':');
    const auto plain = [this](std::string_view part) {
      return isScp_ ? std::string{part} : decode(part);
    };
    const std::string ref = plain(fragment.substr(0, colon));
    const std::string subdir =
        colon == std::string_view::npos ? "" : plain(fragment.substr(colon + 1));
    if (!ref.empty()) {
      if (!url_.ref.empty() && url_.ref != ref)
        throw bad("the ref after \"#\" contradicts the one of the query");
      url_.ref = ref;
    }
    if (!subdir.empty()) {
      if (!url_.subdir.empty() && url_.subdir != subdir)
        throw bad("the folder after \"#\" contradicts the one of the query");
      url_.subdir = subdir;
    }
  }

  void checkWhole() {
    if (!url_.ref.empty() && !isRefName(url_.ref))
      throw bad(fmt::format("{} is no name of a branch or tag", text::quote(url_.ref)));
    if (!url_.commit.empty() && !isCommitPrefix(url_.commit))
      throw bad(fmt::format("commit={}: not a commit hash", text::escape(url_.commit)));
    if (url_.fetchByCommit && !isCommitHash(url_.commit))
      throw bad("fetch-by-commit needs commit with a whole hash");
    url_.subdir = cleanSubdir(url_.subdir);
  }

  [[nodiscard]] std::string cleanSubdir(const std::string& subdir) const {
    std::vector<std::string> parts;
    for (const std::string& part : text::split(subdir, '/')) {
      if (part.empty() || part == ".") continue;
      if (part == "..") throw bad("\"..\" in the folder is refused");
      if (part.find('\0') != std::string::npos) throw bad("the folder has a NUL in it");
      parts.push_back(part);
    }
    return text::join(parts, "/");
  }

  std::string_view text_;
  bool isScp_;
  GitUrl url_;
  std::map<std::string, std::string> query_;
};

bool isHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return hexDigit(c) >= 0; });
}

constexpr std::string_view kGithub = "github.com/";

}  // namespace

SourceKind classifySource(std::string_view source) {
  if (source.starts_with("git://") || source.starts_with("ssh://")) return SourceKind::git;
  if (isHttp(source)) {
    return beforeQuery(source).ends_with(".git") ? SourceKind::git : SourceKind::http;
  }
  return isScpForm(source) ? SourceKind::git : SourceKind::local;
}

SourceKind classifyContext(std::string_view context) {
  return context.starts_with(kGithub) ? SourceKind::git : classifySource(context);
}

GitUrl parseGitUrl(std::string_view text) {
  if (!text.starts_with(kGithub)) return GitUrlParser{text}.parse();
  const std::string whole = "https://" + std::string{text};
  return GitUrlParser{whole}.parse();
}

bool isCommitPrefix(std::string_view text) {
  return text.size() >= 4 && text.size() <= 64 && isHex(text);
}

bool isCommitHash(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) && isHex(text);
}

std::string fileNameOfUrl(std::string_view url) {
  const size_t scheme = url.find("://");
  const std::string_view path =
      beforeQuery(url.substr(scheme == std::string_view::npos ? 0 : scheme + 3));
  const size_t slash = path.rfind('/');
  std::string name = slash == std::string_view::npos ? "" : decode(path.substr(slash + 1));
  if (name.empty()) return "__unnamed__";
  const bool isName = name != "." && name != ".." && name.size() <= 255 &&
                      name.find('/') == std::string::npos &&
                      std::none_of(name.begin(), name.end(), isControl);
  if (!isName) {
    throw Error::make(Kind::failed, "{}: {} cannot be the name of a file",
                      text::quote(withoutCredentials(url)), text::quote(name))
        .hint("give the destination a name of its own");
  }
  return name;
}

std::string hostOfUrl(std::string_view url) {
  const std::string_view authority = authorityOf(url);
  const size_t at = authority.rfind('@');
  return std::string{at == std::string_view::npos ? authority : authority.substr(at + 1)};
}

std::string withoutCredentials(std::string_view url) {
  const std::string_view authority = authorityOf(url);
  const size_t at = authority.rfind('@');
  // The user of ssh is no secret, but the way in.
  if (at == std::string_view::npos || url.starts_with("ssh://")) return std::string{url};
  std::string out{url};
  out.erase(out.find("://") + 3, at + 1);
  return out;
}

}  // namespace img::builder
