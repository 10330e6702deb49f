#include "cas/tree.h"

#include <fmt/core.h>

#include <algorithm>

#include "cas/base/check.h"
#include "cas/base/codec.h"
#include "cas/base/text.h"
#include "cas/blob_store.h"

namespace modelfs::cas {
namespace {

constexpr std::string_view kMagic = "MFT";  // followed by the version
constexpr uint8_t kVersion = 1;
constexpr uint8_t kVersionOfNewerNames = 2;

// An entry's flags byte: its kind in the low two bits, then these. The other bits are zero.
constexpr uint8_t kKindMask = 0x03;
constexpr uint8_t kExecutableFlag = 0x04;
constexpr uint8_t kChunkListFlag = 0x08;

// The smallest size of an encoded entry (path of one byte, an empty directory). It bounds how many entries an
// encoding can hold before any is allocated.
constexpr size_t kSmallestEntryBytes = 3;

// A tree's bytes must be addressable by a file offset.
constexpr uint64_t kMaxTotalBytes = uint64_t{1} << 62U;

// '/' sorts before every other byte: only control characters are lower, and those are refused.
int CompareByte(char a, char b) {
  const auto rank = [](char c) { return c == '/' ? 0 : static_cast<int>(static_cast<unsigned char>(c)); };
  return rank(a) - rank(b);
}

bool PathLess(std::string_view a, std::string_view b) {
  const size_t common = std::min(a.size(), b.size());
  for (size_t i = 0; i < common; ++i) {
    if (const int order = CompareByte(a[i], b[i]); order != 0) return order < 0;
  }
  return a.size() < b.size();
}

bool IsBelow(std::string_view path, std::string_view directory) {
  return path.size() > directory.size() && path[directory.size()] == '/' && path.starts_with(directory);
}

size_t CommonDirectories(std::string_view a, std::string_view b) {
  size_t common = 0;
  for (size_t i = 0; i < a.size() && i < b.size() && a[i] == b[i]; ++i) {
    if (a[i] == '/') ++common;
  }
  return common;
}

Error Refuse(std::string_view path, std::string_view rule) {
  constexpr size_t kShownBytes = 300;
  return {Code::kInvalidArgument, fmt::format("\"{}\": {}", Printable(path.substr(0, kShownBytes)), rule)};
}

Status CheckPath(std::string_view path) {
  if (path.empty()) return Error(Code::kInvalidArgument, "a file's path may not be empty");
  if (path.size() > kPathMaxBytes) {
    return Refuse(path, fmt::format("the path is longer than {} bytes", kPathMaxBytes));
  }
  size_t depth = 0;
  for (std::string_view rest = path;;) {
    const size_t slash = rest.find('/');
    if (Status status = CheckPathComponent(rest.substr(0, slash)); !status.ok()) {
      return status.error().Wrap(fmt::format("\"{}\"", Printable(path)));
    }
    if (++depth > kTreeMaxDepth) {
      return Refuse(path, fmt::format("lies more than {} levels deep", kTreeMaxDepth));
    }
    if (slash == std::string_view::npos) return OkStatus();
    rest.remove_prefix(slash + 1);
  }
}

Status CheckEntry(const TreeEntry& entry) {
  RETURN_IF_ERROR(CheckPath(entry.path));
  if (entry.kind == EntryKind::kEmptyDirectory) {
    if (entry.executable || entry.chunk_list.has_value() || entry.blob != Digest{}) {
      return Refuse(entry.path, "an empty directory has neither bytes nor an x bit");
    }
    return OkStatus();
  }
  if (entry.kind != EntryKind::kFile) return Refuse(entry.path, "has an unknown kind");
  if (entry.chunk_list.has_value() != (entry.blob.size_bytes > kChunkBytes)) {
    return Refuse(entry.path, "only a blob of more than one chunk has a chunk list, and it must have one");
  }
  return OkStatus();
}

}  // namespace

Result<Tree> Tree::Make(std::vector<TreeEntry> entries) {
  std::sort(entries.begin(), entries.end(),
            [](const TreeEntry& a, const TreeEntry& b) { return PathLess(a.path, b.path); });
  Tree tree;
  size_t nodes = 1;
  std::string_view previous;
  for (const TreeEntry& entry : entries) {
    RETURN_IF_ERROR(CheckEntry(entry));
    if (entry.path == previous) return Refuse(entry.path, "is listed twice");
    if (!previous.empty() && IsBelow(entry.path, previous)) {
      return Refuse(previous, "is listed both by itself and as a directory with files in it");
    }
    const auto levels = static_cast<size_t>(std::count(entry.path.begin(), entry.path.end(), '/')) + 1;
    nodes += levels - CommonDirectories(entry.path, previous);
    if (nodes > kTreeMaxNodes) {
      return Error(Code::kInvalidArgument,
                   fmt::format("a version holds at most {} files and directories", kTreeMaxNodes));
    }
    if (entry.kind == EntryKind::kFile) {
      ++tree.file_count_;
      if (entry.blob.size_bytes > kMaxTotalBytes - tree.total_bytes_) {
        return Refuse(entry.path, "makes the version larger than 4 EiB");
      }
      tree.total_bytes_ += entry.blob.size_bytes;
    }
    tree.newer_names_ = tree.newer_names_ || IsNewerFileName(entry.path);
    previous = entry.path;
  }
  tree.entries_ = std::move(entries);
  return tree;
}

std::string Tree::Encode() const {
  Encoder out;
  out.Raw(kMagic).U8(newer_names_ ? kVersionOfNewerNames : kVersion).Varint(entries_.size());
  for (const TreeEntry& entry : entries_) {
    auto flags = static_cast<uint8_t>(entry.kind);
    if (entry.executable) flags |= kExecutableFlag;
    if (entry.chunk_list.has_value()) flags |= kChunkListFlag;
    out.U8(flags).String(entry.path);
    if (entry.kind != EntryKind::kFile) continue;
    out.DigestValue(entry.blob);
    if (entry.chunk_list.has_value()) out.DigestValue(*entry.chunk_list);
  }
  return out.Take();
}

Result<Tree> Tree::Decode(std::string_view encoded) {
  const auto refuse = [](std::string_view why) {
    return Error(Code::kDataLoss, "tree: " + std::string(why));
  };
  Decoder in(encoded);
  if (in.Raw(kMagic.size()) != kMagic) return refuse("does not begin with its magic number");
  const uint8_t version = in.U8();
  if (version != kVersion && version != kVersionOfNewerNames) {
    return refuse(fmt::format("has version {}, which only a later modelfs can read", version));
  }
  const uint64_t count = in.Varint();
  if (!in.ok() || count > in.remaining() / kSmallestEntryBytes) {
    return refuse("is too short for its number of entries");
  }
  std::vector<TreeEntry> entries(count);
  for (TreeEntry& entry : entries) {
    const uint8_t flags = in.U8();
    if ((flags & ~(kKindMask | kExecutableFlag | kChunkListFlag)) != 0) return refuse("unknown flags");
    entry.kind = static_cast<EntryKind>(flags & kKindMask);
    entry.executable = (flags & kExecutableFlag) != 0;
    entry.path = in.String();
    if (entry.kind == EntryKind::kFile) entry.blob = in.DigestValue();
    if ((flags & kChunkListFlag) != 0) entry.chunk_list = in.DigestValue();
    if (!in.ok()) return refuse("an entry is malformed");
  }
  RETURN_IF_ERROR(in.Finish("tree"));
  const bool sorted = std::is_sorted(entries.begin(), entries.end(),
                                     [](const auto& a, const auto& b) { return PathLess(a.path, b.path); });
  if (!sorted) return refuse("the entries are not in order");
  Result<Tree> tree = Make(std::move(entries));
  if (!tree.ok()) return refuse(tree.error().message());
  if (tree->newer_names_ != (version == kVersionOfNewerNames))
    return refuse("its names need another version");
  return tree;
}

const TreeEntry* Tree::Find(std::string_view path) const {
  const auto at = std::lower_bound(
      entries_.begin(), entries_.end(), path,
      [](const TreeEntry& entry, std::string_view want) { return PathLess(entry.path, want); });
  if (at == entries_.end() || at->path != path || at->kind != EntryKind::kFile) return nullptr;
  return &*at;
}

std::vector<std::string> Leftovers(const Tree& tree) {
  std::vector<std::string> found;
  for (const std::string_view name : {".git", "__pycache__", ".cache/huggingface"}) {
    const std::string inside = fmt::format("/{}/", name);
    for (const TreeEntry& entry : tree.entries()) {
      const std::string path = "/" + entry.path + "/";
      const size_t at = path.find(inside);
      if (at == std::string::npos || (entry.kind == EntryKind::kFile && at + inside.size() == path.size()))
        continue;
      found.push_back(path.substr(1, at + inside.size() - 2));
      break;
    }
  }
  return found;
}

TreeIndex::TreeIndex(Tree tree) : tree_(std::move(tree)) {
  nodes_.emplace_back();
  // The directories that lead to the previous entry, outermost first, each with the end of its path.
  struct Open {
    uint32_t number;
    size_t path_bytes;
  };
  std::vector<Open> stack = {{0, 0}};
  std::string_view previous;
  uint32_t files = 0;
  const auto add = [this](uint32_t parent, std::string_view name) {
    const auto number = static_cast<uint32_t>(nodes_.size());
    Node& node = nodes_.emplace_back();
    node.name = name;
    node.parent = parent;
    nodes_[parent].children.push_back(number);
    return number;
  };
  for (const TreeEntry& entry : tree_.entries()) {
    const std::string_view path = entry.path;
    stack.resize(1 + std::min(stack.size() - 1, CommonDirectories(path, previous)));
    size_t begin = stack.back().path_bytes == 0 ? 0 : stack.back().path_bytes + 1;
    for (size_t slash = path.find('/', begin); slash != std::string_view::npos;
         slash = path.find('/', begin)) {
      const uint32_t parent = stack.back().number;
      stack.push_back({add(parent, path.substr(begin, slash - begin)), slash});
      ++nodes_[parent].subdirectories;
      begin = slash + 1;
    }
    const uint32_t parent = stack.back().number;
    const uint32_t leaf = add(parent, path.substr(begin));
    if (entry.kind == EntryKind::kFile) {
      nodes_[leaf].file = &entry;
      nodes_[leaf].file_number = files++;
    } else {
      ++nodes_[parent].subdirectories;
    }
    previous = path;
  }
  CHECK(nodes_.size() <= kTreeMaxNodes);
}

std::optional<uint32_t> TreeIndex::Child(uint32_t directory, std::string_view name) const {
  const Node* node = Get(directory);
  if (node == nullptr) return std::nullopt;
  const auto at =
      std::lower_bound(node->children.begin(), node->children.end(), name,
                       [this](uint32_t child, std::string_view want) { return nodes_[child].name < want; });
  if (at == node->children.end() || nodes_[*at].name != name) return std::nullopt;
  return *at;
}

std::optional<uint32_t> TreeIndex::At(std::string_view path) const {
  std::optional<uint32_t> node = 0;
  while (!path.empty() && node.has_value()) {
    const size_t slash = std::min(path.find('/'), path.size());
    node = Child(*node, path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return node;
}

}  // namespace modelfs::cas
