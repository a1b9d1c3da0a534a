#include "builder/copy_key.h"

#include "builder/layer_step.h"

namespace img::builder {

// `COPY [--parents ][--chown=X ][--chmod=Y ]src... dest` (7.4).
std::string createdBy(const CopyJob& job) {
  std::string out = job.keyword + " ";
  if (job.parents) out += "--parents ";
  if (!job.chown.empty()) out += "--chown=" + job.chown + " ";
  if (!job.chmod.empty()) out += "--chmod=" + job.chmod + " ";
  for (const std::string& source : job.sources) out += source + " ";
  for (const auto& file : job.inlineFiles) out += "<<" + file.first + " ";
  return out + job.writtenDestination;
}

Hasher startCopyKey(const Scope& scope, const CopyJob& job, std::string_view kind) {
  Hasher hasher = startKey(kind, Digest{});
  hasher.field(job.destination);
  hasher.field(job.chown);
  hasher.field(job.chmod);
  hasher.field(std::uint64_t{job.excludeTexts.size()});
  for (const std::string& pattern : job.excludeTexts) hasher.field(pattern);
  hasher.field(
      fmt::format("{}{}{}{}", job.isAdd, job.link, job.parents, job.unpack.value_or(true)));
  hasher.field(std::uint64_t{job.inlineFiles.size()});
  for (const auto& [name, content] : job.inlineFiles) {
    hasher.field(name);
    hasher.field(content);
  }
  addEpoch(hasher, scope);
  return hasher;
}

void addSource(Hasher& hasher, ContentDigester& digester, const CopyJob& job,
               const std::string& path) {
  SourceFilter filter;
  filter.ignore = job.root.ignore();
  if (!job.exclude.empty()) filter.exclude = &job.exclude;
  parser::IgnorePatterns kept;
  std::string base = path;
  if (job.parents) {
    ParentsSource pivot = splitPivot(path);
    base = pivot.base;
    hasher.field(pivot.kept);
    kept = parser::IgnorePatterns::compile({pivot.kept});
    if (!pivot.kept.empty() && pivot.kept != ".") filter.include = &kept;
  }
  const auto add = [&](const CopySource& source) {
    hasher.field(source.matched);
    hasher.field(source.name);
    const auto digest = digester.digest(source.handle.get(), source.contextPath, filter);
    hasher.field(digest ? digest->hex() : "");
  };
  hasher.field(std::uint64_t{forEachSource(job.root, base, job.keyword, add)});
}

}  // namespace img::builder
