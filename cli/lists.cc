#include "cli/lists.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/table.h"
#include "cli/template.h"
#include "cli/values.h"

namespace img::cli {
namespace {

std::string textOf(const Json& row, std::string_view field) {
  const auto found = row.find(field);
  return found != row.end() && found->is_string() ? found->get<std::string>() : "";
}

void printDefaultTable(Context& context, const std::vector<ListField>& fields,
                       const ListStyle& style, const std::vector<Json>& rows) {
  std::vector<std::vector<std::string>> cells;
  if (!style.noHeading) {
    auto& heading = cells.emplace_back();
    for (const std::string_view column : style.columns) {
      const auto field = std::find_if(fields.begin(), fields.end(),
                                      [&](const ListField& f) { return f.name == column; });
      heading.emplace_back(field == fields.end() ? column : field->heading);
    }
  }
  for (const Json& row : rows) {
    auto& line = cells.emplace_back();
    for (const std::string_view column : style.columns) line.push_back(textOf(row, column));
  }
  context.print(layoutTable(cells));
}

// The row that yields the headings when the template runs over it.
Json headingRow(const std::vector<ListField>& fields, const std::vector<Json>& rows) {
  Json heading = Json::object();
  for (const ListField& field : fields) heading[std::string{field.name}] = field.heading;
  // `.Label "com.example.tier"` is headed by the last word of the key, as in docker.
  for (const Json& row : rows) {
    for (const auto& [name, value] : row.items()) {
      if (!value.is_object()) continue;
      for (const auto& [key, unused] : value.items()) {
        heading[name][key] = key.substr(key.rfind('.') + 1);
      }
    }
  }
  return heading;
}

void printTemplateTable(Context& context, const Template& shape,
                        const std::vector<ListField>& fields, bool noHeading,
                        const std::vector<Json>& rows) {
  std::vector<std::vector<std::string>> cells;
  if (!noHeading) cells.push_back(text::split(shape.run(headingRow(fields, rows)), '\t'));
  for (const Json& row : rows) cells.push_back(text::split(shape.run(row), '\t'));
  context.print(layoutTable(cells));
}

std::string jsonLine(const Json& row) {
  Json plain = Json::object();
  for (const auto& [key, value] : row.items()) {
    if (value.is_string()) plain[key] = value;
  }
  return dumpJson(plain) + "\n";
}

}  // namespace

void printList(Context& context, const std::vector<ListField>& fields, const ListStyle& style,
               const std::vector<Json>& rows) {
  constexpr std::string_view kTable = "table";
  const std::string_view format = text::trim(style.format);
  if (format.empty() || format == kTable) return printDefaultTable(context, fields, style, rows);
  if (format.starts_with("table ") || format.starts_with("table\\t")) {
    const Template shape{unescapeTemplate(text::trim(format.substr(kTable.size())))};
    return printTemplateTable(context, shape, fields, style.noHeading, rows);
  }
  std::string out;
  if (format == "json") {
    for (const Json& row : rows) out += jsonLine(row);
  } else {
    const Template shape{unescapeTemplate(style.format)};
    for (const Json& row : rows) out += shape.run(row) + "\n";
  }
  context.print(out);
}

std::string labelsText(const std::map<std::string, std::string>& labels) {
  std::vector<std::string> parts;
  parts.reserve(labels.size());
  for (const auto& [key, value] : labels) parts.push_back(fmt::format("{}={}", key, value));
  return text::join(parts, ",");
}

bool matchesLabel(const std::string& wanted, const std::map<std::string, std::string>& labels) {
  const auto [key, value] = splitAssignment(wanted);
  const auto label = labels.find(key);
  if (label == labels.end()) return false;
  return wanted.find('=') == std::string::npos || label->second == value;
}

std::string unescapeTemplate(std::string_view format) {
  std::string out;
  for (size_t at = 0; at < format.size(); ++at) {
    const std::string_view pair = format.substr(at, 2);
    if (pair == "\\t" || pair == "\\n") {
      out += pair == "\\t" ? '\t' : '\n';
      ++at;
    } else {
      out += format[at];
    }
  }
  return out;
}

}  // namespace img::cli
