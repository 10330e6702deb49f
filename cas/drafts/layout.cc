#include "cas/drafts/layout.h"

#include <fmt/core.h>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"

namespace modelfs::cas {
namespace {

constexpr char kLinkMark = '>';
constexpr char kRefusedMark = '!';
constexpr std::string_view kKindLetters = "fdl";     // in the order of DraftKind
constexpr std::string_view kTimesMagic = "MFD\x01";  // the last byte is the version
constexpr size_t kChecksumBytes = 8;
constexpr uint32_t kNanosecondsPerSecond = 1'000'000'000;

Error Damaged(std::string_view what, std::string_view text) {
  return {Code::kDataLoss, fmt::format("draft: \"{}\" is not a {}", text, what)};
}

// Returns the text up to the next ':', and removes both from `rest`.
std::string_view NextField(std::string_view& rest) {
  const size_t colon = rest.find(':');
  const std::string_view field = rest.substr(0, colon);
  rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
  return field;
}

}  // namespace

std::string ShareMarker::Encode() const {
  return fmt::format("{}:{}:{}:{}", blob.Hex(), blob.size_bytes, length_bytes, executable ? 'x' : '-');
}

Result<ShareMarker> ShareMarker::Decode(std::string_view text) {
  std::string_view rest = text;
  const Result<Sha256> sha256 = ParseSha256Hex(NextField(rest));
  const std::optional<uint64_t> size_bytes = ParseDecimal(NextField(rest));
  const std::optional<uint64_t> length_bytes = ParseDecimal(NextField(rest));
  if (!sha256.ok() || !size_bytes.has_value() || !length_bytes.has_value()) {
    return Damaged("share marker", text);
  }
  ShareMarker marker;
  marker.blob.sha256 = *sha256;
  marker.blob.size_bytes = *size_bytes;
  marker.length_bytes = *length_bytes;
  marker.executable = rest == "x";
  if (marker.length_bytes > marker.blob.size_bytes || marker.Encode() != text) {
    return Damaged("share marker", text);
  }
  return marker;
}

std::string EncodeLinkNode(std::string_view text) { return fmt::format("{}{}", kLinkMark, text); }

std::optional<std::string> DecodeLinkNode(std::string_view target) {
  if (!target.starts_with(kLinkMark)) return std::nullopt;
  return std::string(target.substr(1));
}

std::string EntryTarget::Encode() const {
  return fmt::format("{}{}", node, kKindLetters[static_cast<size_t>(kind)]);
}

Result<EntryTarget> EntryTarget::Decode(std::string_view text) {
  if (text.empty()) return Damaged("directory entry", text);
  const std::optional<uint64_t> node = ParseDecimal(text.substr(0, text.size() - 1));
  const size_t kind = kKindLetters.find(text.back());
  if (!node.has_value() || *node > UINT32_MAX || kind == std::string_view::npos) {
    return Damaged("directory entry", text);
  }
  return EntryTarget{.node = static_cast<DraftNode>(*node), .kind = static_cast<DraftKind>(kind)};
}

std::string EncodeRefused(std::string_view what) { return fmt::format("{}{}", kRefusedMark, what); }

std::optional<std::string> DecodeRefused(std::string_view target) {
  if (!target.starts_with(kRefusedMark)) return std::nullopt;
  return std::string(target.substr(1));
}

std::string EncodeTimes(const DraftTimes& times) {
  Encoder out;
  out.Raw(kTimesMagic).Varint(times.size());
  for (const auto& [node, mtime] : times) {
    out.Varint(node).U64(static_cast<uint64_t>(mtime.tv_sec)).U32(static_cast<uint32_t>(mtime.tv_nsec));
  }
  out.U64(Xxh3_64(out.bytes()));
  return out.Take();
}

Result<DraftTimes> DecodeTimes(std::string_view encoded) {
  const auto damaged = [] { return Error(Code::kDataLoss, "draft: its file of times is damaged"); };
  if (encoded.size() < kChecksumBytes) return damaged();
  const std::string_view body = encoded.substr(0, encoded.size() - kChecksumBytes);
  if (Decoder(encoded.substr(body.size())).U64() != Xxh3_64(body)) return damaged();
  Decoder in(body);
  if (in.Raw(kTimesMagic.size()) != kTimesMagic) return damaged();
  DraftTimes times;
  for (uint64_t left = in.Varint(); left > 0 && in.ok(); --left) {
    const uint64_t node = in.Varint();
    const auto seconds = static_cast<int64_t>(in.U64());
    const uint32_t nanoseconds = in.U32();
    const bool in_order = times.empty() || node > times.rbegin()->first;
    if (node > UINT32_MAX || nanoseconds >= kNanosecondsPerSecond || !in_order) return damaged();
    times.emplace_hint(times.end(), static_cast<DraftNode>(node),
                       timespec{.tv_sec = seconds, .tv_nsec = nanoseconds});
  }
  RETURN_IF_ERROR(in.Finish("draft's times"));
  return times;
}

Status ReplaceBySymlink(Files& files, const std::string& target, const std::string& path,
                        const std::string& temporary) {
  Status made = files.Symlink(target, temporary);
  if (!made.ok() && made.error().code() == Code::kAlreadyExists) {
    // Left by a process that was killed here.
    RETURN_IF_ERROR(files.Unlink(temporary));
    made = files.Symlink(target, temporary);
  }
  RETURN_IF_ERROR(made);
  Status renamed = files.Rename(temporary, path);
  if (!renamed.ok()) files.Unlink(temporary).IgnoreError("the next call removes it");
  return renamed;
}

}  // namespace modelfs::cas
