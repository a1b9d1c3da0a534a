// The layers below an upper directory, seen as the union they form: whiteouts and opaque folders in
// them are honoured. Answers one question while an upper tree is walked: what did this name look
// like before?
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"

namespace img::store {

// One folder of the union: that folder in every layer that takes part in it, topmost first.
class LowerFolder {
 public:
  LowerFolder() = default;  // nothing below
  static LowerFolder root(const std::vector<int>& lowers);

  struct Found {
    int dir;  // the folder that holds the name
    struct stat st;
  };
  // nullopt when no layer has it, or the topmost that knows the name deletes it.
  [[nodiscard]] std::optional<Found> find(const std::string& name) const;
  // The union's folder NAME; empty when there is none.
  [[nodiscard]] LowerFolder descend(const std::string& name) const;
  [[nodiscard]] bool isEmpty() const { return dirs_.empty(); }

 private:
  // Adds the folder. False when it is opaque: nothing below counts.
  bool append(Fd folder);

  std::vector<Fd> owned_;
  std::vector<int> dirs_;
};

}  // namespace img::store
