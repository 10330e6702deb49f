// The small binary encoding that records, trees and chunk lists share: fixed-width integers in big-endian (so
// that encoded numbers sort as numbers), LEB128 varints, and length-prefixed strings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cas/base/digest.h"
#include "cas/base/result.h"

namespace modelfs {

class Encoder {
 public:
  Encoder& U8(uint8_t value);
  Encoder& U32(uint32_t value);
  Encoder& U64(uint64_t value);
  Encoder& Varint(uint64_t value);
  Encoder& Raw(std::string_view bytes);
  Encoder& String(std::string_view bytes);     // varint length, then the bytes
  Encoder& DigestValue(const Digest& digest);  // 32 bytes, then varint size

  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads the output of Encoder. After the first malformed field every further read returns zero or empty; call
// Finish() once at the end.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : rest_(bytes) {}

  uint8_t U8();
  uint32_t U32();
  uint64_t U64();
  uint64_t Varint();  // shortest form only, so that an encoding is canonical
  std::string_view Raw(size_t size_bytes);
  std::string_view String();
  Digest DigestValue();

  bool ok() const { return ok_; }
  size_t remaining() const { return rest_.size(); }
  // kDataLoss if a field was malformed or bytes are left over; `what` is the subject of the message.
  Status Finish(std::string_view what) const;

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// A number in decimal digits, without a sign or leading zeros. Nothing for any other text.
std::optional<uint64_t> ParseDecimal(std::string_view text);

}  // namespace modelfs
