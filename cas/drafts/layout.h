// The layout of a draft on disk: names of nodes and directory entries, share markers, link texts, and the
// times that a Seal saves. Pure functions over paths and texts; docs/formats.md, "draft layout". Internal to
// cas/.
#pragma once

#include <cstdint>
#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "cas/drafts/draft_store.h"
#include "cas/files.h"

namespace modelfs::cas {

// The text of `<draft>/format`. A draft without that file has the first format, which has neither links nor
// saved times; loading converts it to the current one.
inline constexpr std::string_view kDraftFormat = "modelfs draft 2\n";
// The texts of later formats begin like this, too; a file that a power cut damaged does not.
inline constexpr std::string_view kDraftFormatFamily = "modelfs draft ";

// The target of a symlink that represents a file: the first `length_bytes` bytes of a blob.
struct ShareMarker {
  Digest blob;
  uint64_t length_bytes = 0;
  bool executable = false;

  std::string Encode() const;
  // kDataLoss for anything that Encode would not write.
  static Result<ShareMarker> Decode(std::string_view text);
  friend bool operator==(const ShareMarker&, const ShareMarker&) = default;
};

// The target of a symlink that represents a symbolic link of the draft: '>' and the link's own text. No share
// marker begins with '>'.
std::string EncodeLinkNode(std::string_view text);
// Returns nothing if it represents something else.
std::optional<std::string> DecodeLinkNode(std::string_view target);

// The target of a symlink that represents a directory entry: "<node>d", "<node>f" or, for a link, "<node>l".
struct EntryTarget {
  DraftNode node = 0;
  DraftKind kind = DraftKind::kFile;

  std::string Encode() const;
  static Result<EntryTarget> Decode(std::string_view text);
};

// The target of a symlink that keeps the name of a refused file (Draft::NoteRefused): '!' and the description
// of the file.
std::string EncodeRefused(std::string_view what);
// Returns nothing if it represents something else.
std::optional<std::string> DecodeRefused(std::string_view target);

// The files' mtimes at the beginning of a Seal; as blobs, their inodes have epochs for mtimes.
using DraftTimes = std::map<DraftNode, timespec>;
std::string EncodeTimes(const DraftTimes& times);
// kDataLoss for anything that EncodeTimes would not write.
Result<DraftTimes> DecodeTimes(std::string_view encoded);

// The atime of a file that lost bytes (Draft::LostBytes), in seconds. The mark must fit on a full disk: times
// are overwritten in place, even those of a symlink, which has no mode of its own. Nothing else uses a
// draft's atimes. This is the last second that every file system can store. relatime never changes an atime
// in the future; with strictatime, a restart may forget the mark.
inline constexpr int64_t kLostBytesAtimeS = INT32_MAX;

// In each directory, a symlink with this name holds the number of the parent directory. No file can have this
// name (CheckPathComponent refuses control characters).
inline constexpr std::string_view kParentName = "\x01";

// symlink(2) to a temporary name, then rename(2), so that it replaces an existing file.
Status ReplaceBySymlink(Files& files, const std::string& target, const std::string& path,
                        const std::string& temporary);

}  // namespace modelfs::cas
