#include "cli/options.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <deque>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/globals.h"
#include "cli/values.h"

namespace img::cli {
namespace {

// How an option takes its value.
enum class Arity { flag, value, optionalValue };

struct Spec {
  std::string key;  // the spelling under which CLI11 and isGiven() know it: "--name" or "-n"
  Arity arity;
  std::string bare;  // flag, optionalValue: the value when none is given
  std::string names, meta, help, group;
  Options::Take take;
};

constexpr char kOptionsGroup[] = "Options";
constexpr char kGlobalGroup[] = "Global options";

class HelpFormatter final : public CLI::Formatter {
 public:
  explicit HelpFormatter(std::string usage) : usage_(std::move(usage)) { column_width(32); }
  std::string make_usage(const CLI::App*, std::string) const override {
    return "\nUsage: " + usage_ + "\n";
  }

 private:
  std::string usage_;
};

}  // namespace

struct Options::Impl {
  Impl(Context& contextOf, std::string_view usageOf, std::string_view helpOf)
      : context(contextOf), usage(usageOf), description(helpOf) {}

  Context& context;
  std::string usage, description;
  std::deque<Spec> specs;
  std::map<std::string, const Spec*> byName;  // "--name", "-n"
  std::map<std::string, size_t> given;        // Spec::key -> count
  std::string groupTitle = kOptionsGroup;
  bool stopAtPositional = false;
  bool helpAsked = false;
  bool hasGlobals = false;
  size_t least = 0, most = kAnyNumber;
  std::vector<std::string> line;  // the words as given, for the excerpt of an error

  void add(const std::string& names, Arity arity, std::string bare, const std::string& meta,
           const std::string& help, Take take);
  void addGlobals();
  [[nodiscard]] std::string commandName() const {
    return context.command.empty() ? "img" : "img " + context.command;
  }
  [[nodiscard]] Error mistake(std::string cause, size_t at) const;
  [[nodiscard]] const Spec& findSpec(const std::string& name, size_t at,
                                     const std::string& cause) const;
  void takeLong(size_t& at, std::vector<std::string>& plain);
  void takeCluster(size_t& at, std::vector<std::string>& plain);
  const std::string& nextWord(size_t& at, const std::string& name) const;
  void push(const Spec& spec, const std::string& value, std::vector<std::string>& plain);
  using Wanted = std::function<bool(const Spec& spec)>;
  [[nodiscard]] std::unique_ptr<CLI::App> makeApp(const Wanted& isWanted) const;
  void apply(std::vector<std::string> plain) const;
};

void Options::Impl::add(const std::string& names, Arity arity, std::string bare,
                        const std::string& meta, const std::string& help, Take take) {
  const std::vector<std::string> spellings = text::split(names, ',');
  const auto longName =
      std::find_if(spellings.begin(), spellings.end(),
                   [](const std::string& name) { return name.starts_with("--"); });
  Spec& spec = specs.emplace_back();
  spec = {longName == spellings.end() ? spellings.front() : *longName,
          arity,
          std::move(bare),
          names,
          meta,
          help,
          groupTitle,
          std::move(take)};
  for (const std::string& name : spellings) byName.emplace(name, &spec);
}

// CLI11 compares the names of every new option with those of all others: a table of a hundred
// options takes longer than making a container. So it gets the few that a command line has, and all
// of them only for the help.
std::unique_ptr<CLI::App> Options::Impl::makeApp(const Wanted& isWanted) const {
  auto app = std::make_unique<CLI::App>(description);
  app->set_help_flag("");  // -h is the host name of run, and CLI11 would leave by an exception
  for (const Spec& spec : specs) {
    if (!isWanted(spec)) continue;
    // Each value is handed over as it comes, so that a list accumulates and a single value is
    // overwritten.
    app->add_option(
           spec.names,
           [&spec](const CLI::results_t& values) {
             spec.take(values.back());
             return true;
           },
           spec.help)
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->trigger_on_parse()
        ->option_text(spec.meta.empty() ? " " : spec.meta)  // an empty text would bring CLI11's own
        ->group(spec.group);
  }
  return app;
}

// Options of the command itself win: `-v` and `-h` of run are not the global ones.
void Options::Impl::addGlobals() {
  if (std::exchange(hasGlobals, true)) return;
  groupTitle = kGlobalGroup;
  for (const GlobalOption& option : kGlobalOptions) {
    const std::string names{option.names};
    if (byName.contains(names)) continue;
    const bool isFlag = option.meta.empty();
    add(names, isFlag ? Arity::flag : Arity::value, "true", std::string{option.meta},
        std::string{option.help},
        [this, apply = option.apply](const std::string& value) { apply(context, value); });
  }
  if (byName.contains("--help")) return;
  const bool isShortFree = !byName.contains("-h");
  add(isShortFree ? "-h,--help" : "--help", Arity::flag, "true", "", "Show this text",
      [this](const std::string& value) { helpAsked = parseBool(value, "--help"); });
}

// The excerpt is the command line itself, with the word at fault marked.
Error Options::Impl::mistake(std::string cause, size_t at) const {
  Error error{Kind::usage, std::move(cause)};
  Position position;
  position.text = commandName();
  position.line = position.endLine = 1;
  for (size_t i = 0; i < line.size(); ++i) {
    position.text += ' ';
    const std::string shown = text::escape(line[i]);
    if (i == at) {
      position.column = static_cast<int>(position.text.size()) + 1;
      position.width = std::max(1, static_cast<int>(shown.size()));
    }
    position.text += shown;
  }
  if (position.column > 0) error.at(std::move(position));
  return error;
}

const Spec& Options::Impl::findSpec(const std::string& name, size_t at,
                                    const std::string& cause) const {
  const auto found = byName.find(name);
  if (found != byName.end()) return *found->second;
  Error error = mistake(cause, at);
  std::vector<std::string> known;
  for (const auto& [spelling, spec] : byName) {
    if (spelling.starts_with("--")) known.push_back(spelling);
  }
  if (const auto near = name.starts_with("--") ? text::suggest(name, known) : std::nullopt) {
    error.hint("did you mean " + *near + "?");
  }
  throw error;
}

const std::string& Options::Impl::nextWord(size_t& at, const std::string& name) const {
  if (at + 1 >= line.size()) throw mistake("flag needs an argument: " + name, at);
  return line[++at];
}

void Options::Impl::push(const Spec& spec, const std::string& value,
                         std::vector<std::string>& plain) {
  ++given[spec.key];
  // Two words, never "--name=value": CLI11 takes the value of an empty `--name=` from the next
  // word.
  plain.push_back(spec.key);
  plain.push_back(value);
}

void Options::Impl::takeLong(size_t& at, std::vector<std::string>& plain) {
  const std::string& word = line[at];
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  const Spec& spec = findSpec(name, at, "unknown flag: " + text::escape(name));
  if (equals != std::string::npos) {
    push(spec, word.substr(equals + 1), plain);
  } else if (spec.arity == Arity::value) {
    push(spec, nextWord(at, name), plain);
  } else {
    push(spec, spec.bare, plain);
  }
}

// "-it", "-p4000:80", "-e=X", "-dp 80:80".
void Options::Impl::takeCluster(size_t& at, std::vector<std::string>& plain) {
  const std::string word = line[at];
  const size_t wordAt = at;
  for (size_t i = 1; i < word.size(); ++i) {
    const std::string name{'-', word[i]};
    const Spec& spec = findSpec(
        name, wordAt,
        "unknown shorthand flag: '" + text::escape(name.substr(1)) + "' in " + text::escape(word));
    const bool hasEquals = i + 1 < word.size() && word[i + 1] == '=';
    if (spec.arity != Arity::value && !hasEquals) {
      push(spec, spec.bare, plain);
      continue;
    }
    if (i + 1 < word.size()) {
      push(spec, word.substr(i + (hasEquals ? 2 : 1)), plain);
    } else {
      push(spec, nextWord(at, name), plain);
    }
    return;
  }
}

void Options::Impl::apply(std::vector<std::string> plain) const {
  if (plain.empty()) return;
  const auto app = makeApp([this](const Spec& spec) { return given.contains(spec.key); });
  std::reverse(plain.begin(), plain.end());  // App::parse takes the words from the back
  try {
    app->parse(std::move(plain));
  } catch (const CLI::Error& error) {
    throw Error{Kind::usage, text::escape(error.what())};
  }
}

Options::Options(Context& context, std::string_view usage, std::string_view help)
    : impl_(std::make_unique<Impl>(context, usage, help)) {}
Options::~Options() = default;

Options& Options::flag(const std::string& names, bool& value, const std::string& help) {
  impl_->add(names, Arity::flag, "true", "", help,
             [&value, names](const std::string& given) { value = parseBool(given, names); });
  return *this;
}

Options& Options::text(const std::string& names, std::string& value, const std::string& meta,
                       const std::string& help) {
  return this->value(names, meta, help, [&value](const std::string& given) { value = given; });
}

Options& Options::text(const std::string& names, std::optional<std::string>& value,
                       const std::string& meta, const std::string& help) {
  return this->value(names, meta, help, [&value](const std::string& given) { value = given; });
}

Options& Options::list(const std::string& names, std::vector<std::string>& values,
                       const std::string& meta, const std::string& help) {
  return value(names, meta, help, [&values](const std::string& given) { values.push_back(given); });
}

Options& Options::number(const std::string& names, std::optional<long long>& value,
                         const std::string& meta, const std::string& help) {
  return this->value(names, meta, help, [&value, names](const std::string& given) {
    const bool isNegative = given.starts_with('-');
    const auto magnitude = text::parseUnsigned(std::string_view{given}.substr(isNegative ? 1 : 0));
    constexpr auto kLargest = std::numeric_limits<long long>::max();
    if (!magnitude || *magnitude > static_cast<unsigned long long>(kLargest)) {
      throw Error::make(Kind::usage, "invalid value {} for {}: expected a whole number",
                        text::quote(given), names);
    }
    value = static_cast<long long>(*magnitude) * (isNegative ? -1 : 1);
  });
}

Options& Options::size(const std::string& names, std::optional<long long>& bytes,
                       const std::string& help, bool allowUnlimited) {
  return value(names, "SIZE", help, [&bytes, names, allowUnlimited](const std::string& given) {
    bytes = allowUnlimited && given == "-1" ? -1 : parseSize(given, names);
  });
}

Options& Options::duration(const std::string& names, std::optional<long long>& nanoseconds,
                           const std::string& help) {
  return value(names, "DURATION", help, [&nanoseconds, names](const std::string& given) {
    nanoseconds = parseDuration(given, names);
  });
}

Options& Options::value(const std::string& names, const std::string& meta, const std::string& help,
                        Take take) {
  impl_->add(names, Arity::value, "", meta, help, std::move(take));
  return *this;
}

Options& Options::optionalValue(const std::string& names, const std::string& bare,
                                const std::string& meta, const std::string& help, Take take) {
  impl_->add(names, Arity::optionalValue, bare, meta, help, std::move(take));
  return *this;
}

Options& Options::ignoredFlag(const std::string& names) {
  const std::string title = std::exchange(impl_->groupTitle, "");  // no group: not in the help
  impl_->add(names, Arity::flag, "true", "", "",
             [names](const std::string&) { log::info("{} has no effect here", names); });
  impl_->groupTitle = title;
  return *this;
}

Options& Options::ignoredValue(const std::string& names) {
  const std::string title = std::exchange(impl_->groupTitle, "");
  impl_->add(names, Arity::value, "", "", "",
             [names](const std::string&) { log::info("{} has no effect here", names); });
  impl_->groupTitle = title;
  return *this;
}

Options& Options::group(const std::string& title) {
  impl_->groupTitle = title;
  return *this;
}

Options& Options::stopAtPositional() {
  impl_->stopAtPositional = true;
  return *this;
}

Options& Options::positionals(size_t least, size_t most) {
  impl_->least = least;
  impl_->most = most;
  return *this;
}

bool Options::parse(const std::vector<std::string>& args) {
  Impl& impl = *impl_;
  impl.addGlobals();
  impl.line = args;

  std::vector<std::string> plain;
  try {
    bool ended = false;
    for (size_t at = 0; at < args.size(); ++at) {
      const std::string& word = args[at];
      if (ended || word.size() < 2 || word[0] != '-') {
        words_.push_back(word);
        ended = ended || impl.stopAtPositional;
      } else if (word == "--") {
        ended = true;
      } else if (word[1] == '-') {
        impl.takeLong(at, plain);
      } else {
        impl.takeCluster(at, plain);
      }
    }
  } catch (Error&) {
    impl.apply(std::move(plain));  // an --error-format given before the mistake counts for it
    if (impl.helpAsked) {
      impl.context.print(help());
      return false;
    }
    throw;
  }
  impl.apply(std::move(plain));
  if (impl.helpAsked) {
    impl.context.print(help());
    return false;
  }

  const size_t count = words_.size();
  if (count >= impl.least && count <= impl.most) return true;
  const bool isExact = impl.least == impl.most;
  const size_t wanted = count < impl.least ? impl.least : impl.most;
  throw impl.mistake(
      fmt::format("\"{}\" {} {} argument{}", impl.commandName(),
                  wanted == 0 ? "accepts"
                  : isExact   ? "requires exactly"
                              : (count < impl.least ? "requires at least" : "requires at most"),
                  wanted == 0 ? "no" : std::to_string(wanted), wanted == 1 ? "" : "s"),
      args.size());
}

bool Options::isGiven(const std::string& name) const {
  const auto spec = impl_->byName.find(name);
  return spec != impl_->byName.end() && impl_->given.contains(spec->second->key);
}

std::string Options::help() const {
  Impl& impl = *impl_;
  impl.addGlobals();
  const std::string usage =
      impl.commandName() + " [OPTIONS]" + (impl.usage.empty() ? "" : " " + impl.usage);
  const auto app = impl.makeApp([](const Spec&) { return true; });
  app->formatter(std::make_shared<HelpFormatter>(usage));
  std::string text = app->help();
  while (text.ends_with('\n')) text.pop_back();
  text += '\n';
  // CLI11 sets two blank lines between groups.
  for (size_t at; (at = text.find("\n\n\n")) != std::string::npos;) text.erase(at, 1);
  return text;
}

}  // namespace img::cli
