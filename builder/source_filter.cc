#include "builder/source_filter.h"

namespace img::builder {

SourceFilter::State SourceFilter::root(std::string_view contextPath) const {
  State state;
  if (ignore != nullptr) {
    state.ignore = ignore->root();
    // The folders on the way to the source decide for what lies below them.
    for (size_t end = 0; end < contextPath.size();) {
      end = contextPath.find('/', end);
      if (end == std::string_view::npos) end = contextPath.size();
      state.ignore = ignore->enter(state.ignore, contextPath.substr(0, end));
      ++end;
    }
  }
  if (exclude != nullptr) state.exclude = exclude->root();
  if (include != nullptr) state.include = include->root();
  return state;
}

SourceFilter::Step SourceFilter::enter(const State& parent, std::string_view contextPath,
                                       std::string_view path, bool isFolder) const {
  Step step{{}, Verdict::take};
  bool mayHold = true;  // something below may count although this does not
  if (ignore != nullptr) {
    step.state.ignore = ignore->enter(parent.ignore, contextPath);
    if (step.state.ignore.ignored) {
      step.verdict = Verdict::skip;
      mayHold = mayHold && ignore->mayContainException(contextPath);
    }
  }
  if (exclude != nullptr) {
    step.state.exclude = exclude->enter(parent.exclude, path);
    if (step.state.exclude.ignored) {
      step.verdict = Verdict::skip;
      mayHold = mayHold && exclude->mayContainException(path);
    }
  }
  if (include != nullptr) {
    step.state.include = include->enter(parent.include, path);
    if (!step.state.include.ignored) step.verdict = Verdict::skip;
  }
  if (step.verdict == Verdict::skip && isFolder && mayHold) step.verdict = Verdict::descend;
  return step;
}

}  // namespace img::builder
