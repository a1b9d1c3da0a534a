#include "cli/table.h"

#include <algorithm>

#include "cli/report.h"

namespace img::cli {

std::string layoutTable(const std::vector<std::vector<std::string>>& rows) {
  constexpr size_t kGap = 3;
  std::vector<size_t> widths;
  std::vector<std::vector<std::string>> cells;
  for (const auto& row : rows) {
    auto& shown = cells.emplace_back();
    for (size_t i = 0; i < row.size(); ++i) {
      shown.push_back(printable(row[i]));
      if (widths.size() <= i) widths.push_back(0);
      widths[i] = std::max(widths[i], columnsOf(shown[i]));
    }
  }
  std::string out;
  for (const auto& row : cells) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out.append(widths[i] - columnsOf(row[i]) + kGap, ' ');
    }
    out += '\n';
  }
  return out;
}

}  // namespace img::cli
