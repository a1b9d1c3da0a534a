// How list commands print (cli.md section 6): a table of named columns, ids alone, one JSON object
// a line, a template for each row, or a table made by a template.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "cli/command.h"

namespace img::cli {

// A placeholder of `--format` and the heading of its column.
struct ListField {
  std::string_view name, heading;
};

struct ListStyle {
  std::string format;                     // --format; empty: the table
  std::vector<std::string_view> columns;  // fields of the default table
  bool noHeading = false;
};

// `rows`: objects whose strings are the fields. Values that are no strings serve templates only
// (`.Label "key"` indexes the object "Label") and stay out of --format json.
void printList(Context& context, const std::vector<ListField>& fields, const ListStyle& style,
               const std::vector<Json>& rows);

// Labels as a list shows them, "a=1,b=2", and as `--filter label=KEY[=VALUE]` asks for them.
std::string labelsText(const std::map<std::string, std::string>& labels);
bool matchesLabel(const std::string& wanted, const std::map<std::string, std::string>& labels);

// "\t" and "\n" written as two characters become the byte they mean.
std::string unescapeTemplate(std::string_view format);

}  // namespace img::cli
