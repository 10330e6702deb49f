// XXH3 checksums, for checks that must run at memory speed. They guard against accidents, not adversaries.
// https://github.com/Cyan4973/xxHash, canonical (big-endian) representation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

struct XXH3_state_s;

namespace modelfs {

using Checksum128 = std::array<uint8_t, 16>;

uint64_t Xxh3_64(std::string_view bytes);
Checksum128 Xxh3_128(std::span<const std::byte> bytes);

// Xxh3_128 of bytes that come in pieces. Not thread-safe.
class Xxh3Hasher {
 public:
  Xxh3Hasher();

  void Update(std::span<const std::byte> bytes);
  // Returns the checksum of all bytes since construction or the last Finish, and starts over.
  Checksum128 Finish();

 private:
  struct FreeState {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, FreeState> state_;
};

}  // namespace modelfs
