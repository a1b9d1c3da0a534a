// How much room files take on the disk: allocated blocks, a file with several names once, as du(1)
// counts them.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

namespace img::store {

struct Usage {
  std::uint64_t bytes = 0;   // allocated
  std::uint64_t inodes = 0;  // files and folders
  Usage& operator+=(const Usage& other) {
    bytes += other.bytes;
    inodes += other.inodes;
    return *this;
  }
};

// Counts several trees as one: what is hard-linked from one to another belongs to the first. Stays
// on one file system. What goes away meanwhile is not counted.
class UsageCounter {
 public:
  // A file, or a folder with all below it; a missing one is 0.
  Usage count(int dir, const std::string& name);
  // The thing itself, without what is in it.
  Usage countOne(int dir, const std::string& name);

 private:
  std::set<std::pair<std::uint64_t, std::uint64_t>> linked_;  // device and inode
  std::uint64_t device_ = 0;
  bool hasDevice_ = false;
};

Usage diskUsage(int dir, const std::string& name);

}  // namespace img::store
