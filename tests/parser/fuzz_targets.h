// What the fuzzers ask of the parser, one function per language. Each takes any bytes and throws
// std::logic_error when a promise is broken; img::Error is the only other exception it knows, and
// an answer. The ordinary tests replay the kept corpora through the same functions
// (fuzz_replay_test.cc), tests/fuzz links them with libFuzzer.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "base/error.h"

namespace img::parser::testing {

void fuzzSyntax(std::string_view text);  // Dockerfiles: lines, heredocs, JSON, X3, typed form
void fuzzExpand(std::string_view data);  // words, switches, patterns; the value of A before a NUL
void fuzzIgnore(std::string_view data);  // ignore files, wildcards; after a NUL one path per line
void fuzzValues(std::string_view text);  // flags, --mount, ports, platforms, modes, durations, JSON

inline void require(bool holds, std::string_view promise) {
  if (!holds) throw std::logic_error{std::string{promise}};
}

// Whether `call` succeeds; its Error must say something.
template <class Call>
bool succeeds(Call call) {
  try {
    call();
    return true;
  } catch (const Error& error) {
    require(!error.cause().empty(), "an error has a text");
    require(error.kind() != Kind::internal, "input causes no internal error");
    return false;
  }
}

// `text` with the escape character before every character of it.
std::string escapeAll(std::string_view text, char escape);

}  // namespace img::parser::testing
