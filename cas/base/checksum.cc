#include "cas/base/checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <iterator>

#include "cas/base/check.h"

namespace modelfs {
namespace {

Checksum128 Canonical(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  Checksum128 checksum{};
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), checksum.begin());
  return checksum;
}

}  // namespace

uint64_t Xxh3_64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

Checksum128 Xxh3_128(std::span<const std::byte> bytes) {
  return Canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

void Xxh3Hasher::FreeState::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Xxh3Hasher::Xxh3Hasher() : state_(XXH3_createState()) {
  CHECK(state_ != nullptr);
  CHECK(XXH3_128bits_reset(state_.get()) == XXH_OK);
}

void Xxh3Hasher::Update(std::span<const std::byte> bytes) {
  CHECK(XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()) == XXH_OK);
}

Checksum128 Xxh3Hasher::Finish() {
  const Checksum128 checksum = Canonical(XXH3_128bits_digest(state_.get()));
  CHECK(XXH3_128bits_reset(state_.get()) == XXH_OK);
  return checksum;
}

}  // namespace modelfs
