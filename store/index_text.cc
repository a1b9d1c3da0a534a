#include "store/index_text.h"

#include <mutex>
#include <utility>

namespace img::store {
namespace {

constexpr size_t kWorthKeeping = size_t{16} << 10;

struct Memo {
  std::mutex mutex;
  std::string text;  // guarded by mutex, as is what it says
  std::shared_ptr<const Index> index;
};

Memo& memo() {
  static Memo last;
  return last;
}

}  // namespace

std::shared_ptr<const Index> parseIndexOnce(std::string text, const std::string& origin) {
  if (text.size() < kWorthKeeping) return std::make_shared<const Index>(parseIndex(text, origin));
  Memo& last = memo();
  {
    const std::lock_guard guard{last.mutex};
    if (last.index && last.text == text) return last.index;
  }
  auto index = std::make_shared<const Index>(parseIndex(text, origin));
  const std::lock_guard guard{last.mutex};
  last.text = std::move(text);
  last.index = index;
  return index;
}

}  // namespace img::store
