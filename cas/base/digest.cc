#include "cas/base/digest.h"

// EVP hides the state between two blocks, which chunk lists consist of (cas/chunk_list.h). These functions
// show it, with the same assembly beneath. OpenSSL 3 has deprecated them and keeps them.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <iterator>

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

void Sha256Hasher::Free::operator()(SHA256state_st* context) const { delete context; }

Sha256Hasher::Sha256Hasher() : context_(new SHA256_CTX) { CHECK(SHA256_Init(context_.get()) == 1); }
Sha256Hasher::Sha256Hasher(const Sha256State& state, uint64_t size_bytes) : Sha256Hasher() {
  CHECK(size_bytes % kSha256BlockBytes == 0);
  for (size_t i = 0; i < std::size(context_->h); ++i) {
    context_->h[i] = 0;
    for (size_t byte = 0; byte < 4; ++byte) context_->h[i] = (context_->h[i] << 8U) | state[(4 * i) + byte];
  }
  const uint64_t bits = 8 * size_bytes;
  context_->Nl = static_cast<uint32_t>(bits);
  context_->Nh = static_cast<uint32_t>(bits >> 32U);
  size_bytes_ = size_bytes;
}
Sha256Hasher::~Sha256Hasher() = default;
Sha256Hasher::Sha256Hasher(Sha256Hasher&&) noexcept = default;
Sha256Hasher& Sha256Hasher::operator=(Sha256Hasher&&) noexcept = default;

void Sha256Hasher::Update(std::span<const std::byte> bytes) {
  CHECK(SHA256_Update(context_.get(), bytes.data(), bytes.size()) == 1);
  size_bytes_ += bytes.size();
}

Sha256State Sha256Hasher::State() const {
  CHECK(size_bytes_ % kSha256BlockBytes == 0);
  Sha256State state;
  for (size_t i = 0; i < state.size(); ++i) {
    state[i] = static_cast<uint8_t>(context_->h[i / 4] >> (24U - (8U * (i % 4))));
  }
  return state;
}

Digest Sha256Hasher::Finish() {
  Digest digest;
  digest.size_bytes = size_bytes_;
  CHECK(SHA256_Final(digest.sha256.data(), context_.get()) == 1);
  CHECK(SHA256_Init(context_.get()) == 1);
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
