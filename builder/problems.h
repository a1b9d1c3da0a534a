// What is wrong with a build, collected before its first step so that all of it is told at once
// (cli.md 4, "Preflight").
#pragma once

#include <vector>

#include "base/error.h"

namespace img::builder {

class Problems {
 public:
  static constexpr size_t kMax = 20;

  // What is the same at the same place counts once; what comes after kMax is not kept.
  void add(Error error);
  // False when `work` threw, which is a problem then.
  template <class Work>
  bool attempt(Work&& work) {
    try {
      work();
      return true;
    } catch (Error& error) {
      if (error.code() == "interrupted") throw;  // that ends it all
      add(std::move(error));
      return false;
    }
  }
  [[nodiscard]] bool isEmpty() const { return errors_.empty(); }
  [[nodiscard]] bool isFull() const { return errors_.size() >= kMax; }
  // Throws the first one in the order of the file, the others with it (Error::others).
  void throwIfAny();

 private:
  std::vector<Error> errors_;
};

}  // namespace img::builder
