#include "cas/base/codec.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <system_error>

namespace modelfs {
namespace {

constexpr unsigned kVarintPayload = 0x7F;
constexpr unsigned kVarintMore = 0x80;

void AppendBigEndian(std::string& out, uint64_t value, unsigned width_bytes) {
  for (unsigned i = width_bytes; i-- > 0;) out += static_cast<char>((value >> (8 * i)) & 0xFFU);
}

uint64_t ReadBigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) value = (value << 8U) | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

Encoder& Encoder::U8(uint8_t value) {
  bytes_ += static_cast<char>(value);
  return *this;
}
Encoder& Encoder::U32(uint32_t value) {
  AppendBigEndian(bytes_, value, 4);
  return *this;
}
Encoder& Encoder::U64(uint64_t value) {
  AppendBigEndian(bytes_, value, 8);
  return *this;
}
Encoder& Encoder::Varint(uint64_t value) {
  for (; value >= kVarintMore; value >>= 7U) {
    bytes_ += static_cast<char>((value & kVarintPayload) | kVarintMore);
  }
  bytes_ += static_cast<char>(value);
  return *this;
}
Encoder& Encoder::Raw(std::string_view bytes) {
  bytes_ += bytes;
  return *this;
}
Encoder& Encoder::String(std::string_view bytes) { return Varint(bytes.size()).Raw(bytes); }
Encoder& Encoder::DigestValue(const Digest& digest) {
  bytes_.append(reinterpret_cast<const char*>(digest.sha256.data()), digest.sha256.size());
  return Varint(digest.size_bytes);
}

std::string_view Decoder::Raw(size_t size_bytes) {
  if (!ok_ || size_bytes > rest_.size()) {
    ok_ = false;
    return {};
  }
  const std::string_view bytes = rest_.substr(0, size_bytes);
  rest_.remove_prefix(size_bytes);
  return bytes;
}
uint8_t Decoder::U8() { return static_cast<uint8_t>(ReadBigEndian(Raw(1))); }
uint32_t Decoder::U32() { return static_cast<uint32_t>(ReadBigEndian(Raw(4))); }
uint64_t Decoder::U64() { return ReadBigEndian(Raw(8)); }

uint64_t Decoder::Varint() {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const unsigned byte = U8();
    if (!ok_) return 0;
    const uint64_t payload = byte & kVarintPayload;
    const bool overflows = shift == 63 && payload > 1;
    const bool padded = shift > 0 && byte == 0;
    if (overflows || padded) break;
    value |= payload << shift;
    if ((byte & kVarintMore) == 0) return value;
  }
  ok_ = false;
  return 0;
}

std::string_view Decoder::String() {
  const uint64_t size_bytes = Varint();
  if (size_bytes > rest_.size()) {
    ok_ = false;
    return {};
  }
  return Raw(size_bytes);
}

Digest Decoder::DigestValue() {
  Digest digest;
  const std::string_view raw = Raw(digest.sha256.size());
  std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(digest.sha256.data()));
  digest.size_bytes = Varint();
  return digest;
}

Status Decoder::Finish(std::string_view what) const {
  if (ok_ && rest_.empty()) return OkStatus();
  return Error(
      Code::kDataLoss,
      fmt::format("{}: {}", what, ok_ ? "bytes left over after the last field" : "a field is malformed"));
}

std::optional<uint64_t> ParseDecimal(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  return value;
}

}  // namespace modelfs
