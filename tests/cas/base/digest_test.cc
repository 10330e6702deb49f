#include "cas/base/digest.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/cas/test_support.h"

namespace modelfs {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// NIST's worked example of SHA-256 for two blocks prints the state after the first: 56 bytes of text, and the
// padding's first 8.
TEST(Sha256, TheStateBetweenTwoBlocksIsTheStandardsExample) {
  std::string block = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  block += std::string("\x80\0\0\0\0\0\0\0", 8);
  Sha256Hasher hasher;
  hasher.Update(Bytes(block));
  const Sha256State state = hasher.State();
  EXPECT_EQ(cas::Hex(std::string(state.begin(), state.end())),
            "85e655d6417a17953363376a624cde5c76e09589cac5f811cc4b32c1f20e533a");
}

TEST(Sha256, AStreamGoesOnFromAState) {
  const std::string text = cas::RandomBytes(100 * kSha256BlockBytes + 17, 3);
  for (const size_t blocks : {1, 3, 99, 100}) {
    const size_t cut = blocks * kSha256BlockBytes;
    Sha256Hasher first;
    first.Update(Bytes(text).first(cut));
    Sha256Hasher rest(first.State(), cut);
    rest.Update(Bytes(text).subspan(cut));
    EXPECT_EQ(rest.Finish(), DigestOf(text)) << blocks;
    first.Update(Bytes(text).subspan(cut));
    EXPECT_EQ(first.Finish(), DigestOf(text)) << "State() changed the stream at block " << blocks;
  }
}

// Beyond 2^32 bits the length takes the second word of the padding.
TEST(Sha256, AStreamGoesOnBehind512MiB) {
  Sha256Hasher whole;
  const std::string piece = cas::RandomBytes(size_t{1} << 20U, 4);
  for (int i = 0; i < 513; ++i) whole.Update(Bytes(piece));
  Sha256Hasher rest(whole.State(), uint64_t{513} << 20U);
  whole.Update(Bytes("end"));
  rest.Update(Bytes("end"));
  EXPECT_EQ(rest.Finish(), whole.Finish());
}

}  // namespace
}  // namespace modelfs
