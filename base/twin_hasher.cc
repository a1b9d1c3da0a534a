#include "base/twin_hasher.h"

// The low-level functions: digest.cc says why. Their context is an array of eight words and the
// bytes of a block that is not whole, which is what lets two of them go through one block together.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include <cstdint>
#include <utility>

namespace img {
namespace {

constexpr size_t kBlock = SHA256_CBLOCK;

template <class State>
SHA256_CTX* contextOf(State& state) {
  static_assert(sizeof state.raw >= sizeof(SHA256_CTX));
  return reinterpret_cast<SHA256_CTX*>(state.raw);
}

Digest finish(SHA256_CTX* context) {
  Digest::Bytes bytes;
  ::SHA256_Final(bytes.data(), context);
  ::SHA256_Init(context);
  return Digest{bytes};
}

void update(SHA256_CTX* context, std::span<const std::byte> bytes) {
  if (!bytes.empty()) ::SHA256_Update(context, bytes.data(), bytes.size());
}

// The number of bits, as SHA256_Update() keeps it.
void count(SHA256_CTX* context, size_t bytes) {
  std::uint64_t bits = (std::uint64_t{context->Nh} << 32) | context->Nl;
  bits += std::uint64_t{bytes} * 8;
  context->Nl = static_cast<SHA_LONG>(bits);
  context->Nh = static_cast<SHA_LONG>(bits >> 32);
}

#ifdef __x86_64__

bool hasExtensions() {
  // Not by __builtin_cpu_supports(): libgcc asks the processor about everything at the start of
  // every process then, some 20 instructions that each cost microseconds in a virtual machine.
  // Leaf 7, EBX bit 29 is SHA, leaf 1, ECX bit 19 is SSE 4.1 (Intel SDM, CPUID).
  const auto ask = [](unsigned leaf) {
    unsigned b = 0, c = 0, d = 0;
    __asm__("cpuid" : "+a"(leaf), "=b"(b), "+c"(c), "=d"(d));
    return std::pair{b, c};
  };
  return (ask(7).first & (1U << 29)) != 0 && (ask(1).second & (1U << 19)) != 0;
}

#define IMG_SHA __attribute__((target("sha,sse4.1")))

// FIPS 180-4, 4.2.2.
alignas(16) constexpr std::uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// The eight words as the instructions want them: a, b, e, f and c, d, g, h, the first one highest.
struct Words {
  __m128i abef, cdgh;
};

IMG_SHA inline Words load(const SHA256_CTX* context) {
  const auto* words = reinterpret_cast<const __m128i*>(context->h);
  const __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xB1);
  const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1B);
  return {_mm_alignr_epi8(badc, hgfe, 8), _mm_blend_epi16(hgfe, badc, 0xF0)};
}

IMG_SHA inline void store(SHA256_CTX* context, const Words& from) {
  auto* words = reinterpret_cast<__m128i*>(context->h);
  const __m128i feba = _mm_shuffle_epi32(from.abef, 0x1B);
  const __m128i dchg = _mm_shuffle_epi32(from.cdgh, 0xB1);
  _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

IMG_SHA inline void fourRounds(Words& words, __m128i low, __m128i high) {
  words.cdgh = _mm_sha256rnds2_epu32(words.cdgh, words.abef, low);
  words.abef = _mm_sha256rnds2_epu32(words.abef, words.cdgh, high);
}

IMG_SHA inline void add(Words& words, const Words& before) {
  words.abef = _mm_add_epi32(words.abef, before.abef);
  words.cdgh = _mm_add_epi32(words.cdgh, before.cdgh);
}

// `size`: a multiple of a block.
IMG_SHA void updateBlocks(SHA256_CTX* one, SHA256_CTX* other, const std::byte* data, size_t size) {
  const __m128i bigEndian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  Words a = load(one), b = load(other);
  for (const std::byte* const end = data + size; data != end; data += kBlock) {
    const Words oldA = a, oldB = b;
    __m128i schedule[4];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      __m128i& next = schedule[i % 4];
      if (i < 4) {
        const auto* from = reinterpret_cast<const __m128i*>(data) + i;
        next = _mm_shuffle_epi8(_mm_loadu_si128(from), bigEndian);
      } else {
        const __m128i last = schedule[(i + 3) % 4], third = schedule[(i + 2) % 4];
        next = _mm_sha256msg1_epu32(next, schedule[(i + 1) % 4]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(last, third, 4));
        next = _mm_sha256msg2_epu32(next, last);
      }
      const auto* constants = reinterpret_cast<const __m128i*>(kRounds) + i;
      const __m128i low = _mm_add_epi32(next, _mm_load_si128(constants));
      const __m128i high = _mm_shuffle_epi32(low, 0x0E);
      fourRounds(a, low, high);
      fourRounds(b, low, high);
    }
    add(a, oldA);
    add(b, oldB);
  }
  store(one, a);
  store(other, b);
}

#else

bool hasExtensions() {
  return false;
}

void updateBlocks(SHA256_CTX* one, SHA256_CTX* other, const std::byte* data, size_t size) {
  update(one, {data, size});
  update(other, {data, size});
}

#endif

}  // namespace

TwinHasher::TwinHasher() {
  static const bool kHasExtensions = hasExtensions();
  isFast_ = kHasExtensions;
  ::SHA256_Init(contextOf(outer_));
  ::SHA256_Init(contextOf(inner_));
}

void TwinHasher::outer(std::span<const std::byte> bytes) {
  update(contextOf(outer_), bytes);
}

void TwinHasher::inner(std::span<const std::byte> bytes) {
  update(contextOf(inner_), bytes);
}

void TwinHasher::both(std::span<const std::byte> bytes) {
  SHA256_CTX* const whole = contextOf(outer_);
  SHA256_CTX* const part = contextOf(inner_);
  const size_t common = isFast_ && whole->num == 0 && part->num == 0 ? bytes.size() / kBlock : 0;
  if (common > 0) {
    const size_t size = common * kBlock;
    updateBlocks(whole, part, bytes.data(), size);
    count(whole, size);
    count(part, size);
    bytes = bytes.subspan(size);
  }
  update(whole, bytes);
  update(part, bytes);
}

Digest TwinHasher::finishInner() {
  return finish(contextOf(inner_));
}

Digest TwinHasher::finishOuter() {
  return finish(contextOf(outer_));
}

}  // namespace img
