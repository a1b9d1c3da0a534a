#include "base/block_compression.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"

namespace img {
namespace {

// What a source is asked for at once: small enough that who hashes it finds it in a CPU's cache.
constexpr size_t kReadBytes = size_t{256} << 10;

// Neither buffer is cleared first: pages that a short stream does not reach are never touched.
struct Block {
  explicit Block(const BlockFormat& format)
      : in(std::make_unique_for_overwrite<std::byte[]>(format.blockBytes)),
        out(std::make_unique_for_overwrite<std::byte[]>(format.packedBytes)),
        whole(format.blockBytes),
        packed(format.packedBytes) {}

  [[nodiscard]] std::span<std::byte> room() const { return {in.get() + filled, whole - filled}; }
  void compressWith(BlockCompressor& compressor) {
    made = compressor.compress({in.get(), filled}, {out.get(), packed});
  }

  std::unique_ptr<std::byte[]> in, out;
  size_t whole, packed;
  size_t filled = 0, made = 0;
  std::exception_ptr error;
  bool isDone = false;  // guarded by Workers::mutex_
};

// Threads that take blocks from a queue. Its owner keeps the blocks, in the order of the stream.
class Workers {
 public:
  Workers(const BlockFormat& format, unsigned count) : format_(format) {
    threads_.reserve(count);
    for (unsigned i = 0; i < count; ++i) threads_.emplace_back([this] { run(); });
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    {
      const std::lock_guard lock{mutex_};
      isEnding_ = true;
    }
    work_.notify_all();
  }

  void start(Block& block) {
    {
      const std::lock_guard lock{mutex_};
      queue_.push_back(&block);
    }
    work_.notify_one();
  }
  void waitFor(const Block& block) {
    std::unique_lock lock{mutex_};
    done_.wait(lock, [&] { return block.isDone; });
  }

 private:
  Block* next() {
    std::unique_lock lock{mutex_};
    work_.wait(lock, [&] { return isEnding_ || !queue_.empty(); });
    if (isEnding_) return nullptr;
    Block* block = queue_.front();
    queue_.pop_front();
    return block;
  }

  void run() {
    std::unique_ptr<BlockCompressor> compressor;
    while (Block* block = next()) {
      try {
        if (!compressor) compressor = format_.make();
        block->compressWith(*compressor);
      } catch (...) {
        block->error = std::current_exception();
      }
      {
        const std::lock_guard lock{mutex_};
        block->isDone = true;
      }
      done_.notify_one();
    }
  }

  const BlockFormat& format_;
  std::mutex mutex_;
  std::condition_variable work_, done_;
  std::deque<Block*> queue_;           // guarded by mutex_
  bool isEnding_ = false;              // guarded by mutex_
  std::vector<std::jthread> threads_;  // last: joined before what they use goes
};

class BlockSink final : public CompressingSink {
 public:
  BlockSink(Sink& inner, BlockFormat format, unsigned threads)
      : inner_(inner), format_(std::move(format)), threads_(threads) {}

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      if (!current_) current_ = takeBlock();
      const auto part = bytes.first(std::min(bytes.size(), current_->room().size()));
      std::copy(part.begin(), part.end(), current_->room().begin());
      bytes = bytes.subspan(part.size());
      filled(part.size());
    }
  }

  void takeAll(Source& from) override {
    for (;;) {
      if (!current_) current_ = takeBlock();
      const auto room = current_->room();
      const size_t count = from.read(room.first(std::min(room.size(), kReadBytes)));
      if (count == 0) break;
      filled(count);
    }
    if (current_->filled == 0) spare_.push_back(std::move(current_));
  }

  void finish() override {
    const bool isEmpty = !current_ && !hasBlock_;
    if (isEmpty) current_ = takeBlock();  // no input at all is one empty block
    if (current_ && !workers_) {
      compressHere();
    } else if (current_) {
      submit();
    }
    while (!pending_.empty()) writeOldest();
  }

 private:
  std::unique_ptr<Block> takeBlock() {
    // One block per thread, one that is ready for the first that ends, and the one being filled.
    if (pending_.size() > threads_) writeOldest();
    if (spare_.empty()) return std::make_unique<Block>(format_);
    auto block = std::move(spare_.back());
    spare_.pop_back();
    return block;
  }

  void filled(size_t count) {
    current_->filled += count;
    if (current_->filled == format_.blockBytes) submit();
  }

  void submit() {
    if (threads_ == 1) return compressHere();
    if (!workers_) workers_ = std::make_unique<Workers>(format_, threads_);
    hasBlock_ = true;
    pending_.push_back(std::move(current_));
    workers_->start(*pending_.back());
  }

  void compressHere() {
    if (!own_) own_ = format_.make();
    current_->compressWith(*own_);
    hasBlock_ = true;
    give(std::move(current_));
  }

  void writeOldest() {
    workers_->waitFor(*pending_.front());
    auto block = std::move(pending_.front());
    pending_.pop_front();
    if (block->error) std::rethrow_exception(block->error);
    give(std::move(block));
  }

  void give(std::unique_ptr<Block> block) {
    inner_.write({block->out.get(), block->made});
    block->filled = 0;
    block->isDone = false;
    spare_.push_back(std::move(block));
  }

  Sink& inner_;
  const BlockFormat format_;
  const unsigned threads_;
  bool hasBlock_ = false;
  std::unique_ptr<Block> current_;              // being filled
  std::deque<std::unique_ptr<Block>> pending_;  // being compressed, oldest first
  std::vector<std::unique_ptr<Block>> spare_;
  std::unique_ptr<BlockCompressor> own_;
  std::unique_ptr<Workers> workers_;  // last: ends before the blocks it works on
};

}  // namespace

std::unique_ptr<CompressingSink> compressBlocks(Sink& inner, BlockFormat format, unsigned threads) {
  return std::make_unique<BlockSink>(inner, std::move(format), threads);
}

}  // namespace img
