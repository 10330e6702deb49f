// How a draft lies on disk: names of nodes and directory entries, share markers, link texts, and the times
// that a Seal keeps. Pure functions over paths and texts; docs/formats.md, "draft layout". Internal to cas/.
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

// What `<draft>/format` says. A draft without that file is of the first format, which has neither links nor
// kept times; it is brought to this one when it is loaded.
inline constexpr std::string_view kDraftFormat = "modelfs draft 2\n";
// Every later one begins like it too; what a power cut left of the file does not.
inline constexpr std::string_view kDraftFormatFamily = "modelfs draft ";

// The target of a symlink that stands for a file: the first `length_bytes` bytes of a blob.
struct ShareMarker {
  Digest blob;
  uint64_t length_bytes = 0;
  bool executable = false;

  std::string Encode() const;
  // kDataLoss for anything that Encode would not have written.
  static Result<ShareMarker> Decode(std::string_view text);
  friend bool operator==(const ShareMarker&, const ShareMarker&) = default;
};

// The target of a symlink that stands for a symbolic link of the draft: '>' and the link's own text, which
// begins with nothing that a share marker can begin with.
std::string EncodeLinkNode(std::string_view text);
// Nothing where it stands for something else.
std::optional<std::string> DecodeLinkNode(std::string_view target);

// The target of a symlink that stands for a directory entry: "<node>d", "<node>f" or, for a link, "<node>l".
struct EntryTarget {
  DraftNode node = 0;
  DraftKind kind = DraftKind::kFile;

  std::string Encode() const;
  static Result<EntryTarget> Decode(std::string_view text);
};

// The target of a symlink that keeps a name for which something was refused (Draft::NoteRefused): '!' and
// what it was to be.
std::string EncodeRefused(std::string_view what);
// Nothing where it stands for something else.
std::optional<std::string> DecodeRefused(std::string_view target);

// The mtimes that files had when a Seal began: their inodes' own become epochs, as blobs.
using DraftTimes = std::map<DraftNode, timespec>;
std::string EncodeTimes(const DraftTimes& times);
// kDataLoss for anything that EncodeTimes would not have written.
Result<DraftTimes> DecodeTimes(std::string_view encoded);

// The atime of a file that lost bytes (Draft::LostBytes), in seconds: the mark must go onto a full disk, and
// times are written over where they stand, of a symlink too, which has no mode of its own. Nothing else uses
// a draft's atimes. The last second that every file system can keep; relatime never moves one that lies in
// the future, and where strictatime does, only a restart forgets the mark.
inline constexpr int64_t kLostBytesAtimeS = INT32_MAX;

// In each directory: a symlink to the number of the directory it lies in. No file can have this name
// (CheckPathComponent refuses control characters).
inline constexpr std::string_view kParentName = "\x01";

// symlink(2), by way of a temporary name and rename(2), so that it replaces what is there.
Status ReplaceBySymlink(Files& files, const std::string& target, const std::string& path,
                        const std::string& temporary);

}  // namespace modelfs::cas
