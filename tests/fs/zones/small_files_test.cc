#include "fs/zones/small_files.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/store/fake_blob_store.h"

namespace modelfs::fs {
namespace {

constexpr size_t kFileBytes = 10'000;

struct Box {
  Digest Add(char content) {
    const std::string bytes(kFileBytes, content);
    EXPECT_TRUE(blobs.Put(DigestOf(bytes), bytes, {}).ok());
    return DigestOf(bytes);
  }

  testing::FakeBlobStore blobs;
  SmallFiles files{blobs, 35'000};  // three files
};

TEST(SmallFiles, FilesInUseAreSharedAndBound) {
  Box box;
  std::vector<SmallFiles::Bytes> held;
  for (const char content : {'a', 'b', 'c'}) held.push_back(box.files.Get(box.Add(content)).value());
  EXPECT_EQ(box.files.Get(box.Add('a')).value(), held[0]) << "a second handle shares the copy";
  EXPECT_EQ(box.files.Get(box.Add('d')).value(), nullptr) << "no room beside three files in use";
  held.erase(held.begin());
  ASSERT_NE(box.files.Get(box.Add('d')).value(), nullptr) << "in the place of the first";
  EXPECT_EQ(box.files.Get(box.Add('b')).value(), held[0]) << "those in use stayed";
}

}  // namespace
}  // namespace modelfs::fs
