#include "cas/tree_times.h"

#include <fmt/core.h>

#include "cas/base/codec.h"

namespace modelfs::cas {
namespace {

constexpr std::string_view kMagic = "MFM\x01";  // the last byte is the version

// The smallest size of an encoded time. It bounds how many times an encoding can hold before any is
// allocated.
constexpr size_t kSmallestTimeBytes = 2;

// The files of one version were mostly written within seconds of each other: a difference takes one byte, and
// the second itself takes five. All arithmetic is modulo 2^64, so any two times have a difference.
uint64_t EncodeDifference(int64_t from, int64_t to) {
  const uint64_t difference = static_cast<uint64_t>(to) - static_cast<uint64_t>(from);
  const uint64_t sign = static_cast<int64_t>(difference) < 0 ? ~uint64_t{0} : 0;
  return (difference << 1U) ^ sign;
}

int64_t AddDifference(int64_t from, uint64_t encoded) {
  const uint64_t sign = (encoded & 1U) != 0 ? ~uint64_t{0} : 0;
  return static_cast<int64_t>(static_cast<uint64_t>(from) + ((encoded >> 1U) ^ sign));
}

constexpr int64_t kMsPerS = 1000;
constexpr uint32_t kNsPerMs = 1'000'000;

}  // namespace

FileTime FileTimeOfMs(int64_t ms) {
  const int64_t s = ms / kMsPerS - (ms % kMsPerS < 0 ? 1 : 0);
  return {s, static_cast<uint32_t>(ms - s * kMsPerS) * kNsPerMs};
}

Result<TreeTimes> TreeTimes::Make(std::vector<FileTime> times) {
  if (times.size() > kTreeMaxNodes) {
    return Error(Code::kInvalidArgument, fmt::format("a version holds at most {} files", kTreeMaxNodes));
  }
  for (const FileTime& time : times) {
    if (time.ns >= kNsPerS) return Error(Code::kInvalidArgument, "a second has 1,000,000,000 nanoseconds");
  }
  TreeTimes made;
  made.times_ = std::move(times);
  return made;
}

std::string TreeTimes::Encode() const {
  Encoder out;
  out.Raw(kMagic).Varint(times_.size());
  int64_t previous_s = 0;
  for (const FileTime& time : times_) {
    out.Varint(EncodeDifference(previous_s, time.s)).Varint(time.ns);
    previous_s = time.s;
  }
  return out.Take();
}

Result<TreeTimes> TreeTimes::Decode(std::string_view encoded) {
  const auto refuse = [](std::string_view why) {
    return Error(Code::kDataLoss, "tree times: " + std::string(why));
  };
  Decoder in(encoded);
  if (in.Raw(kMagic.size()) != kMagic) return refuse("do not begin with their magic number and version 1");
  const uint64_t count = in.Varint();
  if (!in.ok() || count > in.remaining() / kSmallestTimeBytes)
    return refuse("are too short for their number");
  std::vector<FileTime> times(count);
  int64_t previous_s = 0;
  for (FileTime& time : times) {
    time.s = previous_s = AddDifference(previous_s, in.Varint());
    const uint64_t ns = in.Varint();
    if (ns >= kNsPerS) return refuse("a time has more nanoseconds than a second");
    time.ns = static_cast<uint32_t>(ns);
  }
  RETURN_IF_ERROR(in.Finish("tree times"));
  Result<TreeTimes> decoded = Make(std::move(times));
  if (!decoded.ok()) return refuse(decoded.error().message());
  return decoded;
}

Result<Digest> PutTreeTimes(BlobStore& store, const TreeTimes& times, Epoch epoch) {
  const std::string encoded = times.Encode();
  const Digest digest = DigestOf(encoded);
  RETURN_IF_ERROR(store.Put(digest, encoded, epoch));
  return digest;
}

Result<TreeTimes> ReadTreeTimes(BlobStore& store, const Digest& digest, uint64_t file_count,
                                const Deadline& deadline) {
  ASSIGN_OR_RETURN(const std::string encoded, store.ReadAll(digest, kTreeMaxBytes, deadline));
  Result<TreeTimes> times = TreeTimes::Decode(encoded);
  if (!times.ok()) return times.error().Wrap(digest.ToString());
  if (times->times().size() != file_count) {
    return Error(Code::kDataLoss, fmt::format("{}: tree times: belong to {} files, but the tree has {}",
                                              digest.ToString(), times->times().size(), file_count));
  }
  return times;
}

Result<TreeTimes> TimesOf(const Tree& tree, const std::unordered_map<std::string, FileTime>& by_path) {
  std::vector<FileTime> times;
  times.reserve(tree.file_count());
  for (const TreeEntry& entry : tree.entries()) {
    if (entry.kind == EntryKind::kFile) times.push_back(by_path.at(entry.path));
  }
  return TreeTimes::Make(std::move(times));
}

}  // namespace modelfs::cas
