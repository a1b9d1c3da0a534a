#include "cli/pull_display.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/sys.h"
#include "base/text.h"
#include "cli/human.h"
#include "cli/progress.h"
#include "cli/progress_tty.h"

namespace img::cli {
namespace {

constexpr std::int64_t kFrameMs = 100;
constexpr size_t kBarColumns = 30;

class QuietPull final : public distribution::PullProgress {};

std::string shortId(const store::Descriptor& layer) {
  return layer.digest.shortHex();
}

class PlainPull final : public distribution::PullProgress {
 public:
  explicit PlainPull(Context& context) : context_(context) {}

  void layerStarted(const store::Descriptor& layer) override {
    context_.notice(fmt::format("{}: pulling {}\n", shortId(layer), formatSize(layer.size)));
  }
  void layerDone(const store::Descriptor& layer, bool wasThere) override {
    context_.notice(fmt::format("{}: {}\n", shortId(layer), wasThere ? "already there" : "done"));
  }
  void notice(const std::string& text) override {
    context_.notice(fmt::format("{}\n", text::escape(text, 500)));
  }

 private:
  Context& context_;
};

// The frame lies above the cursor, which is at the start of a line after every write: a terminal is
// in order wherever the program ends.
class TerminalPull final : public distribution::PullProgress {
 public:
  explicit TerminalPull(Context& context) : context_(context) {}

  void layerStarted(const store::Descriptor& layer) override {
    lineOf(layer).state = LayerLine::State::running;
    draw({});
  }
  void layerBytes(const store::Descriptor& layer, std::uint64_t done) override {
    lineOf(layer).done = done;
    if (sys::monotonicMs() - drawnMs_ >= kFrameMs) draw({});
  }
  void layerDone(const store::Descriptor& layer, bool wasThere) override {
    lineOf(layer).state = wasThere ? LayerLine::State::there : LayerLine::State::pulled;
    draw({});
  }
  void notice(const std::string& text) override {
    draw(fmt::format("{}\n", text::escape(text, 500)));
  }

 private:
  LayerLine& lineOf(const store::Descriptor& layer) {
    const auto known = std::find_if(lines_.begin(), lines_.end(), [&](const LayerLine& line) {
      return line.id == shortId(layer);
    });
    if (known != lines_.end()) return *known;
    return lines_.emplace_back(LayerLine{shortId(layer), 0, layer.size});
  }

  // Finished layers scroll away when there are more than fit.
  void draw(const std::string& above) {
    const TerminalSize size = terminalSizeOf(context_.err());
    std::string out;
    if (drawn_ > 0) out = fmt::format("\x1b[{}A\x1b[J", drawn_);
    out += above;
    const auto room = static_cast<size_t>(std::max(size.rows - 1, 1));
    const size_t first = lines_.size() > room ? lines_.size() - room : 0;
    for (size_t i = first; i < lines_.size(); ++i)
      out += renderLayer(lines_[i], static_cast<size_t>(std::max(size.columns - 1, 1))) + "\n";
    drawn_ = lines_.size() - first;
    drawnMs_ = sys::monotonicMs();
    context_.notice(out);
  }

  Context& context_;
  std::vector<LayerLine> lines_;
  size_t drawn_ = 0;
  std::int64_t drawnMs_ = 0;
};

std::string barOf(const LayerLine& line) {
  const double part =
      line.total == 0
          ? 1.0
          : std::min(1.0, static_cast<double>(line.done) / static_cast<double>(line.total));
  const auto filled = static_cast<size_t>(part * static_cast<double>(kBarColumns));
  const std::string bar = std::string(filled, '=') + (filled < kBarColumns ? ">" : "");
  return fmt::format("[{:<{}}]", bar, kBarColumns);
}

}  // namespace

std::string renderLayer(const LayerLine& line, size_t columns) {
  std::string text = line.id + "  ";
  switch (line.state) {
    case LayerLine::State::waiting: text += "waiting"; break;
    case LayerLine::State::running:
      text += fmt::format("{} {}/{}", barOf(line), formatSize(line.done), formatSize(line.total));
      break;
    case LayerLine::State::pulled: text += "done " + formatSize(line.total); break;
    case LayerLine::State::there: text += "already there"; break;
  }
  return text.substr(0, columns);
}

std::unique_ptr<distribution::PullProgress> makePullDisplay(Context& context, bool isQuiet,
                                                            const std::string& progress) {
  switch (chooseStyle(context, progress, isQuiet)) {
    case ProgressStyle::tty: return std::make_unique<TerminalPull>(context);
    case ProgressStyle::quiet:
    case ProgressStyle::rawjson:  // lines of another form would spoil it
    case ProgressStyle::none: return std::make_unique<QuietPull>();
    default: return std::make_unique<PlainPull>(context);
  }
}

}  // namespace img::cli
