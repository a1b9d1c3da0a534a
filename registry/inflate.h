// The command `inflate`: gzip on descriptor 0, its plain bytes to descriptor 1. By isa-l, which
// takes half of zlib's time and has no static library in Debian 12; and a decoder of untrusted
// bytes is better off in a process that can do nothing else.
#pragma once

namespace img::registry {

// What the exit status says.
enum InflateStatus {
  kInflated = 0,
  kInflateFailed = 1,
  kDamaged = 3,
  kEndsTooEarly = 4,
  kWrongChecksum = 5
};

// Confines the process first. Every member's CRC-32 and length are checked; what follows the last
// one and is no member is ignored.
int runInflate();

}  // namespace img::registry
