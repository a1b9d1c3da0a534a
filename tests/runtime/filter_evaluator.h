// What the kernel's interpreter of seccomp filters would do (net/core/filter.c), for the
// instructions that our generator and libseccomp use.
#pragma once

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace img::runtime::test {

// The filter's return value.
inline std::uint32_t evaluate(const std::vector<sock_filter>& program, const seccomp_data& data) {
  std::uint32_t accumulator = 0;
  for (size_t at = 0; at < program.size(); ++at) {
    const sock_filter& one = program[at];
    switch (one.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + one.k, sizeof accumulator);
        break;
      case BPF_ALU | BPF_AND | BPF_K: accumulator &= one.k; break;
      case BPF_JMP | BPF_JA: at += one.k; break;
      case BPF_JMP | BPF_K | BPF_JEQ: at += accumulator == one.k ? one.jt : one.jf; break;
      case BPF_JMP | BPF_K | BPF_JGE: at += accumulator >= one.k ? one.jt : one.jf; break;
      case BPF_JMP | BPF_K | BPF_JGT: at += accumulator > one.k ? one.jt : one.jf; break;
      case BPF_JMP | BPF_K | BPF_JSET: at += (accumulator & one.k) != 0 ? one.jt : one.jf; break;
      case BPF_RET | BPF_K: return one.k;
      default: ADD_FAILURE() << "unexpected instruction " << one.code; return 0;
    }
  }
  ADD_FAILURE() << "the program does not end";
  return 0;
}

}  // namespace img::runtime::test
