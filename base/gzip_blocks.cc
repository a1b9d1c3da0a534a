#include "base/gzip_blocks.h"

#include <libdeflate.h>

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

// Each block begins without what went before it: 1 MiB costs about half a percent of size (a window
// is 32 KiB), and a thread holds two of them.
constexpr size_t kBlockBytes = size_t{1} << 20;

class Compressor {
 public:
  explicit Compressor(int level) : raw_(::libdeflate_alloc_compressor(level)) {
    if (!raw_) throw Error{Kind::failed, "gzip: no memory"};
  }

  // libdeflate.h, libdeflate_gzip_compress: one member, with no time and no name in its header.
  void compress(std::span<const std::byte> in, std::vector<std::byte>& out) {
    out.resize(::libdeflate_gzip_compress_bound(raw_.get(), in.size()));
    const size_t size =
        ::libdeflate_gzip_compress(raw_.get(), in.data(), in.size(), out.data(), out.size());
    if (size == 0) throw Error{Kind::internal, "gzip: a block did not fit its bound"};
    out.resize(size);
  }

 private:
  struct Deleter {
    void operator()(libdeflate_compressor* raw) const { ::libdeflate_free_compressor(raw); }
  };
  std::unique_ptr<libdeflate_compressor, Deleter> raw_;
};

struct Block {
  std::vector<std::byte> in, out;
  std::exception_ptr error;
  bool isDone = false;  // guarded by Workers::mutex_
};

// Threads that take blocks from a queue. Its owner keeps the blocks, in the order of the stream.
class Workers {
 public:
  Workers(int level, unsigned count) {
    threads_.reserve(count);
    for (unsigned i = 0; i < count; ++i) threads_.emplace_back([this, level] { run(level); });
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

  void run(int level) {
    std::unique_ptr<Compressor> compressor;
    while (Block* block = next()) {
      try {
        if (!compressor) compressor = std::make_unique<Compressor>(level);
        compressor->compress(block->in, block->out);
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

  std::mutex mutex_;
  std::condition_variable work_, done_;
  std::deque<Block*> queue_;           // guarded by mutex_
  bool isEnding_ = false;              // guarded by mutex_
  std::vector<std::jthread> threads_;  // last: joined before what they use goes
};

class GzipSink final : public CompressingSink {
 public:
  GzipSink(Sink& inner, int level, unsigned threads)
      : inner_(inner), level_(level), threads_(threads) {}

  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      if (!current_) current_ = takeBlock();
      const auto part = bytes.first(std::min(bytes.size(), kBlockBytes - current_->in.size()));
      current_->in.insert(current_->in.end(), part.begin(), part.end());
      bytes = bytes.subspan(part.size());
      if (current_->in.size() == kBlockBytes) submit();
    }
  }

  void finish() override {
    const bool isEmpty = !current_ && !hasMember_;
    if (isEmpty) current_ = takeBlock();  // no input at all is one empty member
    if (current_ && !workers_) {
      compressHere();
    } else if (current_) {
      submit();
    }
    while (!pending_.empty()) writeOldest();
  }

 private:
  std::unique_ptr<Block> takeBlock() {
    // One block per thread, one that is ready for each, and the one that is being filled.
    if (pending_.size() >= size_t{2} * threads_) writeOldest();
    if (spare_.empty()) {
      auto block = std::make_unique<Block>();
      block->in.reserve(kBlockBytes);
      return block;
    }
    auto block = std::move(spare_.back());
    spare_.pop_back();
    return block;
  }

  void submit() {
    if (threads_ == 1) return compressHere();
    if (!workers_) workers_ = std::make_unique<Workers>(level_, threads_);
    hasMember_ = true;
    pending_.push_back(std::move(current_));
    workers_->start(*pending_.back());
  }

  void compressHere() {
    if (!own_) own_ = std::make_unique<Compressor>(level_);
    own_->compress(current_->in, current_->out);
    hasMember_ = true;
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
    inner_.write(block->out);
    block->in.clear();
    block->isDone = false;
    spare_.push_back(std::move(block));
  }

  Sink& inner_;
  const int level_;
  const unsigned threads_;
  bool hasMember_ = false;
  std::unique_ptr<Block> current_;              // being filled
  std::deque<std::unique_ptr<Block>> pending_;  // being compressed, oldest first
  std::vector<std::unique_ptr<Block>> spare_;
  std::unique_ptr<Compressor> own_;
  std::unique_ptr<Workers> workers_;  // last: ends before the blocks it works on
};

}  // namespace

std::unique_ptr<CompressingSink> gzipTo(Sink& inner, int level, unsigned threads) {
  return std::make_unique<GzipSink>(inner, level, threads);
}

}  // namespace img
