// images (ls): the table of names, its filters and forms.
#include <fnmatch.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/human.h"
#include "cli/image_facts.h"
#include "cli/lists.h"
#include "cli/options.h"
#include "cli/values.h"
#include "store/image_summaries.h"

namespace img::cli {
namespace {

constexpr std::string_view kNone = "<none>";

struct Row {
  std::optional<store::Reference> name;
  Digest manifest;
  store::ImageSummary image;
  std::string created;  // RFC 3339
  long long createdSeconds = 0;
};

struct Request {
  bool quiet = false, noTrunc = false, digests = false, noHeading = false;
  std::string format, sort = "created";
  std::vector<std::string> filters;
};

// `before=IMG`, `label=K`, ... read once; a kind that is not given lets everything pass.
struct Filters {
  std::optional<bool> dangling;
  std::vector<std::string> labels, references;
  std::optional<std::string> argument;  // NAME[:TAG] of the command line
  std::optional<long long> before, since, until;
};

std::optional<store::Reference> referenceOf(const std::optional<std::string>& name) {
  if (!name) return std::nullopt;
  return store::Reference::parse(*name);
}

// The rows of the store. An image that cannot be read is a warning: the others are still of use.
std::vector<Row> readRows(Context& context) {
  const store::Layout& layout = context.store();
  store::ImageSummaries summaries{layout};
  std::vector<Row> rows;
  for (const store::ImageRow& entry : store::Images{layout}.list()) {
    try {
      Row row;
      row.name = referenceOf(entry.name);
      row.manifest = entry.descriptor.digest;
      row.image = summaries.of(entry.descriptor);
      row.created = createdTime(layout, row.image.created, row.manifest);
      row.createdSeconds = text::parseTimeSeconds(row.created).value_or(0);
      rows.push_back(std::move(row));
    } catch (const Error& error) {
      context.warn(error);
    }
  }
  summaries.save();
  return rows;
}

// "app", "app:1*", "registry.example/team/*": against the familiar and the full form, with and
// without the tag.
bool matchesReference(const std::string& pattern, const std::optional<store::Reference>& name) {
  if (!name) return false;
  const std::string tag = name->tag.empty() ? "" : ":" + name->tag;
  for (const std::string& text : {name->familiarRepository(), name->familiarRepository() + tag,
                                  name->repository(), name->repository() + tag}) {
    if (fnmatch(pattern.c_str(), text.c_str(), FNM_PATHNAME) == 0) return true;
  }
  return false;
}

Filters readFilters(Context& context, const std::vector<std::string>& texts) {
  const auto createdOf = [&](const std::string& name) {
    const store::Image image = store::Images{context.store()}.get(name);
    return text::parseTimeSeconds(createdTime(context.store(), image)).value_or(0);
  };
  Filters filters;
  for (const std::string& text : texts) {
    const auto [kind, value] = splitAssignment(text);
    if (kind == "dangling") {
      filters.dangling = parseBool(value, "--filter dangling");
    } else if (kind == "label") {
      filters.labels.push_back(value);
    } else if (kind == "reference") {
      filters.references.push_back(value);
    } else if (kind == "before") {
      filters.before = createdOf(value);
    } else if (kind == "since") {
      filters.since = createdOf(value);
    } else if (kind == "until") {
      filters.until = parseTime(value, nowSeconds(), "--filter until");
    } else {
      throw Error::make(Kind::usage, "unknown filter {}", text::quote(text))
          .hint("filters are before, dangling, label, reference, since, until");
    }
  }
  return filters;
}

bool passes(const Row& row, const Filters& filters) {
  if (filters.dangling && *filters.dangling == row.name.has_value()) return false;
  if (filters.before && row.createdSeconds >= *filters.before) return false;
  if (filters.since && row.createdSeconds <= *filters.since) return false;
  if (filters.until && row.createdSeconds >= *filters.until) return false;
  if (filters.argument && !matchesReference(*filters.argument, row.name)) return false;
  const bool hasLabels =
      std::all_of(filters.labels.begin(), filters.labels.end(),
                  [&](const std::string& label) { return matchesLabel(label, row.image.labels); });
  if (!hasLabels) return false;
  const auto& references = filters.references;
  return references.empty() ||
         std::any_of(references.begin(), references.end(), [&](const std::string& pattern) {
           return matchesReference(pattern, row.name);
         });
}

void sortRows(std::vector<Row>& rows, const std::string& key) {
  const auto nameOf = [](const Row& row) { return row.name ? row.name->full() : "~"; };
  const auto byName = [&](const Row& a, const Row& b) { return nameOf(a) < nameOf(b); };
  std::stable_sort(rows.begin(), rows.end(), byName);
  if (key == "created") {
    std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
      // The text decides within a second; it differs there in its fraction only.
      return std::tie(a.createdSeconds, a.created) > std::tie(b.createdSeconds, b.created);
    });
  } else if (key == "size") {
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.image.size > b.image.size; });
  } else if (key == "id") {
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.image.id < b.image.id; });
  } else if (key == "tag") {
    std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
      return (a.name ? a.name->tag : "") < (b.name ? b.name->tag : "");
    });
  } else if (key != "repository") {
    throw Error::make(Kind::usage, "invalid value {} for --sort", text::quote(key))
        .hint("sort by created, id, repository, size or tag");
  }
}

std::string idOf(const Row& row, bool noTrunc) {
  return noTrunc ? row.image.id.str() : row.image.id.shortHex();
}

Json fieldsOf(const Row& row, bool noTrunc) {
  const std::string tag = row.name ? row.name->tag : "";
  return {{"Containers", "N/A"},
          {"CreatedAt", formatLocalTime(row.created)},
          {"CreatedSince", formatCreated(row.created, nowSeconds())},
          {"Digest", row.manifest.str()},
          {"ID", idOf(row, noTrunc)},
          {"Repository", row.name ? row.name->familiarRepository() : kNone},
          {"SharedSize", "N/A"},
          {"Size", formatSize(row.image.size)},
          {"Tag", tag.empty() ? kNone : tag},
          {"UniqueSize", "N/A"},
          {"Label", Json(row.image.labels)}};
}

const std::vector<ListField>& imageFields() {
  static const std::vector<ListField> kFields{{"Repository", "REPOSITORY"},
                                              {"Tag", "TAG"},
                                              {"Digest", "DIGEST"},
                                              {"ID", "IMAGE ID"},
                                              {"CreatedSince", "CREATED"},
                                              {"CreatedAt", "CREATED AT"},
                                              {"Size", "SIZE"},
                                              {"SharedSize", "SHARED SIZE"},
                                              {"UniqueSize", "UNIQUE SIZE"},
                                              {"Containers", "CONTAINERS"}};
  return kFields;
}

// One line per image, not per name.
void printIds(Context& context, const std::vector<Row>& rows, bool noTrunc) {
  std::set<Digest> seen;
  std::string out;
  for (const Row& row : rows) {
    if (seen.insert(row.image.id).second) out += idOf(row, noTrunc) + "\n";
  }
  context.print(out);
}

int runImages(Context& context, const std::vector<std::string>& args) {
  Request request;
  bool all = false;
  Options options{context, "[NAME[:TAG]]", "List images"};
  options.flag("-q,--quiet", request.quiet, "Print only ids")
      .flag("--no-trunc", request.noTrunc, "Full ids")
      .flag("--digests", request.digests, "Show digests of manifests")
      .flag("-a,--all", all, "All images (nothing is hidden without it)")
      .list("-f,--filter", request.filters, "FILTER",
            "before, dangling, label, reference, since, until: KIND=VALUE")
      .text("--format", request.format, "FORMAT", "table, json, a template, or table TEMPLATE")
      .text("--sort", request.sort, "KEY", "created, id, repository, size or tag (created)")
      .flag("--noheading,-n", request.noHeading, "Leave the heading out")
      .positionals(0, 1);
  if (!options.parse(args)) return 0;

  Filters filters = readFilters(context, request.filters);
  if (!options.words().empty()) filters.argument = options.words().front();
  std::vector<Row> rows = readRows(context);
  std::erase_if(rows, [&](const Row& row) { return !passes(row, filters); });
  sortRows(rows, request.sort);
  if (request.quiet && request.format.empty()) {
    printIds(context, rows, request.noTrunc);
    return 0;
  }

  ListStyle style{request.format, {"Repository", "Tag"}, request.noHeading};
  if (request.digests) style.columns.emplace_back("Digest");
  style.columns.insert(style.columns.end(), {"ID", "CreatedSince", "Size"});
  std::vector<Json> fields;
  fields.reserve(rows.size());
  for (const Row& row : rows) fields.push_back(fieldsOf(row, request.noTrunc));
  printList(context, imageFields(), style, fields);
  return 0;
}

}  // namespace

void addImageListCommand(CommandTable& table) {
  table.add({"images,ls,image ls,image list", Group::images, "List images", runImages});
}

}  // namespace img::cli
