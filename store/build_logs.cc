#include "store/build_logs.h"

#include <unistd.h>

#include <algorithm>
#include <tuple>

#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::store {
namespace {

constexpr char kFolder[] = "builds";
constexpr std::string_view kSuffix = ".log";

std::string nameOf(int step) {
  return std::to_string(step) + std::string{kSuffix};
}

bool isId(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

BuildLog::BuildLog(const Layout& layout, std::string id) : layout_(layout), id_(std::move(id)) {
  if (!isId(id_)) throw Error::make(Kind::internal, "a build with the id {}", text::quote(id_));
}

void BuildLog::makeFolder() {
  const std::string path = std::string{kFolder} + "/" + id_;
  folder_ = fs::makeDirs(layout_.fd(), path, 0700);
  sys::tryFlock(folder_.get(), true);
}

bool BuildLog::append(int step, std::string_view bytes) {
  if (isBroken_) return false;
  File& file = files_[step];
  if (file.isBroken) return false;
  try {
    if (!folder_) makeFolder();
    if (!file.fd) {
      file.fd =
          sys::openat(folder_.get(), nameOf(step), O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
    }
    writeAll(file.fd.get(), bytes, "the log of a step");
    file.size += bytes.size();
    return true;
  } catch (const Error& error) {
    // What was written before stays; half a piece at the end is cut so that offsets stay true.
    log::warn("the log of step {} is not kept: {}", step, error.cause());
    file.isBroken = true;
    isBroken_ = !folder_;
    if (file.fd) std::ignore = ::ftruncate(file.fd.get(), static_cast<off_t>(file.size));
    return false;
  }
}

std::string BuildLog::read(int step, std::uint64_t offset, size_t count) const {
  const auto found = files_.find(step);
  if (found == files_.end() || !found->second.fd || offset >= found->second.size) return {};
  std::string bytes(std::min<std::uint64_t>(count, found->second.size - offset), '\0');
  const size_t got = preadFull(found->second.fd.get(),
                               std::as_writable_bytes(std::span{bytes.data(), bytes.size()}),
                               static_cast<off_t>(offset), "the log of a step");
  bytes.resize(got);
  return bytes;
}

std::uint64_t BuildLog::size(int step) const {
  const auto found = files_.find(step);
  return found == files_.end() ? 0 : found->second.size;
}

void BuildLog::finish(std::string_view json) {
  if (!folder_) return;
  try {
    fs::replaceFile(folder_.get(), "build.json", json, 0600, fs::Sync::none);
    BuildLogs{layout_}.prune(kKeptBuildLogs);
  } catch (const Error& error) {
    log::warn("the log of this build is not complete: {}", error.cause());
  }
}

std::vector<std::string> BuildLogs::ids() const {
  const auto folder = sys::tryOpenat(layout_.fd(), kFolder, O_RDONLY | O_DIRECTORY);
  if (!folder) return {};
  std::vector<std::tuple<std::int64_t, std::int64_t, std::string>> found;
  for (const fs::Entry& entry : fs::list(folder->get())) {
    if (!isId(entry.name)) continue;
    const auto st = sys::tryFstatat(folder->get(), entry.name);
    if (st) found.emplace_back(st->st_mtim.tv_sec, st->st_mtim.tv_nsec, entry.name);
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<std::string> ids;
  ids.reserve(found.size());
  for (auto& item : found) ids.push_back(std::move(std::get<2>(item)));
  return ids;
}

Fd BuildLogs::open(const std::string& idOrLast) const {
  const std::vector<std::string> all = ids();
  std::vector<std::string> matches;
  for (const std::string& id : all) {
    if (idOrLast == "last" || id.starts_with(idOrLast)) matches.push_back(id);
    if (id == idOrLast || (idOrLast == "last" && !matches.empty())) {
      matches = {id};
      break;
    }
  }
  if (matches.size() > 1 && !idOrLast.empty()) {
    throw Error::make(Kind::usage, "the id {} is that of {} builds", text::quote(idOrLast),
                      matches.size())
        .exitCode(1)
        .hint("give more digits: " + text::join(matches, ", "));
  }
  if (matches.size() != 1) {
    Error error = Error::make(Kind::notFound, "no log of a build {}", text::quote(idOrLast));
    error.hint(all.empty() ? std::string{"no build of this store has had output"}
                           : "the newest build with output is " + all.front());
    throw error;
  }
  return sys::openDirectory(layout_.fd(), std::string{kFolder} + "/" + matches.front());
}

std::vector<int> BuildLogs::steps(int folder) {
  std::vector<int> numbers;
  for (const fs::Entry& entry : fs::list(folder)) {
    if (!entry.name.ends_with(kSuffix)) continue;
    const auto number = text::parseUnsigned(
        std::string_view{entry.name}.substr(0, entry.name.size() - kSuffix.size()));
    if (number && *number <= 1'000'000) numbers.push_back(static_cast<int>(*number));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

void BuildLogs::prune(size_t keep) const {
  const std::vector<std::string> all = ids();
  if (all.size() <= keep) return;
  const Fd builds = sys::openDirectory(layout_.fd(), kFolder);
  for (size_t i = keep; i < all.size(); ++i) {
    const auto folder = sys::tryOpenat(builds.get(), all[i], O_RDONLY | O_DIRECTORY);
    if (!folder || !sys::tryFlock(folder->get(), true)) continue;
    fs::removeTree(builds.get(), all[i]);
  }
}

}  // namespace img::store
