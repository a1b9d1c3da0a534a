#include "cli/frozen.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/container_group.h"

namespace img::cli {
namespace {

using Status = store::ContainerState::Status;

constexpr char kFreezerLock[] = "freezer.lock";
constexpr char kDone = 'd';

}  // namespace

FileLock lockFreezer(const store::Containers& containers, const std::string& id) {
  return FileLock::acquire(containers.folder(id).get(), kFreezerLock, FileLock::Mode::exclusive);
}

Frozen::Frozen(const store::Containers& containers, const store::ContainerRecord& record)
    : lock_(lockFreezer(containers, record.config.id)) {
  // Read again: what held the lock before us may have paused it.
  const auto now = containers.find(record.config.id);
  if (!now || now->state.status != Status::running) return;
  name_ = record.config.name;
  group_ = groupOf(*now);
  startGuard();
  try {
    group_.freeze();
    isFrozen_ = true;
  } catch (const Error& error) {
    log::info("container {} is not paused: {}", record.config.name, error.cause());
  }
}

Frozen::~Frozen() {
  try {
    if (isFrozen_) group_.thaw();
  } catch (const Error& error) {
    // It ended meanwhile, by a signal from elsewhere.
    log::warn("container {} cannot be thawed: {}", name_, error.cause());
  }
  dismissGuard();
}

// A process that thaws the container when we are killed or interrupted; nobody else would know
// that it has to. It holds the lock as long as it lives.
void Frozen::startGuard() {
  Pipe pipe = Pipe::make();
  guard_ = sys::check([] { return ::fork(); }, "fork");
  if (guard_ != 0) {
    guardPipe_ = std::move(pipe.write);
    return;
  }
  ::setsid();  // Ctrl-C is for the command, not for its guard
  pipe.write.reset();
  char answer = 0;
  ssize_t count = 0;
  do count = ::read(pipe.read.get(), &answer, 1);
  while (count < 0 && errno == EINTR);
  try {
    if (count == 0) group_.thaw();
  } catch (...) {  // it has ended too, and nobody listens
  }
  ::_exit(0);
}

void Frozen::dismissGuard() noexcept {
  if (guard_ < 0) return;
  const ssize_t written = ::write(guardPipe_.get(), &kDone, 1);
  guardPipe_.reset();  // without an answer it thaws once more, which harms nobody
  if (written < 0) log::debug("the guard of a frozen container is gone");
  ::waitpid(guard_, nullptr, 0);
}

}  // namespace img::cli
