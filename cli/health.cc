#include "cli/health.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_group.h"
#include "cli/container_spec.h"
#include "runtime/exec.h"

namespace img::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr nanoseconds kInterval = std::chrono::seconds{30};
constexpr nanoseconds kTimeout = std::chrono::seconds{30};
constexpr nanoseconds kStartInterval = std::chrono::seconds{5};
constexpr int kRetries = 3;
// The keeper waits for the start of a check, and for nothing else meanwhile.
constexpr milliseconds kLongestStart = std::chrono::seconds{5};
constexpr char kCut[] = "...";

// As short as options can ask for: an image's nanosecond would keep the keeper, which no limit of
// the container's holds back, from ever resting.
constexpr nanoseconds kShortest = milliseconds{1};

nanoseconds orDefault(long long value, nanoseconds standard) {
  return value > 0 ? std::max(nanoseconds{value}, kShortest) : standard;
}

std::vector<std::string> argvOf(const std::vector<std::string>& test,
                                const store::ImageConfig& image) {
  if (test.front() == "CMD") return {test.begin() + 1, test.end()};
  std::vector<std::string> argv = image.shell;
  if (argv.empty()) argv = {"/bin/sh", "-c"};
  argv.insert(argv.end(), test.begin() + 1, test.end());
  return argv;
}

runtime::Spec specFor(const store::ContainerConfig& config, const HealthPlan& plan, int output) {
  runtime::Spec spec;
  spec.argv = plan.argv;
  spec.env = environmentOf(config, false);
  spec.cwd = config.cwd;
  spec.user = config.user;
  spec.groupAdd = config.groupAdd;
  spec.standardOutput = spec.standardError = output;
  applyRights(config, spec);
  return spec;
}

// What a check has started, and it is still the parent of. The number alone could belong to
// somebody else by now: compared after the open.
void killChildren(pid_t parent) {
  const std::string path = fmt::format("/proc/{0}/task/{0}/children", parent);
  for (const std::string& word : text::split(fs::tryReadFile(AT_FDCWD, path).value_or(""), ' ')) {
    const auto number = text::parseUnsigned(word);
    if (!number) continue;
    const auto pid = static_cast<pid_t>(*number);
    try {
      const Fd pidfd = sys::pidfdOpen(pid);
      const auto status = fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/status", pid));
      if (!status || status->find(fmt::format("\nPPid:\t{}\n", parent)) == std::string::npos)
        continue;
      // So that it neither starts more nor tells of its children's end.
      sys::pidfdSendSignal(pidfd.get(), SIGSTOP);
      killChildren(pid);
      sys::pidfdSendSignal(pidfd.get(), SIGKILL);
    } catch (const Error& error) {
      log::debug("{}", error.cause());  // it has ended
    }
  }
}

std::string seconds(nanoseconds time) {
  return fmt::format("{:g}s", std::chrono::duration<double>(time).count());
}

}  // namespace

std::optional<store::Healthcheck> healthcheckOf(const store::ContainerConfig& config) {
  const store::HealthRecord& asked = config.health;
  if (asked.isDisabled) return std::nullopt;
  store::Healthcheck health = config.image.healthcheck.value_or(store::Healthcheck{});
  if (!asked.test.empty()) health.test = asked.test;
  // An empty test inherits from an image that has none either; NONE switches off.
  if (health.test.size() < 2) return std::nullopt;
  health.interval = asked.interval.value_or(health.interval);
  health.timeout = asked.timeout.value_or(health.timeout);
  health.startPeriod = asked.startPeriod.value_or(health.startPeriod);
  health.startInterval = asked.startInterval.value_or(health.startInterval);
  health.retries = asked.retries.value_or(health.retries);
  return health;
}

std::optional<HealthPlan> healthPlanOf(const store::ContainerConfig& config) {
  const auto health = healthcheckOf(config);
  if (!health) return std::nullopt;
  HealthPlan plan;
  plan.argv = argvOf(health->test, config.image);
  plan.interval = orDefault(health->interval, kInterval);
  plan.timeout = orDefault(health->timeout, kTimeout);
  plan.startPeriod = nanoseconds{health->startPeriod};
  plan.startInterval = orDefault(health->startInterval, kStartInterval);
  plan.retries = health->retries > 0 ? health->retries : kRetries;
  plan.onFailure = config.health.onFailure;
  return plan;
}

bool addHealthResult(const HealthPlan& plan, const HealthResult& result, bool inStartPeriod,
                     store::ContainerState& state) {
  state.healthLog.push_back(result);
  if (state.healthLog.size() > kMaxHealthResults) state.healthLog.erase(state.healthLog.begin());
  if (result.exitCode == 0) {
    state.healthStatus = "healthy";
    state.failingStreak = 0;
    return false;
  }
  if (inStartPeriod && state.healthStatus == "starting") return false;
  ++state.failingStreak;
  if (state.failingStreak < plan.retries || state.healthStatus == "unhealthy") return false;
  state.healthStatus = "unhealthy";
  return true;
}

HealthCheck::HealthCheck(const store::ContainerConfig& config, const HealthPlan& plan, pid_t pid,
                         int pidfd)
    : timeout_(plan.timeout) {
  result_.start = store::timestampNow();
  Pipe output = Pipe::make();
  sys::setNonBlocking(output.read.get(), true);
  try {
    const auto patience = std::clamp(std::chrono::duration_cast<milliseconds>(plan.timeout),
                                     milliseconds{1}, kLongestStart);
    process_.emplace(runtime::execute(pidfd, pid, specFor(config, plan, output.write.get()),
                                      static_cast<int>(patience.count())));
    output_ = std::move(output.read);
  } catch (const Error& error) {
    result_.exitCode = error.exitCode().value_or(125);
    result_.output = error.cause().substr(0, kMaxHealthOutput);
  }
}

HealthCheck::~HealthCheck() {
  if (process_) killChildren(process_->pid());
}

// What is beyond the limit is read all the same: the check must not wait for us. Not to the end,
// which never comes when it writes faster than we read, and the keeper has other things to do.
void HealthCheck::readOutput() {
  constexpr int kReads = 16;
  char chunk[4096];
  for (int reads = 0; output_ && reads < kReads; ++reads) {
    const ssize_t count = ::read(output_.get(), chunk, sizeof chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;
    if (count == 0) return output_.reset();
    std::string& text = result_.output;
    const bool isCut = text.size() + static_cast<size_t>(count) > kMaxHealthOutput;
    if (text.size() < kMaxHealthOutput) {
      text.append(chunk, std::min(static_cast<size_t>(count), kMaxHealthOutput - text.size()));
    }
    if (isCut) text.replace(kMaxHealthOutput - (sizeof kCut - 1), std::string::npos, kCut);
  }
}

HealthResult HealthCheck::finish(bool isTimeout) {
  if (process_) {
    if (isTimeout) {
      process_->kill(SIGSTOP);
      killChildren(process_->pid());
      process_->kill(SIGKILL);
    }
    result_.exitCode = process_->wait().code;
    process_.reset();
    readOutput();
  }
  if (isTimeout) {
    result_.exitCode = -1;
    result_.output = fmt::format("Health check exceeded timeout ({})", seconds(timeout_)) +
                     (result_.output.empty() ? "" : ": " + result_.output);
    result_.output.resize(std::min(result_.output.size(), kMaxHealthOutput));
  }
  output_.reset();
  result_.end = store::timestampNow();
  return result_;
}

HealthWatch::HealthWatch(const store::Containers& containers, const store::ContainerConfig& config,
                         HealthPlan plan, const runtime::Container& container,
                         OnUnhealthy onUnhealthy)
    : containers_(containers),
      config_(config),
      plan_(std::move(plan)),
      container_(container),
      onUnhealthy_(std::move(onUnhealthy)),
      started_(std::chrono::steady_clock::now()),
      events_(sys::check([] { return ::epoll_create1(EPOLL_CLOEXEC); }, "epoll_create1")),
      timer_(
          sys::check([] { return ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); },
                     "timerfd_create")) {
  watch(timer_.get());
  armNext();
}

void HealthWatch::watch(int fd) const {
  if (fd < 0) return;
  epoll_event event{};
  event.events = EPOLLIN;
  sys::check([&] { return ::epoll_ctl(events_.get(), EPOLL_CTL_ADD, fd, &event); }, "epoll_ctl");
}

void HealthWatch::armFor(nanoseconds delay) {
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(delay);
  itimerspec time{};
  time.it_value.tv_sec = whole.count();
  time.it_value.tv_nsec = std::max<long>(1, static_cast<long>((delay - whole).count()));
  sys::check([&] { return ::timerfd_settime(timer_.get(), 0, &time, nullptr); }, "timerfd_settime");
}

bool HealthWatch::isInStartPeriod() const {
  return std::chrono::steady_clock::now() - started_ < plan_.startPeriod;
}

void HealthWatch::armNext() {
  const bool isEarly = isStarting_ && isInStartPeriod();
  armFor(isEarly ? plan_.startInterval : plan_.interval);
}

void HealthWatch::stop() {
  check_.reset();
  const itimerspec never{};
  ::timerfd_settime(timer_.get(), 0, &never, nullptr);
}

void HealthWatch::endContainer(int signal, std::chrono::seconds patience) {
  stop();
  isEnding_ = true;
  container_.kill(signal);
  if (patience.count() >= 0) armFor(patience);
}

// A process that enters a frozen group stands still there, and we would wait for it.
bool HealthWatch::isFrozen() const {
  return runtime::openCgroup(container_.cgroupFolders()).isFrozen();
}

void HealthWatch::startCheck() {
  if (isFrozen()) return armNext();
  check_.emplace(config_, plan_, container_.pid(), container_.pidfd());
  if (check_->pidfd() < 0) return finishCheck(false);
  watch(check_->pidfd());
  watch(check_->output());
  armFor(plan_.timeout);
}

void HealthWatch::finishCheck(bool isTimeout) {
  const HealthResult result = check_->finish(isTimeout);
  check_.reset();
  bool isFailure = false;
  containers_.changeState(config_.id, [&](store::ContainerState& state) {
    if (!state.isAlive()) return false;  // the keeper is about to write its end
    isFailure = addHealthResult(plan_, result, isInStartPeriod(), state);
    isStarting_ = state.healthStatus == "starting";
    return true;
  });
  armNext();
  if (!isFailure) return;
  log::info("container {} is unhealthy", config_.name);
  onUnhealthy_(plan_.onFailure);
}

// A check that fails to be made or written down is no reason to lose the container.
void HealthWatch::handle() {
  try {
    std::uint64_t expirations = 0;
    const bool isTime = ::read(timer_.get(), &expirations, sizeof expirations) > 0;
    if (isEnding_) {
      if (isTime) container_.kill(SIGKILL);
      return;
    }
    if (!check_) {
      if (isTime) startCheck();
      return;
    }
    check_->readOutput();
    pollfd end{check_->pidfd(), POLLIN, 0};
    const bool hasEnded = ::poll(&end, 1, 0) > 0;
    if (hasEnded || isTime) finishCheck(!hasEnded);
  } catch (const Error& error) {
    log::warn("the health check of {}: {}", config_.name, error.cause());
    check_.reset();
    armNext();
  }
}

}  // namespace img::cli
