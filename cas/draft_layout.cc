#include "cas/draft_layout.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>

namespace modelfs::cas {
namespace {

Error Damaged(std::string_view what, std::string_view text) {
  return {Code::kDataLoss, fmt::format("draft: \"{}\" is no {}", text, what)};
}

// The text up to the next ':', which is removed with it.
std::string_view NextField(std::string_view& rest) {
  const size_t colon = rest.find(':');
  const std::string_view field = rest.substr(0, colon);
  rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
  return field;
}

}  // namespace

std::optional<uint64_t> ParseNumber(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  return value;
}

std::string ShareMarker::Encode() const {
  return fmt::format("{}:{}:{}:{}", blob.Hex(), blob.size_bytes, length_bytes, executable ? 'x' : '-');
}

Result<ShareMarker> ShareMarker::Decode(std::string_view text) {
  std::string_view rest = text;
  const Result<Sha256> sha256 = ParseSha256Hex(NextField(rest));
  const std::optional<uint64_t> size_bytes = ParseNumber(NextField(rest));
  const std::optional<uint64_t> length_bytes = ParseNumber(NextField(rest));
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

std::string EntryTarget::Encode() const { return fmt::format("{}{}", node, directory ? 'd' : 'f'); }

Result<EntryTarget> EntryTarget::Decode(std::string_view text) {
  if (text.empty()) return Damaged("directory entry", text);
  const std::optional<uint64_t> node = ParseNumber(text.substr(0, text.size() - 1));
  const char kind = text.back();
  if (!node.has_value() || *node > UINT32_MAX || (kind != 'd' && kind != 'f')) {
    return Damaged("directory entry", text);
  }
  return EntryTarget{.node = static_cast<DraftNode>(*node), .directory = kind == 'd'};
}

Result<std::string> ReadLink(const std::string& path) {
  std::array<char, PATH_MAX> target{};
  const ssize_t count = ::readlink(path.c_str(), target.data(), target.size());
  if (count >= 0) return std::string(target.data(), static_cast<size_t>(count));
  // EINVAL: there, but no symlink (readlink(2)).
  if (errno == EINVAL) return Error(Code::kNotFound, path + ": is no symlink");
  return ErrnoError(errno, "readlink " + path);
}

Status ReplaceBySymlink(const std::string& target, const std::string& path, const std::string& temporary) {
  if (::symlink(target.c_str(), temporary.c_str()) != 0) {
    if (errno != EEXIST) return ErrnoError(errno, "symlink " + temporary);
    // Left by a process that was killed here.
    if (::unlink(temporary.c_str()) != 0) return ErrnoError(errno, "unlink " + temporary);
    if (::symlink(target.c_str(), temporary.c_str()) != 0) return ErrnoError(errno, "symlink " + temporary);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoError(errno, "rename " + temporary);
  return OkStatus();
}

}  // namespace modelfs::cas
