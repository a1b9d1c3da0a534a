#include "builder/git_program.h"

#include "base/environment.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "distribution/remote_program.h"

namespace img::builder {
namespace {

// In ssh_config(5): a word in double quotes; there is no way to write a quote inside.
std::string sshWord(const std::string& path) {
  if (path.find_first_of("\"\n") != std::string::npos) {
    throw Error::make(Kind::failed, "{}: ssh cannot be told such a path", text::quote(path));
  }
  return "\"" + path + "\"";
}

// What git says last is the reason; above it are progress and advice.
std::string lastWords(const std::string& err) {
  std::string reason;
  for (const std::string& line : text::split(err, '\n')) {
    const std::string_view trimmed = text::trim(line);
    if (trimmed.empty() || trimmed.starts_with("hint:")) continue;
    if (trimmed.starts_with("fatal: ") || trimmed.starts_with("error: ")) {
      reason = trimmed.substr(7);
    } else if (reason.empty()) {
      reason = trimmed;
    }
  }
  return text::escape(reason, 500);
}

bool isAboutAccess(const std::string& err) {
  for (const char* words :
       {"could not read Username", "Authentication failed", "Permission denied", "HTTP 401",
        "HTTP 403", "returned error: 401", "returned error: 403", "Host key verification failed"}) {
    if (err.find(words) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

GitProgram::GitProgram(const GitUrl& url, const RemoteAccess& access, std::string home)
    : home_(std::move(home)), protocols_("https:ssh:git") {
  if (url.remote.starts_with("http://")) protocols_ += ":http";
  for (const auto& [key, value] : std::initializer_list<std::pair<const char*, const char*>>{
           {"core.hooksPath", "/dev/null"},
           {"core.fsmonitor", "false"},
           {"core.symlinks", "true"},
           {"core.autocrlf", "false"},
           {"core.fileMode", "true"},
           {"core.attributesFile", "/dev/null"},
           {"core.logAllRefUpdates", "false"},
           {"credential.helper", ""},
           {"gc.auto", "0"},
           {"maintenance.auto", "false"},
           {"init.defaultBranch", "main"},
           {"fetch.recurseSubmodules", "false"},
           {"submodule.recurse", "false"},
           {"http.lowSpeedLimit", "1"},
           {"http.lowSpeedTime", "60"},
           // The mirror is ours, and gives any commit it has.
           {"uploadpack.allowAnySHA1InWant", "true"}}) {
    addConfig(key, value);
  }
  addAuthorization(url, access);
  addSsh(access);
  for (std::string& entry : distribution::networkEnvironment())
    variables_.push_back(std::move(entry));
  // git knows this variable by a name of its own.
  if (const std::string trust = variableOrEmpty("SSL_CERT_FILE"); !trust.empty())
    variables_.push_back("GIT_SSL_CAINFO=" + trust);
}

void GitProgram::addConfig(const std::string& key, const std::string& value) {
  config_.emplace_back(key, value);
}

void GitProgram::addAuthorization(const GitUrl& url, const RemoteAccess& access) {
  if (!access.findSecret || !url.origin.starts_with("http")) return;
  std::string header;
  for (const std::string& suffix : {"." + url.host, std::string{}}) {
    const std::string* token = access.findSecret("GIT_AUTH_TOKEN" + suffix);
    const std::string* whole = access.findSecret("GIT_AUTH_HEADER" + suffix);
    if (!header.empty()) break;
    if (whole != nullptr) header = text::trim(*whole);
    if (whole == nullptr && token != nullptr)
      header = "basic " + text::base64("x-access-token:" + std::string{text::trim(*token)});
  }
  if (header.empty()) return;
  addConfig("http." + url.origin + "/.extraHeader", "Authorization: " + header);
  // git would go on with the header at the address it was led to.
  addConfig("http.followRedirects", "false");
}

// ssh reads its configuration from the user's home, which git must not: what is needed of it is
// named here.
void GitProgram::addSsh(const RemoteAccess& access) {
  std::string config = "BatchMode yes\nStrictHostKeyChecking yes\n";
  const std::string home = variableOrEmpty("HOME");
  if (!home.empty()) config += "UserKnownHostsFile " + sshWord(home + "/.ssh/known_hosts") + "\n";
  for (const std::string& key : access.keyFiles) config += "IdentityFile " + sshWord(key) + "\n";
  if (access.agentSocket.empty() && access.keyFiles.empty()) config += "IdentityFile none\n";
  const Fd folder = sys::openDirectory(AT_FDCWD, home_);
  fs::replaceFile(folder.get(), "ssh_config", config, 0600, fs::Sync::none);
  // git gives this to a shell; the path is one of ours, without blanks and quotes of its own.
  std::string path = home_ + "/ssh_config";
  for (size_t at = 0; (at = path.find('\'', at)) != std::string::npos; at += 4)
    path.replace(at, 1, "'\\''");
  variables_.push_back("GIT_SSH_COMMAND=ssh -F '" + path + "'");
  if (!access.agentSocket.empty()) variables_.push_back("SSH_AUTH_SOCK=" + access.agentSocket);
}

std::vector<std::string> GitProgram::environment(const std::string& protocols) const {
  std::vector<std::string> all{"HOME=" + home_,
                               "XDG_CONFIG_HOME=" + home_,
                               "LC_ALL=C",
                               "GIT_CONFIG_NOSYSTEM=1",
                               "GIT_CONFIG_GLOBAL=/dev/null",
                               "GIT_ATTR_NOSYSTEM=1",
                               "GIT_TERMINAL_PROMPT=0",
                               "GIT_ASKPASS=/bin/false",
                               "SSH_ASKPASS=/bin/false",
                               "GIT_OPTIONAL_LOCKS=0",
                               "GIT_ALLOW_PROTOCOL=" + protocols,
                               fmt::format("GIT_CONFIG_COUNT={}", config_.size())};
  const std::string path = variableOrEmpty("PATH");
  all.push_back("PATH=" + (path.empty() ? "/usr/local/bin:/usr/bin:/bin" : path));
  for (size_t i = 0; i < config_.size(); ++i) {
    all.push_back(fmt::format("GIT_CONFIG_KEY_{}={}", i, config_[i].first));
    all.push_back(fmt::format("GIT_CONFIG_VALUE_{}={}", i, config_[i].second));
  }
  all.insert(all.end(), variables_.begin(), variables_.end());
  return all;
}

void GitProgram::start(const std::vector<std::string>& words, const std::string& protocols) {
  std::vector<std::string> argv{"git"};
  argv.insert(argv.end(), words.begin(), words.end());
  // git leaves the talking to others, which do not notice that it was killed.
  output_ = runProgram(Program{std::move(argv), environment(protocols), "", {}, true});
  if (output_.status.code != 127) return;
  throw Error{Kind::unsupported, "the program git is not installed"}.code("no-git").hint(
      "git sources need it: apt-get install git");
}

bool GitProgram::tryRun(const std::vector<std::string>& words) {
  start(words, protocols_);
  return output_.status.code == 0;
}

std::string GitProgram::run(const std::vector<std::string>& words, const std::string& what) {
  if (!tryRun(words)) throw failure(what);
  return std::move(output_.out);
}

std::string GitProgram::runLocally(const std::vector<std::string>& words, const std::string& what) {
  start(words, "file");
  if (output_.status.code != 0) throw failure(what);
  return std::move(output_.out);
}

Error GitProgram::failure(const std::string& what) const {
  Error error{Kind::failed, what};
  error.why(lastWords(output_.err));
  if (isAboutAccess(output_.err)) {
    error.code("unauthorized");
    error.hint("for a private repository: --secret id=GIT_AUTH_TOKEN,src=FILE, or --ssh default");
  }
  return error;
}

}  // namespace img::builder
