// XXH3 checksums: what must run at memory speed and guards against accidents, not adversaries.
// https://github.com/Cyan4973/xxHash, canonical (big-endian) representation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace modelfs {

using Checksum128 = std::array<uint8_t, 16>;

uint64_t Xxh3_64(std::string_view bytes);
Checksum128 Xxh3_128(std::span<const std::byte> bytes);

}  // namespace modelfs
