#include "base/error.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/json.h"

namespace img {
namespace {

Kind kindOfErrno(int errnum) {
  switch (errnum) {
    case ENOENT:
    case ENOTDIR: return Kind::notFound;
    case EEXIST: return Kind::exists;
    case EBUSY:
    case EWOULDBLOCK:
    case ETXTBSY: return Kind::busy;
    case EACCES:
    case EPERM:
    case EROFS: return Kind::denied;
    case ENOSYS:
    case EOPNOTSUPP:
    case ENODEV: return Kind::unsupported;
    default: return Kind::failed;
  }
}

// strerrorname_np and strerrordesc_np (glibc 2.32): no locale, no shared buffer.
std::string errnoText(int errnum) {
  const char* name = strerrorname_np(errnum);
  const char* text = strerrordesc_np(errnum);
  if (name == nullptr || text == nullptr) return fmt::format("error {}", errnum);
  return fmt::format("{} ({})", text, name);
}

}  // namespace

std::string_view kindName(Kind kind) {
  switch (kind) {
    case Kind::failed: return "failed";
    case Kind::usage: return "usage";
    case Kind::notFound: return "notFound";
    case Kind::exists: return "exists";
    case Kind::busy: return "busy";
    case Kind::corrupt: return "corrupt";
    case Kind::denied: return "denied";
    case Kind::unsupported: return "unsupported";
    case Kind::internal: break;
  }
  return "internal";
}

Error::Error(Kind kind, std::string cause) : kind_(kind), cause_(std::move(cause)) {}

Error Error::fromErrno(int errnum, std::string_view action) {
  Error error{kindOfErrno(errnum), fmt::format("{}: {}", action, errnoText(errnum))};
  error.errnum_ = errnum;
  if (errnum == ENOSPC || errnum == EDQUOT) {
    error.code("no-space");
    error.hint("free some space, or put the store elsewhere with --root DIR");
  }
  if (errnum == EMFILE) error.hint("raise the limit of open files: ulimit -n");
  return error;
}

Error& Error::addStep(std::string step) {
  steps_.push_back(std::move(step));
  return *this;
}
Error& Error::hint(std::string text) {
  hints_.push_back(std::move(text));
  return *this;
}
Error& Error::why(std::string text) {
  why_ = std::move(text);
  return *this;
}
Error& Error::code(std::string name) {
  code_ = std::move(name);
  return *this;
}
Error& Error::at(Position position) {
  if (!position_) position_ = std::move(position);
  return *this;
}
Error& Error::exitCode(int status) {
  exitCode_ = status;
  return *this;
}
Error& Error::logTail(std::vector<std::string> lines) {
  logTail_ = std::move(lines);
  return *this;
}
Error& Error::stage(std::string label) {
  stage_ = std::move(label);
  return *this;
}
Error& Error::prefixCause(std::string_view prefix) {
  cause_.insert(0, prefix);
  return *this;
}

Error& Error::also(Error other) {
  others_.push_back(std::move(other));
  return *this;
}

std::string Error::toJson() const {
  Json json{{"kind", static_cast<int>(kind_)},
            {"errno", errnum_},
            {"cause", cause_},
            {"steps", steps_},
            {"hints", hints_},
            {"why", why_},
            {"code", code_},
            {"logTail", logTail_},
            {"stage", stage_}};
  if (exitCode_) json["exitCode"] = *exitCode_;
  if (position_) {
    json["position"] = {{"file", position_->file},       {"line", position_->line},
                        {"endLine", position_->endLine}, {"column", position_->column},
                        {"width", position_->width},     {"text", position_->text}};
  }
  return dumpJson(json);
}

Error Error::fromJson(std::string_view text) try {
  const Json json = parseJson(text, "error of a child process");
  const int kind = json.at("kind").get<int>();
  const bool isKnown = kind >= 0 && kind <= static_cast<int>(Kind::internal);
  Error error{isKnown ? static_cast<Kind>(kind) : Kind::internal,
              json.at("cause").get<std::string>()};
  error.errnum_ = json.at("errno").get<int>();
  error.steps_ = json.at("steps").get<std::vector<std::string>>();
  error.hints_ = json.at("hints").get<std::vector<std::string>>();
  error.why_ = json.at("why").get<std::string>();
  error.code_ = json.at("code").get<std::string>();
  error.logTail_ = json.at("logTail").get<std::vector<std::string>>();
  error.stage_ = json.at("stage").get<std::string>();
  if (json.contains("exitCode")) error.exitCode_ = json.at("exitCode").get<int>();
  if (json.contains("position")) {
    const Json& at = json.at("position");
    error.position_ = Position{at.at("file"),   at.at("line"),  at.at("endLine"),
                               at.at("column"), at.at("width"), at.at("text")};
  }
  return error;
} catch (const std::exception&) {
  return Error{Kind::internal, "a child process ended without a readable error"};
}

Error currentError() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error{Kind::failed, "out of memory"};
  } catch (const std::system_error& error) {  // of std::thread, when the system gives no more
    return Error::fromErrno(error.code().value(), "start a thread");
  } catch (const std::exception& error) {
    return Error{Kind::internal, error.what()};
  } catch (...) {
    return Error{Kind::internal, "unknown exception"};
  }
}

}  // namespace img
