#include "store/container_names.h"

#include <algorithm>
#include <array>

namespace img::store {
namespace {

constexpr std::array kAdjectives = {
    "able",   "agile",  "amber",   "ample",  "bold",   "brave",    "bright",  "brisk",   "busy",
    "calm",   "candid", "careful", "clear",  "clever", "cosy",     "curious", "daring",  "deft",
    "eager",  "early",  "exact",   "fair",   "fancy",  "fast",     "fine",    "fluent",  "frank",
    "fresh",  "gentle", "glad",    "golden", "good",   "grand",    "happy",   "hardy",   "honest",
    "humble", "jolly",  "keen",    "kind",   "late",   "light",    "lively",  "loyal",   "lucid",
    "lucky",  "merry",  "mild",    "modest", "neat",   "nimble",   "noble",   "patient", "plain",
    "polite", "proud",  "quick",   "quiet",  "ready",  "robust",   "serene",  "sharp",   "silent",
    "sleek",  "smart",  "solid",   "sound",  "steady", "stoic",    "strict",  "sunny",   "swift",
    "tidy",   "trusty", "upbeat",  "vivid",  "warm",   "watchful", "wise",    "witty"};

// People to whom computing, mathematics and science owe something.
constexpr std::array kSurnames = {
    "abel",     "allen",     "ampere",    "babbage",    "backus",  "bartik",   "boole",
    "boyle",    "brahe",     "cantor",    "cauchy",     "cerf",    "church",   "clarke",
    "codd",     "conway",    "cook",      "curie",      "darwin",  "dijkstra", "dirac",
    "easley",   "engelbart", "erdos",     "euler",      "faraday", "fermat",   "fermi",
    "feynman",  "fourier",   "franklin",  "galileo",    "gauss",   "godel",    "goldberg",
    "hamilton", "hamming",   "hilbert",   "hoare",      "hopper",  "hypatia",  "jennings",
    "johnson",  "kahan",     "kalman",    "karp",       "keller",  "kepler",   "kernighan",
    "knuth",    "lamarr",    "lamport",   "leibniz",    "liskov",  "lovelace", "maxwell",
    "mccarthy", "meitner",   "mendel",    "mirzakhani", "newton",  "noether",  "pascal",
    "perlman",  "planck",    "ramanujan", "riemann",    "ritchie", "shannon",  "tarjan",
    "tesla",    "thompson",  "turing",    "vaughan",    "volta",   "wiles",    "wilkes",
    "wirth",    "yonath",    "zuse"};

}  // namespace

bool isValidContainerName(std::string_view name) {
  const auto isAlnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (name.empty() || name.size() > 255 || !isAlnum(name.front())) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return isAlnum(c) || c == '_' || c == '.' || c == '-'; });
}

bool isContainerId(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string containerNameFor(std::uint64_t random, int attempt) {
  const std::string adjective = kAdjectives[random % kAdjectives.size()];
  const std::uint64_t rest = random / kAdjectives.size();
  std::string name = adjective + "_" + kSurnames[rest % kSurnames.size()];
  if (attempt > 2) name += std::to_string(rest / kSurnames.size() % 10000);
  return name;
}

}  // namespace img::store
