// img-remote: what img does over HTTP(S), in a process of its own that has no privileges.
//
//   img-remote fetch    <request.json        >result.json  3<>body
//   img-remote session  <configuration.json  >result.json  3<>socket
//   img-remote inflate  <gzip                >plain bytes
//
// The request carries credentials, so it comes through stdin and never as an argument. The result
// is one JSON object, or nothing; {"error": ...} (base/error.h) and exit status 1 when the command
// failed.
#include <curl/curl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"
#include "base/json.h"
#include "registry/confine.h"
#include "registry/fetch.h"
#include "registry/http.h"
#include "registry/inflate.h"
#include "registry/session.h"

namespace {

using img::Error;
using img::Json;
using img::Kind;

constexpr int kBody = 3;
constexpr size_t kMaxRequest = size_t{8} << 20;  // with certificates

struct Command {
  std::string_view name;
  Json (*run)(const Json& request, int body, const std::string& trust);
};
constexpr Command kCommands[] = {{"fetch", img::registry::fetchUrl},
                                 {"session", img::registry::runSession}};

const Command* findCommand(std::string_view name) {
  for (const Command& command : kCommands) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

Json run(const Command& command) {
  const Json request = img::parseJson(img::readAll(0, "request", kMaxRequest), "request");
  if (!request.is_object()) throw Error{Kind::usage, "the request is no JSON object"};
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    throw Error{Kind::failed, "cannot set up libcurl"};
  }
  img::registry::normaliseProxyVariables();
  const std::string trust = img::registry::readTrust();
  img::registry::confine(kBody);
  // From here on nothing but the network and the body's file can be reached.
  return command.run(request, kBody, trust);
}

int answer(const Command& command) {
  int status = 0;
  Json result;
  try {
    result = run(command);
  } catch (...) {
    result = {{"error", img::parseJson(img::currentError().toJson(), "error")}};
    status = 1;
  }
  if (result.is_null()) return status;
  img::writeAll(1, img::dumpJson(result) + "\n", "result");
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  const Command* command = argc == 2 ? findCommand(argv[1]) : nullptr;
  if (argc == 2 && std::string_view{argv[1]} == "--version") {
    std::puts("img-remote " IMG_VERSION);
    return 0;
  }
  if (argc == 2 && std::string_view{argv[1]} == "inflate") {
    std::signal(SIGPIPE, SIG_IGN);
    try {
      return img::registry::runInflate();
    } catch (...) {
      return img::registry::kInflateFailed;  // whoever reads has gone
    }
  }
  if (command == nullptr) {
    std::fputs(
        "usage: img-remote fetch|session|inflate <INPUT >RESULT 3<>FILE   (started by img)\n",
        stderr);
    return 125;
  }
  std::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is an error of its write
  try {
    return answer(*command);
  } catch (...) {
    return 1;  // whoever asked has gone
  }
}
