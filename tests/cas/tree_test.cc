#include "cas/tree.h"

#include <gtest/gtest.h>

#include <random>

#include "cas/blob_store.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

TreeEntry File(std::string path, std::string_view bytes = "x", bool executable = false) {
  TreeEntry entry;
  entry.path = std::move(path);
  entry.blob = DigestOf(bytes);
  entry.executable = executable;
  return entry;
}

TreeEntry LargeFile(std::string path) {
  TreeEntry entry;
  entry.path = std::move(path);
  entry.blob = DigestOf("stands for many bytes");
  entry.blob.size_bytes = kChunkBytes + 1;
  entry.chunk_list = DigestOf("its chunk list");
  return entry;
}

TreeEntry EmptyDirectory(std::string path) {
  TreeEntry entry;
  entry.path = std::move(path);
  entry.kind = EntryKind::kEmptyDirectory;
  return entry;
}

Tree Sample() {
  return Tree::Make({File("MLmodel", "hello"), LargeFile("weights/a.safetensors"), File("weights-b"),
                     File("bin/run.sh", "#!", true), EmptyDirectory("logs")})
      .value();
}

std::vector<std::string> Paths(const Tree& tree) {
  std::vector<std::string> paths;
  for (const TreeEntry& entry : tree.entries()) paths.push_back(entry.path);
  return paths;
}

TEST(Tree, SortsWithTheSlashLowestSoThatADirectorysFilesAreAdjacent) {
  const Tree tree = Tree::Make({File("a.txt"), File("a/z"), File("a-b"), File("a/b/c"), File("b")}).value();
  EXPECT_EQ(Paths(tree), (std::vector<std::string>{"a/b/c", "a/z", "a-b", "a.txt", "b"}));
}

TEST(Tree, RefusesPathsThatCannotBeStored) {
  struct Row {
    const char* name;
    std::string path;
  };
  const Row rows[] = {
      {"empty", ""},
      {"absolute", "/etc/passwd"},
      {"dot", "a/./b"},
      {"dot dot", "../a"},
      {"dot dot inside", "a/../../b"},
      {"empty component", "a//b"},
      {"trailing slash", "a/"},
      {"NUL", std::string("a\0b", 3)},
      {"newline", "a\n"},
      {"256 bytes", std::string(256, 'a')},
      {"not UTF-8", "a\xff"},
      {"overlong UTF-8", "a\xc0\xaf"},
      {"surrogate", "a\xed\xa0\x80"},
      {"bidi override", "a\xe2\x80\xae"},
      {"zero width space", "a\u200b"},
      {"right-to-left mark", "a\u200f"},
      {"soft hyphen", "a\u00ad"},
      {"noncharacter", "a\ufdd0"},
      {"private use", "a\ue000"},
      {"deprecated tag", "a\U000e0001"},
      {"byte order mark", "\xef\xbb\xbfMLmodel"},
      {"escape", "a\x1b[2J"},
      {"delete", "a\x7f"},
      {"line separator", "a\xe2\x80\xa8"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const Result<Tree> tree = Tree::Make({File(row.path)});
    ASSERT_FALSE(tree.ok());
    EXPECT_EQ(tree.error().code(), Code::kInvalidArgument);
  }
}

// Ordinary text of users: emoji of several code points, flags, Persian, characters that our tables do not
// have.
TEST(Tree, OnlyNamesThatNeedVersion2GetIt) {
  const struct {
    const char* name;
    const char* path;
    char version;
  } rows[] = {
      {"ASCII", "MLmodel", 1},
      {"letters", "modèle/データ", 1},
      {"an emoji", "\U0001F600", 1},
      {"ZWJ", "\U0001F469\u200d\U0001F4BB.png", 2},
      {"variation selector", "\u2764\ufe0f", 2},
      {"ideographic variation", "\u845b\U000e0100", 2},
      {"ZWNJ", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 2},
      {"flag of Scotland", "\U0001F3F4\U000E0067\U000E0062\U000E0073\U000E0063\U000E0074\U000E007F", 2},
      {"Unicode 15.1", "\U0002EBF0", 1},
      {"Unicode 16: Garay", "\U00010D50", 2},
      {"Unicode 17 or later", "dir/\U0001FADF\U00020000", 2},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const Result<Tree> tree = Tree::Make({File("a"), File(row.path)});
    ASSERT_TRUE(tree.ok()) << tree.error().message();
    std::string encoded = tree->Encode();
    EXPECT_EQ(encoded[3], row.version);
    const Result<Tree> decoded = Tree::Decode(encoded);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message();
    EXPECT_EQ(decoded->Encode(), encoded);
    encoded[3] = static_cast<char>(3 - row.version);
    EXPECT_EQ(Tree::Decode(encoded).error().code(), Code::kDataLoss) << "a second encoding of one tree";
  }
}

TEST(Tree, LeftoversAreDirectoriesWithTheListedNames) {
  const Tree tree = Tree::Make({File(".gitignore"), File("a/.git/config"), File("b/.git/config"),
                                File("x.__pycache__"), File(".cache/other"), EmptyDirectory("__pycache__")})
                        .value();
  EXPECT_EQ(Leftovers(tree), (std::vector<std::string>{"a/.git", "__pycache__"}));
  const Tree hub = Tree::Make({File("d/.cache/huggingface/download/x"), File("__pycache__")}).value();
  EXPECT_EQ(Leftovers(hub), (std::vector<std::string>{"d/.cache/huggingface"}));
}

TEST(Tree, BoundsLengthAndDepth) {
  std::string deepest;
  for (size_t i = 1; i < kTreeMaxDepth; ++i) deepest += "d/";
  EXPECT_TRUE(Tree::Make({File(deepest + "f")}).ok());
  EXPECT_FALSE(Tree::Make({File(deepest + "d/f")}).ok());

  std::string longest;
  while (longest.size() + 256 <= kPathMaxBytes) longest.append(255, 'x').append("/");
  longest += std::string(kPathMaxBytes - longest.size(), 'y');
  ASSERT_EQ(longest.size(), kPathMaxBytes);
  EXPECT_TRUE(Tree::Make({File(longest)}).ok());
  EXPECT_FALSE(Tree::Make({File(longest + "z")}).ok());
}

TEST(Tree, RefusesAPathTwiceAndAFileThatIsAlsoADirectory) {
  EXPECT_FALSE(Tree::Make({File("a"), File("a")}).ok());
  EXPECT_FALSE(Tree::Make({File("a"), File("a-"), File("a/b")}).ok());
  EXPECT_FALSE(Tree::Make({EmptyDirectory("a"), File("a/b")}).ok());
  EXPECT_TRUE(Tree::Make({File("a"), File("ab/c"), File("a.b")}).ok());
}

TEST(Tree, ChunkListsBelongToLargeBlobsOnly) {
  TreeEntry small = File("a");
  small.chunk_list = DigestOf("list");
  EXPECT_FALSE(Tree::Make({small}).ok());
  TreeEntry large = LargeFile("a");
  large.chunk_list.reset();
  EXPECT_FALSE(Tree::Make({large}).ok());
}

TEST(Tree, EncodingMatchesTheDocumentedBytes) {
  const Tree tree =
      Tree::Make({File("run", "hello", true), EmptyDirectory("logs"), LargeFile("weights.bin")}).value();
  EXPECT_EQ(Hex(tree.Encode()), DocumentedBytes("tree"));
  EXPECT_EQ(tree.total_bytes(), 5 + kChunkBytes + 1);
  EXPECT_EQ(tree.file_count(), 2U);
}

TEST(Tree, DecodesItsOwnEncoding) {
  const Tree tree = Sample();
  const Tree again = Tree::Decode(tree.Encode()).value();
  EXPECT_EQ(again.entries(), tree.entries());
  EXPECT_EQ(again.total_bytes(), tree.total_bytes());
  EXPECT_TRUE(Tree::Decode(Tree::Make({}).value().Encode()).ok());
}

// A digest inside a tree is any 32 bytes, so some mutations are other trees. But no two encodings give the
// same tree, and no malformed encoding is accepted.
TEST(Tree, EveryMutationIsRefusedOrEncodesAnotherTree) {
  const std::string encoded = Sample().Encode();
  std::mt19937_64 random(TestSeed());
  for (int round = 0; round < 20000; ++round) {
    const std::string mutated = Mutate(encoded, random);
    const Result<Tree> tree = Tree::Decode(mutated);
    if (tree.ok()) {
      EXPECT_EQ(Hex(tree->Encode()), Hex(mutated));
    } else {
      EXPECT_EQ(tree.error().code(), Code::kDataLoss);
    }
  }
}

TEST(Tree, HostileCountsAllocateNothing) {
  EXPECT_FALSE(Tree::Decode(std::string("MFT\x01\xff\xff\xff\xff\x0f", 9)).ok());
}

TEST(TreeIndex, NumbersNodesInPathOrder) {
  const TreeIndex index(Sample());
  // 0 root, 1 MLmodel, 2 bin, 3 bin/run.sh, 4 logs, 5 weights, 6 weights/a.safetensors, 7 weights-b
  ASSERT_EQ(index.size(), 8U);
  EXPECT_EQ(index.Get(0)->children, (std::vector<uint32_t>{1, 2, 4, 5, 7}));
  EXPECT_EQ(index.Get(0)->subdirectories, 3U);
  EXPECT_EQ(index.Get(2)->children, std::vector<uint32_t>{3});
  EXPECT_EQ(index.Get(3)->parent, 2U);
  EXPECT_EQ(index.Get(3)->file, index.tree().Find("bin/run.sh"));
  EXPECT_EQ(index.Get(4)->file, nullptr);
  EXPECT_EQ(index.Get(1)->file_number, 0U);
  EXPECT_EQ(index.Get(6)->file_number, 2U) << "directories are not counted, not even the empty one";
  EXPECT_EQ(index.Get(7)->file_number, 3U);
  EXPECT_EQ(index.Get(8), nullptr);
  EXPECT_EQ(index.Child(0, "weights-b"), 7U);
  EXPECT_EQ(index.Child(5, "a.safetensors"), 6U);
  EXPECT_EQ(index.Child(5, "a"), std::nullopt);
  EXPECT_EQ(index.Child(1, "x"), std::nullopt);
}

TEST(TreeIndex, FindsPaths) {
  const TreeIndex index(Sample());
  EXPECT_EQ(index.At(""), 0U);
  EXPECT_EQ(index.At("bin/run.sh"), index.Child(*index.At("bin"), "run.sh"));
  EXPECT_EQ(index.At("none/run.sh"), std::nullopt);
}

TEST(TreeIndex, FindsEveryPathOfADeepAndWideTree) {
  std::vector<TreeEntry> entries;
  for (int i = 0; i < 40; ++i) {
    for (int j = 0; j < 10; ++j)
      entries.push_back(File("d" + std::to_string(i) + "/e/f" + std::to_string(j)));
  }
  const TreeIndex index(Tree::Make(std::move(entries)).value());
  EXPECT_EQ(index.size(), 1U + 40 + 40 + 400);
  for (const TreeEntry& entry : index.tree().entries()) {
    uint32_t node = 0;
    for (std::string_view rest = entry.path; !rest.empty();) {
      const size_t slash = rest.find('/');
      const std::optional<uint32_t> child = index.Child(node, rest.substr(0, slash));
      ASSERT_TRUE(child.has_value()) << entry.path;
      EXPECT_EQ(index.Get(*child)->parent, node);
      EXPECT_GT(*child, node);
      node = *child;
      rest = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
    }
    EXPECT_EQ(index.Get(node)->file, &entry);
  }
}

}  // namespace
}  // namespace modelfs::cas
