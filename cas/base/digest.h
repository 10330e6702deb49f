// The identity of a blob: the SHA-256 and the number of its bytes. `sha256sum`, OCI registries and the
// Hugging Face Hub use the same name. FIPS 180-4; computed by OpenSSL.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cas/base/result.h"

struct SHA256state_st;

namespace modelfs {

using Sha256 = std::array<uint8_t, 32>;

struct Digest {
  Sha256 sha256{};
  uint64_t size_bytes = 0;

  friend auto operator<=>(const Digest&, const Digest&) = default;

  // 64 lower-case hexadecimal digits.
  std::string Hex() const;
  // "sha256:<64 hex digits>", the form for people and messages.
  std::string ToString() const { return "sha256:" + Hex(); }
};

// 64 hexadecimal digits of either case, without a prefix. kInvalidArgument otherwise.
Result<Sha256> ParseSha256Hex(std::string_view hex);

// The hash value between two of the 64-byte blocks of a message: H(i) of FIPS 180-4 section 6.2.2, its eight
// words big-endian one after the other. Together with the bytes that follow, it determines the digest.
using Sha256State = std::array<uint8_t, 32>;
inline constexpr size_t kSha256BlockBytes = 64;

// Hashes a stream in one pass. Not thread-safe; use one hasher for each stream.
class Sha256Hasher {
 public:
  Sha256Hasher();
  // Continues a stream after its first `size_bytes` bytes, a multiple of kSha256BlockBytes.
  Sha256Hasher(const Sha256State& state, uint64_t size_bytes);
  ~Sha256Hasher();
  Sha256Hasher(Sha256Hasher&&) noexcept;
  Sha256Hasher& operator=(Sha256Hasher&&) noexcept;

  void Update(std::span<const std::byte> bytes);
  // Returns the state after the bytes so far, which are a multiple of kSha256BlockBytes. The stream goes on.
  Sha256State State() const;
  // Returns the digest of all bytes since the stream's beginning, and starts over.
  Digest Finish();

 private:
  struct Free {
    void operator()(SHA256state_st* context) const;
  };
  std::unique_ptr<SHA256state_st, Free> context_;
  uint64_t size_bytes_ = 0;
};

Digest DigestOf(std::span<const std::byte> bytes);
Digest DigestOf(std::string_view bytes);

}  // namespace modelfs

template <>
struct std::hash<modelfs::Digest> {
  // SHA-256 is uniform already: its first bytes are the hash.
  size_t operator()(const modelfs::Digest& digest) const noexcept {
    size_t value = 0;
    for (size_t i = 0; i < sizeof(value); ++i) value = (value << 8U) | digest.sha256[i];
    return value;
  }
};
