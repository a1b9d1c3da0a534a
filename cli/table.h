// Tables (cli.md section 6): columns as wide as their widest cell, three blanks apart, the last one
// not padded.
#pragma once

#include <string>
#include <vector>

namespace img::cli {

// The first row is the header, if there is one. Cells are escaped: they may come from an image.
std::string layoutTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace img::cli
