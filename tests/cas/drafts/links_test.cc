#include "cas/drafts/links.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "cas/base/text.h"
#include "cas/drafts/draft_store.h"
#include "cas/tree_store.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

// The names of a draft, made from paths: "d/" is a directory, "f" a file, "l>text" a link. Parents come
// first.
DraftNames NamesOf(const std::vector<std::string>& paths) {
  DraftNames names;
  names.directories[kDraftRoot];
  std::map<std::string, DraftNode> numbers = {{"", kDraftRoot}};
  DraftNode next = 1;
  for (const std::string& written : paths) {
    const size_t mark = written.find('>');
    std::string path = written.substr(0, mark);
    DraftKind kind = mark == std::string::npos ? DraftKind::kFile : DraftKind::kLink;
    if (path.ends_with('/')) {
      path.pop_back();
      kind = DraftKind::kDirectory;
    }
    const size_t slash = path.rfind('/');
    const DraftNode parent = numbers.at(slash == std::string::npos ? "" : path.substr(0, slash));
    const DraftNode node = next++;
    numbers[path] = node;
    names.directories[parent].entries.push_back(
        {.name = path.substr(slash == std::string::npos ? 0 : slash + 1), .node = node, .kind = kind});
    if (kind == DraftKind::kLink) names.link_texts[node] = written.substr(mark + 1);
    if (kind == DraftKind::kDirectory) names.directories[node].parent = parent;
  }
  for (auto& [node, directory] : names.directories) {
    std::sort(directory.entries.begin(), directory.entries.end(),
              [](const DraftEntry& a, const DraftEntry& b) { return a.name < b.name; });
  }
  return names;
}

// "path=node" for each leaf, in order; a directory's path ends with a slash.
std::string Leaves(const std::vector<std::string>& paths) {
  const Result<UnfoldedNames> unfolded = Unfold(NamesOf(paths));
  if (!unfolded.ok()) {
    EXPECT_EQ(unfolded.error().code(), Code::kInvalidArgument);
    return "refused: " + unfolded.error().message();
  }
  std::vector<std::string> leaves;
  for (const UnfoldedEntry& leaf : unfolded->leaves) {
    leaves.push_back(leaf.path + (leaf.directory ? "/" : "") + "=" + std::to_string(leaf.node));
  }
  std::sort(leaves.begin(), leaves.end());
  std::string joined;
  for (const std::string& leaf : leaves) joined += (joined.empty() ? "" : " ") + leaf;
  return joined;
}

TEST(DraftLinks, LeadToFilesAndFoldersOfTheDraft) {
  const struct {
    const char* name;
    std::vector<std::string> paths;
    const char* want;
  } rows[] = {
      {"none", {"a", "d/", "d/b", "e/"}, "a=1 d/b=3 e/=4"},
      {"a file", {"a", "l>a"}, "a=1 l=1"},
      {"a file by a folder", {"d/", "d/a", "l>./d//a"}, "d/a=2 l=2"},
      {"up and down", {"a", "d/", "d/l>../a"}, "a=1 d/l=1"},
      {"a folder", {"d/", "d/a", "l>d", "m>d/"}, "d/a=2 l/a=2 m/a=2"},
      {"an empty folder", {"d/", "l>d"}, "d/=1 l/=1"},
      {"a link", {"a", "l>m", "m>a"}, "a=1 l=1 m=1"},
      {"through a link to a folder", {"d/", "d/e/", "d/e/a", "l>d/e", "m>l/a"}, "d/e/a=3 l/a=3 m=3"},
      // ".." is the parent of the link's target, not of the link's folder.
      {"up from the target of a link",
       {"a", "d/", "d/e/", "d/b", "l>d/e", "m>l/../b"},
       "a=1 d/b=4 d/e/=3 l/=3 m=4"},
      {"a link in a folder that a link leads to", {"a", "d/", "d/l>../a", "m>d"}, "a=1 d/l=1 m/l=1"},
  };
  for (const auto& row : rows) EXPECT_EQ(Leaves(row.paths), row.want) << row.name;
}

TEST(DraftLinks, LinksNowhereOutOrInACircleAreRefusedByName) {
  const struct {
    std::vector<std::string> paths;
    const char* why;
  } rows[] = {
      {{"l>gone"}, "l: is a symbolic link to gone, which leads nowhere"},
      {{"d/", "d/l>gone/a"}, "d/l: is a symbolic link to gone/a, which leads nowhere"},
      {{"a", "l>a/"}, "l: is a symbolic link to a/, which leads nowhere"},
      {{"a", "l>a/b"}, "l: is a symbolic link to a/b, which leads nowhere"},
      {{"a", "l>a/.."}, "l: is a symbolic link to a/.., which leads nowhere"},
      {{"l>../x"}, "l: is a symbolic link to ../x, which leads out of the draft"},
      {{"d/", "d/l>../../draft/a", "a"},
       "d/l: is a symbolic link to ../../draft/a, which leads out of the draft"},
      {{"l>/etc/passwd"}, "l: is a symbolic link to the absolute path /etc/passwd"},
      {{"l>l"}, "l: is a symbolic link that leads in a circle"},
      {{"l>m", "m>l"}, "l: is a symbolic link that leads in a circle"},
      {{"l>."}, "l: is a symbolic link to a directory that it lies in"},
      {{"d/", "d/l>.."}, "d/l: is a symbolic link to a directory that it lies in"},
      {{"d/", "e/", "d/l>../e", "e/m>../d"}, "is a symbolic link to a directory that it lies in"},
  };
  for (const auto& row : rows) {
    const std::string said = Leaves(row.paths);
    EXPECT_NE(said.find(row.why), std::string::npos) << row.why << " in: " << said;
  }
}

TEST(DraftLinks, ChainsAndNestsOfFortyLinksAreAllowed) {
  for (const int count : {kMostLinksFollowed, kMostLinksFollowed + 1}) {
    SCOPED_TRACE(count);
    std::vector<std::string> chain = {"a"};
    for (int i = 0; i < count; ++i) {
      chain.push_back("l" + std::to_string(i) + ">" + (i + 1 < count ? "l" + std::to_string(i + 1) : "a"));
    }
    const std::string followed = Leaves(chain);
    EXPECT_EQ(followed.starts_with("refused"), count > kMostLinksFollowed) << followed;
    std::vector<std::string> nest = {"end/", "end/f"};
    for (int i = 0; i < count; ++i) nest.push_back("d" + std::to_string(i) + "/");
    for (int i = 0; i < count; ++i) {
      nest.push_back("d" + std::to_string(i) + "/l>../" +
                     (i + 1 < count ? "d" + std::to_string(i + 1) : std::string("end")));
    }
    const std::string nested = Leaves(nest);
    EXPECT_EQ(nested.starts_with("refused"), count > kMostLinksFollowed) << nested.substr(0, 200);
  }
}

// Thirty pairs of links, each pair to the folder of the next, unfold to a thousand million directories.
TEST(DraftLinks, TheUnfoldedNamesAreCountedBeforeTheyAreCreated) {
  std::vector<std::string> paths;
  constexpr int kLevels = 30;
  for (int level = 0; level < kLevels; ++level) paths.push_back(std::to_string(level) + "/");
  for (int level = 0; level + 1 < kLevels; ++level) {
    for (const char* name : {"a", "b"}) {
      paths.push_back(std::to_string(level) + "/" + name + ">../" + std::to_string(level + 1));
    }
  }
  const std::string said = Leaves(paths);
  EXPECT_NE(said.find("unfold to more than 1000000 files and directories"), std::string::npos)
      << said.substr(0, 300);
}

// A thousand links to a folder of eighty files, with paths of the greatest depth.
TEST(DraftLinks, TheUnfoldedPathsAreMeasuredBeforeTheyAreCreated) {
  std::string deep = std::string(kNameMaxBytes, 'd') + "/";
  std::vector<std::string> paths = {deep};
  for (int level = 1; level < 14; ++level) {
    deep += std::string(kNameMaxBytes, 'd') + "/";
    paths.push_back(deep);
  }
  for (int file = 0; file < 80; ++file) paths.push_back(deep + std::to_string(file));
  for (int link = 0; link < 1000; ++link) {
    paths.push_back(fmt::format("{}>{}", link, std::string(kNameMaxBytes, 'd')));
  }
  EXPECT_NE(Leaves(paths).find("longer than 256 MiB together"), std::string::npos);
}

TEST(DraftLinks, APathTooLongToBeOpenedIsRefused) {
  std::string deep;
  std::vector<std::string> paths;
  for (int level = 0; level < 15; ++level) {
    deep += std::string(kNameMaxBytes, 'd') + "/";
    paths.push_back(deep);
  }
  const std::string longest(kNameMaxBytes, 'f');  // 15 x 256 + 255 bytes
  paths.push_back(deep + longest);
  EXPECT_FALSE(Leaves(paths).starts_with("refused"));
  paths.push_back("l>" + std::string(kNameMaxBytes, 'd'));
  EXPECT_FALSE(Leaves(paths).starts_with("refused"));
  paths.back() = std::string(kNameMaxBytes, 'e') + "/";
  paths.push_back(std::string(kNameMaxBytes, 'e') + "/l>../" + std::string(kNameMaxBytes, 'd'));
  EXPECT_NE(Leaves(paths).find("longer than 4095 bytes"), std::string::npos);
}

// The draft's own million files do not count; the million to which its link unfolds are just allowed.
TEST(DraftLinks, OnlyUnfoldedNamesCount) {
  DraftNames names = NamesOf({"d/", "l>d"});
  for (DraftNode i = 0; i < kMostUnfolded; ++i) {
    names.directories[1].entries.push_back({.name = std::to_string(1'000'000 + i), .node = 10 + i});
  }
  EXPECT_EQ(Unfold(names).value().leaves.size(), 2 * kMostUnfolded);
  names.directories[1].entries.push_back({.name = "z", .node = 9});
  EXPECT_FALSE(Unfold(names).ok());
}

TEST(DraftLinks, UnfoldReturnsTheDraftsOwnFolders) {
  const UnfoldedNames unfolded = Unfold(NamesOf({"d/", "d/e/", "l>d"})).value();
  std::string paths;
  for (const UnfoldedEntry& directory : unfolded.directories) paths += directory.path + ";";
  EXPECT_EQ(paths, ";d;d/e;");
}

}  // namespace
}  // namespace modelfs::cas
