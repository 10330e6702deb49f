#include "cas/base/digest.h"

#include <openssl/evp.h>

#include "cas/base/check.h"

namespace modelfs {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string Digest::Hex() const {
  std::string hex;
  hex.reserve(2 * sha256.size());
  for (const uint8_t byte : sha256) {
    hex += kHexDigits[byte >> 4U];
    hex += kHexDigits[byte & 15U];
  }
  return hex;
}

Result<Sha256> ParseSha256Hex(std::string_view hex) {
  Sha256 sha256{};
  if (hex.size() != 2 * sha256.size()) {
    return Error(Code::kInvalidArgument, "a SHA-256 has 64 hexadecimal digits");
  }
  for (size_t i = 0; i < sha256.size(); ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[(2 * i) + 1]);
    if (high < 0 || low < 0) {
      return Error(Code::kInvalidArgument, "a SHA-256 has only hexadecimal digits");
    }
    sha256[i] = static_cast<uint8_t>((high << 4) | low);
  }
  return sha256;
}

void Sha256Hasher::FreeContext::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256Hasher::Sha256Hasher() : context_(EVP_MD_CTX_new()) {
  CHECK(context_ != nullptr);
  CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}
Sha256Hasher::~Sha256Hasher() = default;
Sha256Hasher::Sha256Hasher(Sha256Hasher&&) noexcept = default;
Sha256Hasher& Sha256Hasher::operator=(Sha256Hasher&&) noexcept = default;

void Sha256Hasher::Update(std::span<const std::byte> bytes) {
  CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  size_bytes_ += bytes.size();
}

Digest Sha256Hasher::Finish() {
  Digest digest;
  digest.size_bytes = size_bytes_;
  CHECK(EVP_DigestFinal_ex(context_.get(), digest.sha256.data(), nullptr) == 1);
  CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  size_bytes_ = 0;
  return digest;
}

Digest DigestOf(std::span<const std::byte> bytes) {
  Sha256Hasher hasher;
  hasher.Update(bytes);
  return hasher.Finish();
}

Digest DigestOf(std::string_view bytes) { return DigestOf(std::as_bytes(std::span(bytes))); }

}  // namespace modelfs
