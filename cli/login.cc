// login and logout (cli.md 15). The password goes to img-remote, to a credential helper and into
// the file, each time over a descriptor: never into arguments, logs or messages.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/prompt.h"
#include "cli/values.h"
#include "distribution/access.h"
#include "distribution/credentials.h"
#include "distribution/session.h"

namespace img::cli {
namespace {

constexpr char kDefaultRegistry[] = "docker.io";
constexpr size_t kMaxPassword = 64 << 10;

struct LoginOptions {
  std::string registry = kDefaultRegistry;
  std::string user;
  std::optional<std::string> password;
  bool isFromStdin = false, isQuestion = false;
  distribution::AccessOptions access;
};

// HOST[:PORT]; people paste addresses: "https://host/v1/".
std::string registryHost(std::string text) {
  const size_t scheme = text.find("://");
  if (scheme != std::string::npos) {
    text = text.substr(scheme + 3);
    text = text.substr(0, text.find('/'));
  }
  while (text.ends_with('/')) text.pop_back();
  if (text.find('/') != std::string::npos) {
    throw Error::make(Kind::usage, "{} is not a registry", text::quote(text))
        .hint("name its host, and its port where it has one: img login registry.example.com:5000");
  }
  // A single word ("registry") is a host here, though not in an image's name.
  const bool looksLikeHost = text.find_first_of(".:") != std::string::npos;
  store::Reference::parse((looksLikeHost || text == "localhost" ? text : text + ":443") + "/name");
  return distribution::canonicalHost(text);
}

std::string passwordFromStdin() {
  std::string password = readAll(STDIN_FILENO, "the password", kMaxPassword);
  while (password.ends_with('\n') || password.ends_with('\r')) password.pop_back();
  return password;
}

void check(const LoginOptions& login, const std::string& credentials) {
  store::Reference registry;
  registry.host = login.registry;
  distribution::AccessOptions access = login.access;
  access.credentials = credentials;
  // Only what is asked for on the way to this registry counts, so no file need be there yet.
  if (!credentials.empty()) access.authFile.clear();
  distribution::Session{registry, distribution::Action::push, access}.checkLogin();
}

std::optional<distribution::Credentials> stored(const LoginOptions& login) {
  distribution::AccessOptions access = login.access;
  if (!access.authFile.empty() && ::access(access.authFile.c_str(), F_OK) != 0) return std::nullopt;
  auto found = distribution::findStoredCredentials(login.registry, {}, access);
  if (found.isEmpty()) return std::nullopt;
  return found;
}

// What is stored already, when it still holds.
bool isLoggedIn(Context& context, const LoginOptions& login) {
  const auto known = stored(login);
  if (!known) return false;
  try {
    check(login, {});
  } catch (const Error& error) {
    if (error.kind() != Kind::denied) throw;
    context.notice(fmt::format("The credentials in {} are not accepted any more\n", known->source));
    return false;
  }
  context.notice(fmt::format("Using the credentials in {}\n", known->source));
  return true;
}

void fillIn(Context& context, LoginOptions& login) {
  if (login.isFromStdin) {
    if (login.password)
      throw Error{Kind::usage, "--password and --password-stdin exclude each other"};
    if (login.user.empty())
      throw Error{Kind::usage, "--password-stdin needs --username"}.hint("-u NAME");
    login.password = passwordFromStdin();
  }
  if (login.user.empty()) login.user = promptFor(context, "Username", Echo::shown, "-u NAME");
  if (!login.password)
    login.password = promptFor(context, "Password", Echo::hidden, "--password-stdin");
  if (login.user.empty()) throw Error{Kind::usage, "the username is empty"};
  // RFC 7617, 2: the first colon ends the name.
  if (login.user.find(':') != std::string::npos)
    throw Error{Kind::usage, "a username cannot have a colon"};
  if (login.password->empty()) throw Error{Kind::usage, "the password is empty"};
}

int printLogin(Context& context, const LoginOptions& login) {
  const auto known = stored(login);
  if (!known || known->username.empty()) {
    throw Error::make(Kind::notFound, "not logged in to {}", login.registry)
        .hint("img login " + login.registry);
  }
  context.print(known->username + "\n");
  return 0;
}

int runLogin(Context& context, const std::vector<std::string>& args) {
  LoginOptions login;
  Options options{context, "[REGISTRY]", "Log in to a registry"};
  options.text("-u,--username", login.user, "NAME", "Username")
      .text("-p,--password", login.password, "PASSWORD",
            "Password; others can see it in the list of processes")
      .flag("--password-stdin", login.isFromStdin, "Read the password from stdin")
      .flag("--get-login", login.isQuestion, "Print who is logged in")
      .text("--authfile", login.access.authFile, "FILE", "Store the credentials in FILE")
      .text("--cert-dir", login.access.certDir, "DIR", "Certificates and keys of the registry")
      .optionalValue("--tls-verify", "true", "BOOL", "Verify the registry's certificate (true)",
                     [&login](const std::string& value) {
                       login.access.verifyTls = parseBool(value, "--tls-verify");
                     })
      .positionals(0, 1);
  if (!options.parse(args)) return 0;
  if (!options.words().empty()) login.registry = registryHost(options.words().front());
  if (login.isQuestion) return printLogin(context, login);
  if (login.password) {
    context.warn(
        Error{Kind::usage, "--password on the command line is insecure"}.hint("--password-stdin"));
  }
  const bool isUnasked = login.user.empty() && !login.password && !login.isFromStdin;
  if (!isUnasked || !isLoggedIn(context, login)) {
    fillIn(context, login);
    check(login, login.user + ":" + *login.password);
    distribution::Credentials credentials;
    credentials.username = login.user;
    credentials.password = *login.password;
    distribution::storeCredentials(distribution::loginFile(login.access), login.registry,
                                   credentials);
  }
  context.print("Login Succeeded\n");
  return 0;
}

int runLogout(Context& context, const std::vector<std::string>& args) {
  LoginOptions login;
  bool all = false;
  Options options{context, "[REGISTRY]", "Log out from a registry"};
  options.flag("-a,--all", all, "Forget the credentials of all registries")
      .text("--authfile", login.access.authFile, "FILE", "Remove the credentials from FILE")
      .positionals(0, 1);
  if (!options.parse(args)) return 0;
  const std::string file = distribution::loginFile(login.access);
  if (all) {
    if (!options.words().empty()) throw Error{Kind::usage, "--all takes no registry"};
    distribution::eraseAllCredentials(file);
    context.print("Removed login credentials for all registries\n");
    return 0;
  }
  if (!options.words().empty()) login.registry = registryHost(options.words().front());
  const bool wasThere = distribution::eraseCredentials(file, login.registry);
  context.print(fmt::format(
      "{} {}\n", wasThere ? "Removed login credentials for" : "Not logged in to", login.registry));
  if (const auto left = stored(login)) {
    context.notice(fmt::format("{} has credentials for {}, too\n", left->source, login.registry));
  }
  return 0;
}

}  // namespace

void addLoginCommands(CommandTable& table) {
  table.add({"login", Group::system, "Log in to a registry", runLogin});
  table.add({"logout", Group::system, "Log out from a registry", runLogout});
}

}  // namespace img::cli
