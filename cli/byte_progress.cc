#include "cli/byte_progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/sys.h"
#include "base/text.h"
#include "cli/human.h"
#include "cli/progress.h"
#include "cli/progress_tty.h"

namespace img::cli {
namespace {

// What is over before the first frame never flickers.
constexpr std::int64_t kFrameMs = 100;
constexpr char kWipe[] = "\r\x1b[K";

}  // namespace

ByteProgress::ByteProgress(Context& context, bool isQuiet, std::string what, std::uint64_t total)
    : context_(context),
      what_(text::escape(what, 200)),
      total_(total),
      drawnMs_(sys::monotonicMs()),
      isShown_(chooseStyle(context, "", isQuiet) == ProgressStyle::tty) {}

ByteProgress::~ByteProgress() {
  finish();
}

void ByteProgress::add(std::uint64_t bytes) {
  done_ += bytes;
  if (isShown_ && sys::monotonicMs() - drawnMs_ >= kFrameMs) draw();
}

void ByteProgress::draw() {
  const auto columns = static_cast<size_t>(std::max(terminalSizeOf(context_.err()).columns - 1, 1));
  context_.notice(kWipe + renderBytes(what_, done_, total_, columns));
  drawnMs_ = sys::monotonicMs();
  isDrawn_ = true;
}

void ByteProgress::finish() {
  isShown_ = false;
  if (!isDrawn_) return;
  isDrawn_ = false;
  context_.notice(kWipe);
}

std::string renderBytes(const std::string& what, std::uint64_t done, std::uint64_t total,
                        size_t columns) {
  std::string text = what + "  " + formatSize(done);
  if (total > 0) {
    const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const int percent = static_cast<int>(part * 100);
    text += fmt::format("/{} ({} %)", formatSize(total), percent);
  }
  return text.substr(0, columns);
}

size_t CountedSource::read(std::span<std::byte> into) {
  const size_t count = inner_.read(into);
  progress_.add(count);
  return count;
}

void CountedSink::write(std::span<const std::byte> bytes) {
  inner_.write(bytes);
  progress_.add(bytes.size());
}

}  // namespace img::cli
