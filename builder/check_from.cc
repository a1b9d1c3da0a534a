// Checks of FROM lines, which see nothing but the global scope (dockerfile.md 2.6, 3.2, 5.2).
#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"
#include "builder/check_rules.h"
#include "parser/value_checks.h"
#include "store/reference.h"

namespace img::builder {
namespace {

using text::quote;

bool isReference(const std::string& name) {
  try {
    store::Reference::parse(name);
    return true;
  } catch (const Error&) {
    return false;
  }
}

class FromLines {
 public:
  explicit FromLines(Checking& checking) : checking_(checking) {
    for (const auto& [name, value] : checking.scope.globals.all()) declared_.push_back(name);
    for (const parser::Step& step : checking.file.globalArgs) {
      for (const auto& item : std::get<parser::ArgInstruction>(step.body).items)
        declared_.push_back(item.name);
    }
  }

  void run() {
    evaluateDefaults();
    for (const parser::Stage& syntax : checking_.file.stages) {
      CheckedStage stage;
      stage.syntax = &syntax;
      stage.baseName = expand(syntax, syntax.baseName).value_or("");
      stage.baseStage = findStage(stage.baseName);
      checkName(stage);
      checkDefault(syntax);
      if (syntax.platform) checkPlatform(syntax);
      checking_.stages.push_back(std::move(stage));
    }
  }

 private:
  // The global scope as it is without build arguments.
  void evaluateDefaults() {
    if (checking_.request.buildArgs.empty()) {
      defaults_ = checking_.scope.globals;
      return;
    }
    Request request;
    request.target = checking_.request.target;
    Scope scope;
    scope.request = &request;
    scope.file = &checking_.file;
    try {
      evaluateGlobals(checking_.file, scope);
    } catch (const Error&) {
      // ${NAME:?} asks for the argument: what can be said without it is said.
    }
    defaults_ = std::move(scope.globals);
  }

  // A word of a FROM line; reports the names nobody declares. nullopt when it cannot be expanded.
  std::optional<std::string> expand(const parser::Stage& stage, const std::string& word) {
    MissingNames missing{checking_.scope.globals};
    std::optional<std::string> result;
    try {
      const parser::Expansion expansion = parser::expand(word, missing.lookup(), options());
      missing.addAll(expansion.unset);
      result = expansion.text;
    } catch (Error& error) {
      error.prefixCause("FROM: ").at(positionOf(checking_.file, stage.from, word));
      checking_.fail(error);
    }
    for (const std::string& name : missing.names()) {
      if (std::find(declared_.begin(), declared_.end(), name) != declared_.end()) continue;
      checking_.findings.add(
          "UndefinedArgInFrom", stage.from,
          fmt::format("FROM uses undeclared ARG {}{}", quote(name), suggestion(name, declared_)),
          word);
    }
    return result;
  }

  // The nearest earlier stage of that name (5.1).
  [[nodiscard]] std::optional<int> findStage(const std::string& name) const {
    const std::string wanted = text::lower(name);
    for (size_t i = checking_.stages.size(); i-- > 0;) {
      const std::string& known = checking_.file.stages[i].name;
      if (!known.empty() && known == wanted) return static_cast<int>(i);
    }
    return std::nullopt;
  }

  // What a build refuses before anything else.
  void checkName(const CheckedStage& stage) {
    const parser::Stage& syntax = *stage.syntax;
    if (stage.baseName.empty()) {
      Error error = instructionError(
          checking_.scope, syntax.from,
          fmt::format("image name {} expands to nothing", quote(syntax.baseName)), syntax.baseName);
      error.code("arg-unset-in-from");
      error.hint("give the variable a value with --build-arg or with an ARG before the first FROM");
      checking_.fail(error);
    } else if (!stage.baseStage && !isReference(stage.baseName)) {
      checking_.fail(instructionError(checking_.scope, syntax.from,
                                      fmt::format("bad image reference {}", quote(stage.baseName)),
                                      syntax.baseName));
    }
  }

  void checkDefault(const parser::Stage& syntax) {
    std::string name;
    try {
      name = parser::expand(syntax.baseName, defaults_.lookup(), options()).text;
    } catch (const Error&) {
      name.clear();  // ${NAME:?}: empty without the argument
    }
    if (findStage(name) || isReference(name)) return;
    checking_.findings.add(
        "InvalidDefaultArgInFrom", syntax.from,
        fmt::format("FROM {} is invalid without build args", quote(syntax.baseName)),
        syntax.baseName);
  }

  void checkPlatform(const parser::Stage& syntax) {
    const std::string& written = *syntax.platform;
    const auto platform = expand(syntax, written);
    if (!platform) return;
    const auto report = [&](std::string_view rule, std::string message) {
      checking_.findings.add(rule, syntax.from, std::move(message), "--platform=" + written);
    };
    if (written == "$TARGETPLATFORM" || written == "${TARGETPLATFORM}") {
      report("RedundantTargetPlatform",
             fmt::format("--platform={} is the default", quote(written)));
    }
    if (platform->empty()) {
      return checking_.fail(
          instructionError(checking_.scope, syntax.from,
                           fmt::format("--platform {} expands to nothing", quote(written))));
    }
    try {
      const parser::Platform wanted = parser::parsePlatform(*platform);
      const bool isConstant = written.find('$') == std::string::npos;
      if (!isConstant || syntax.name.find(wanted.os) != std::string::npos ||
          syntax.name.find(wanted.architecture) != std::string::npos) {
        return;
      }
      report("FromPlatformFlagConstDisallowed",
             fmt::format("--platform={} is a constant", quote(written)));
    } catch (Error& error) {
      error.prefixCause("FROM: ").at(positionOf(checking_.file, syntax.from, written));
      checking_.fail(error);
    }
  }

  [[nodiscard]] parser::ExpandOptions options() const {
    parser::ExpandOptions options;
    options.escape = checking_.file.directives.escape;
    return options;
  }

  Checking& checking_;
  std::vector<std::string> declared_;  // predefined names and global ARGs, also without a value
  Variables defaults_;
};

}  // namespace

void checkFromLines(Checking& checking) {
  FromLines{checking}.run();
}

}  // namespace img::builder
