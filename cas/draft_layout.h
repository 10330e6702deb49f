// How a draft lies on disk: names of nodes and directory entries, and share markers. Pure functions
// over paths and texts; docs/formats.md, "draft layout". Internal to cas/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "cas/draft_store.h"

namespace modelfs::cas {

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

// The target of a symlink that stands for a directory entry: "<node>d" or "<node>f".
struct EntryTarget {
  DraftNode node = 0;
  bool directory = false;

  std::string Encode() const;
  static Result<EntryTarget> Decode(std::string_view text);
};

// The atime of a file that lost bytes (Draft::LostBytes), in seconds: the mark must go onto a full disk, and
// times are written over where they stand, of a symlink too, which has no mode of its own. Nothing else uses
// a draft's atimes. The last second that every file system can keep; relatime never moves one that lies in
// the future, and where strictatime does, only a restart forgets the mark.
inline constexpr int64_t kLostBytesAtimeS = INT32_MAX;

// A decimal number without leading zeros, or nothing.
std::optional<uint64_t> ParseNumber(std::string_view text);

// In each directory: a symlink to the number of the directory it lies in. No file can have this name
// (CheckPathComponent refuses control characters).
inline constexpr std::string_view kParentName = "\x01";

// readlink(2). kNotFound also where it is no symlink.
Result<std::string> ReadLink(const std::string& path);
// symlink(2), by way of a temporary name and rename(2), so that it replaces what is there.
Status ReplaceBySymlink(const std::string& target, const std::string& path, const std::string& temporary);

}  // namespace modelfs::cas
