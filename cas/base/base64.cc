#include "cas/base/base64.h"

#include <openssl/evp.h>

#include <cstddef>

namespace modelfs {
namespace {

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

}  // namespace

std::string EncodeBase64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock(3) ends it with a NUL
  text.resize(
      static_cast<size_t>(EVP_EncodeBlock(Bytes(text), Bytes(bytes), static_cast<int>(bytes.size()))));
  return text;
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes((text.size() + 3) / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(Bytes(bytes), Bytes(text), static_cast<int>(text.size()));
  if (size < static_cast<int>(padding)) return std::nullopt;
  bytes.resize(static_cast<size_t>(size) - padding);
  // EVP_DecodeBlock(3) also takes white space and bits that no encoder sets.
  if (EncodeBase64(bytes) != text) return std::nullopt;
  return bytes;
}

}  // namespace modelfs
