#include "store/audit/files.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <span>
#include <utility>

#include "cas/base/base64.h"
#include "cas/base/fd.h"
#include "cas/base/text.h"
#include "store/records/records.h"
#include "store/registry_json.h"

namespace modelfs::store {
namespace {

constexpr uint32_t kFileMode = 0400;  // written once
constexpr size_t kPieceBytes = size_t{1} << 20U;
constexpr std::string_view kSuffix = ".jsonl";
constexpr std::string_view kEncodingField = ",\"record\":\"";
constexpr std::string_view kLineEnd = "\"}";

std::string NameOf(const AuditFile& file) { return fmt::format("{}-{}{}", file.first, file.last, kSuffix); }

// "17-400.jsonl"
std::optional<AuditFile> ParseName(std::string_view name) {
  AuditFile file;
  if (!name.ends_with(kSuffix)) return std::nullopt;
  const char* end = name.data() + name.size() - kSuffix.size();
  const auto first = std::from_chars(name.data(), end, file.first);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return std::nullopt;
  const auto last = std::from_chars(first.ptr + 1, end, file.last);
  if (last.ec != std::errc() || last.ptr != end || file.first == 0 || file.last < file.first)
    return std::nullopt;
  // "017-400.jsonl" would be a second file of the same records.
  if (name != NameOf(file)) return std::nullopt;
  return file;
}

Error IsMissing(const AuditFile& file, const std::string& directory) {
  return {Code::kDataLoss,
          fmt::format("audit records {} to {} are missing: {}/{}, or the files that it was made of, "
                      "do not exist; copy them back from a backup",
                      file.first, file.last, directory, NameOf(file))};
}

Error NotOfTheLog(const AuditFile& file, const std::string& other) {
  return Error(Code::kDataLoss, fmt::format("{} does not belong to the audit log: {} holds the same records; "
                                            "move away the one that was put there",
                                            file.path, other));
}

}  // namespace

std::string AuditLine(const AuditRecord& record) {
  std::string line = AuditFileText(record);
  line.pop_back();  // the closing brace
  line += kEncodingField;
  line += EncodeBase64(EncodeAudit(record));
  line += kLineEnd;
  return line;
}

Result<std::string> EncodingInLine(std::string_view line) {
  const Error bad(Code::kDataLoss, "not a line of an audit file");
  const size_t field = line.rfind(kEncodingField);
  if (field == std::string_view::npos || !line.ends_with(kLineEnd)) return bad;
  line.remove_suffix(kLineEnd.size());
  line.remove_prefix(std::min(line.size(), field + kEncodingField.size()));
  std::optional<std::string> bytes = DecodeBase64(line);
  if (!bytes) return bad;
  return *std::move(bytes);
}

Result<std::vector<AuditFile>> AuditFiles::All() const {
  std::vector<AuditFile> found;
  if (!has_directory()) return found;
  Result<std::vector<std::string>> names = files_->List(directory_);
  if (!names.ok() && names.error().code() == Code::kNotFound) return found;
  if (!names.ok()) return std::move(names).error();
  for (const std::string& name : *names) {
    std::optional<AuditFile> file = ParseName(name);
    if (!file) continue;
    file->path = directory_ + "/" + name;
    found.push_back(*std::move(file));
  }
  std::sort(found.begin(), found.end(), [](const AuditFile& a, const AuditFile& b) {
    return std::pair(a.first, a.last) < std::pair(b.first, b.last);
  });
  return found;
}

Result<std::vector<AuditFile>> AuditFiles::Holding(uint64_t first, uint64_t last) const {
  std::vector<AuditFile> found;
  if (first > last) return found;
  ASSIGN_OR_RETURN(const std::vector<AuditFile> all, All());
  uint64_t next = first;
  for (const AuditFile& file : all) {
    if (file.last < first) continue;
    if (file.first > last) break;
    if (file.first > next) found.push_back({next, file.first - 1, ""});
    if (!found.empty() && file.first < next) return NotOfTheLog(file, found.back().path);
    found.push_back(file);
    next = file.last + 1;
  }
  if (next <= last) found.push_back({next, last, ""});
  return found;
}

Result<std::vector<AuditFile>> AuditFiles::From(uint64_t start) const {
  ASSIGN_OR_RETURN(std::vector<AuditFile> files, All());
  std::erase_if(files, [start](const AuditFile& file) { return file.first < start; });
  return files;
}

Status AuditFiles::CheckNames() const {
  if (!has_directory()) return OkStatus();
  const Result<std::vector<std::string>> names = files_->List(directory_);
  if (!names.ok() && names.error().code() == Code::kNotFound) return OkStatus();
  if (!names.ok()) return names.error();
  for (const std::string& name : *names) {
    if (!name.ends_with(kSuffix) || ParseName(name)) continue;
    return Error(Code::kDataLoss, fmt::format("{}/{} is not a file of the audit log; move it elsewhere",
                                              directory_, Printable(name)));
  }
  return OkStatus();
}

Status AuditFiles::ReadLines(const AuditFile& file, const Visit& visit) const {
  if (file.path.empty()) return IsMissing(file, directory_);
  ASSIGN_OR_RETURN(const Fd fd, files_->OpenRead(file.path));
  std::string bytes;
  for (bool more = true; more;) {
    const size_t held = bytes.size();
    bytes.resize(held + kPieceBytes);
    const ssize_t count = ::read(fd.get(), bytes.data() + held, kPieceBytes);
    if (count < 0 && errno != EINTR) return ErrnoError(errno, fmt::format("read {}", file.path));
    bytes.resize(held + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    more = count != 0;
    std::string_view rest = bytes;
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      ASSIGN_OR_RETURN(const bool go_on, visit(rest.substr(0, end)));
      if (!go_on) return OkStatus();
      rest.remove_prefix(end + 1);
    }
    bytes.erase(0, bytes.size() - rest.size());
  }
  if (bytes.empty()) return OkStatus();
  return Error(Code::kDataLoss, fmt::format("{}: the last line is cut short", file.path));
}

Status AuditFiles::Prepare(const std::vector<AuditFile>& left) {
  RETURN_IF_ERROR(files_->MakeDirectories(directory_));
  for (const AuditFile& file : left) RETURN_IF_ERROR(files_->Unlink(file.path));
  const Status removed = files_->Unlink(TemporaryPath());
  if (!removed.ok() && removed.error().code() != Code::kNotFound) return removed;
  RETURN_IF_ERROR(files_->SyncDirectory(directory_));
  return files_->SyncDirectory(directory_.substr(0, directory_.rfind('/')));
}

Status AuditFiles::Writer::Append(const AuditRecord& record) {
  if (file_ == nullptr) {
    ASSIGN_OR_RETURN(file_, files_->files_->Create(files_->TemporaryPath(), kFileMode));
  }
  pending_ += AuditLine(record);
  pending_ += '\n';
  return pending_.size() < kPieceBytes ? OkStatus() : Flush();
}

Status AuditFiles::Writer::Flush() {
  const std::string bytes = std::exchange(pending_, {});
  return file_->Append(std::as_bytes(std::span(bytes)));
}

Result<AuditFile> AuditFiles::Writer::Finish(uint64_t last) {
  RETURN_IF_ERROR(Flush());
  RETURN_IF_ERROR(file_->Sync());
  file_.reset();
  AuditFile file;
  file.first = first_;
  file.last = last;
  file.path = fmt::format("{}/{}", files_->directory_, NameOf(file));
  RETURN_IF_ERROR(files_->files_->RenameNew(files_->TemporaryPath(), file.path));
  RETURN_IF_ERROR(files_->files_->SyncDirectory(files_->directory_));
  return file;
}

}  // namespace modelfs::store
