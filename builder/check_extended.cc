// The extended checks: habits that make images larger or builds less repeatable. Ours, so their
// names begin with Img; only --check=extended asks for them.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "builder/check_rules.h"
#include "builder/remote_url.h"
#include "parser/chars.h"
#include "parser/value_checks.h"
#include "store/reference.h"

namespace img::builder {
namespace {

using text::quote;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// What a RUN gives its shell; the words of the exec form, for a look at them.
std::string commandText(const parser::RunInstruction& run) {
  return run.command.exec ? text::join(run.command.words, " ") : parser::shellText(run);
}

// `apt-get -y install`: the program and, before the next command, the verb.
bool callsApt(std::string_view command, std::string_view verb) {
  const std::vector<std::string> words = parser::splitBlanks(command);
  bool isApt = false;
  for (const std::string& word : words) {
    if (word == "apt-get" || word == "apt") {
      isApt = true;
    } else if (isApt && word == verb) {
      return true;
    } else if (word == "&&" || word == ";" || word == "||" || word.ends_with(';')) {
      isApt = false;
    }
  }
  return false;
}

// Lines of a script are commands of their own.
bool callsAptAnywhere(const std::string& script, std::string_view verb) {
  const std::vector<std::string> lines = text::split(script, '\n');
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return callsApt(line, verb); });
}

// A cache or tmpfs mount over the lists keeps them out of the layer.
bool mountsAptLists(const parser::RunInstruction& run) {
  return std::any_of(run.mounts.begin(), run.mounts.end(), [](const std::string& text) {
    try {
      const parser::RunMount mount = parser::parseRunMount(text);
      const bool isKept = mount.type == parser::RunMount::Type::cache ||
                          mount.type == parser::RunMount::Type::tmpfs;
      const std::string path = joinPath("/", mount.target);
      return isKept && (path == "/var/lib/apt" || path == "/var/lib/apt/lists");
    } catch (const Error&) {
      return false;  // values with variables: not judged
    }
  });
}

void checkApt(Checking& checking, const parser::Step& step, const parser::RunInstruction& run) {
  const std::string command = commandText(run);
  if (!contains(command, "apt")) return;
  const bool installs = callsAptAnywhere(command, "install");
  const bool updates = callsAptAnywhere(command, "update");
  if (updates && !mountsAptLists(run) && !contains(command, "/var/lib/apt/lists")) {
    checking.findings.add("ImgAptListsKept", step.syntax,
                          "the package lists stay in the layer; remove /var/lib/apt/lists/* in the "
                          "same RUN or mount a cache there");
  }
  if (updates && !installs) {
    checking.findings.add("ImgAptUpdateAlone", step.syntax,
                          "update the package lists in the RUN that installs, or the cache keeps "
                          "old ones");
  }
}

void checkCd(Checking& checking, const parser::Step& step, const parser::RunInstruction& run) {
  const std::vector<std::string> words = parser::splitBlanks(commandText(run));
  if (words.size() != 2 || words[0] != "cd" || !run.heredocs.empty()) return;
  checking.findings.add(
      "ImgCdHasNoEffect", step.syntax,
      fmt::format("the next instruction does not see this cd; use WORKDIR {}", quote(words[1])));
}

// RUN chown -R after COPY or ADD stores every file twice.
void checkChown(Checking& checking, const parser::Step& step, const parser::RunInstruction& run,
                const parser::Step* before) {
  if (before == nullptr) return;
  const auto* copy = std::get_if<parser::CopyInstruction>(&before->body);
  if (copy == nullptr || copy->chown) return;
  const std::vector<std::string> words = parser::splitBlanks(commandText(run));
  if (words.empty() || words[0] != "chown") return;
  const bool isRecursive = std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "--recursive" ||
           (word.starts_with('-') && !word.starts_with("--") && contains(word, "R"));
  });
  if (!isRecursive) return;
  checking.findings.add("ImgCopyThenChown", step.syntax,
                        fmt::format("chown -R stores the files a second time; use {} --chown",
                                    before->syntax.keyword));
}

bool isArchiveName(const std::string& source) {
  static constexpr std::array<std::string_view, 9> kEndings{
      ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".gz"};
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view ending) { return source.ends_with(ending); });
}

// ADD does more than copying; where that is not wanted, COPY says so.
void checkAdd(Checking& checking, const parser::Step& step, const parser::CopyInstruction& copy) {
  if (!copy.isAdd || copy.unpack || copy.checksum || copy.keepGitDir) return;
  const bool isPlain =
      std::all_of(copy.sources.begin(), copy.sources.end(), [](const std::string& source) {
        return classifySource(source) == SourceKind::local && !contains(source, "$") &&
               !isArchiveName(source);
      });
  if (!isPlain) return;
  checking.findings.add("ImgAddInsteadOfCopy", step.syntax,
                        "ADD unpacks archives and fetches URLs; use COPY for plain files");
}

void checkTag(Checking& checking, const CheckedStage& stage) {
  if (stage.baseStage || stage.fromScratch() || stage.baseName.empty()) return;
  try {
    const store::Reference reference = store::Reference::parse(stage.baseName);
    if (reference.digest || reference.tag != "latest") return;
  } catch (const Error&) {
    return;  // told with the FROM lines
  }
  checking.findings.add("ImgLatestTag", stage.syntax->from,
                        fmt::format("{} is another image tomorrow; name a version or a digest",
                                    quote(stage.baseName)),
                        stage.syntax->baseName);
}

}  // namespace

void checkExtended(Checking& checking) {
  for (const CheckedStage& stage : checking.stages) {
    if (!stage.isNeeded) continue;
    checkTag(checking, stage);
    const parser::Step* before = nullptr;
    for (const parser::Step& step : stage.syntax->steps) {
      if (const auto* run = std::get_if<parser::RunInstruction>(&step.body)) {
        checkApt(checking, step, *run);
        checkCd(checking, step, *run);
        checkChown(checking, step, *run, before);
      } else if (const auto* copy = std::get_if<parser::CopyInstruction>(&step.body)) {
        checkAdd(checking, step, *copy);
      }
      before = &step;
    }
  }
}

}  // namespace img::builder
