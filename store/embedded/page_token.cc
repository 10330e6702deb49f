#include <fmt/core.h>

#include <algorithm>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"
#include "store/embedded/embedded_registry_impl.h"

namespace modelfs::store {
namespace {

constexpr uint8_t kTokenVersion = 1;
constexpr size_t kDefaultPage = 1000;
constexpr size_t kLargestPage = 100'000;

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

// Hexadecimal, so that it passes through URLs, shells and JSON: version, checksum of the query, position.
std::string EncodePageToken(std::string_view query, std::string_view position) {
  return Hex(Encoder().U8(kTokenVersion).U64(Xxh3_64(query)).Raw(position).bytes());
}

Result<std::string> DecodePageToken(std::string_view query, std::string_view token) {
  const Error refused(Code::kInvalidArgument,
                      "page token: it is not from an answer to this query; start again without it");
  std::string bytes;
  for (size_t i = 0; i + 1 < token.size(); i += 2) {
    const int high = HexValue(token[i]);
    const int low = HexValue(token[i + 1]);
    if (high < 0 || low < 0) return refused;
    bytes += static_cast<char>(high * 16 + low);
  }
  Decoder decoder(bytes);
  const bool ours = decoder.U8() == kTokenVersion && decoder.U64() == Xxh3_64(query);
  if (token.size() % 2 != 0 || !ours || !decoder.ok()) return refused;
  return std::string(decoder.Raw(decoder.remaining()));
}

size_t PageLimit(const PageRequest& page) {
  return page.limit == 0 ? kDefaultPage : std::min(page.limit, kLargestPage);
}

}  // namespace modelfs::store
