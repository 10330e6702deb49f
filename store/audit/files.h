// The part of the audit log that was moved out of the registry: files of one record a line, named by the
// first and the last sequence number in them. Written once, never changed. Format: docs/formats.md, "audit
// files".
//
// Stateless, hence thread-safe, except for Prepare and Writer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cas/files.h"
#include "store/journal.h"

namespace modelfs::store {

struct AuditFile {
  uint64_t first = 0;
  uint64_t last = 0;
  std::string path;  // empty: it is missing
};

class AuditFiles {
 public:
  // An empty `directory`: no files exist, and none will.
  AuditFiles(cas::Files& files, std::string directory) : files_(&files), directory_(std::move(directory)) {}

  bool has_directory() const { return !directory_.empty(); }
  const std::string& directory() const { return directory_; }

  // The files that together have the records `first` to `last`, in order. Both are before the audit start. A
  // missing file is represented by the range of its records, without a path.
  //   kDataLoss   two files have the same records
  Result<std::vector<AuditFile>> Holding(uint64_t first, uint64_t last) const;
  // The files that begin at `start` or later, in order. A file that a killed rotation left behind begins at
  // the audit start; no other belongs there.
  Result<std::vector<AuditFile>> From(uint64_t start) const;
  // kDataLoss for a file in the directory that has the suffix of the log's files and cannot be one.
  Status CheckNames() const;

  // Calls `visit(line)` for each line, until it returns false.
  using Visit = std::function<Result<bool>(std::string_view line)>;
  //   kDataLoss   the file is missing (Holding), or its last line is cut short
  Status ReadLines(const AuditFile& file, const Visit& visit) const;

  // For the process that holds the lock of a rotation: makes the directory, and removes an unfinished file
  // and those of `left`.
  Status Prepare(const std::vector<AuditFile>& left);
  // Writes the file for records from `first` on, one Append each. The file exists, durably, only once Finish
  // is OK.
  class Writer {
   public:
    Writer(AuditFiles& files, uint64_t first) : files_(&files), first_(first) {}
    Status Append(const AuditRecord& record);
    Result<AuditFile> Finish(uint64_t last);

   private:
    Status Flush();

    AuditFiles* files_;
    uint64_t first_;
    std::unique_ptr<cas::WritableFile> file_;
    std::string pending_;
  };

 private:
  std::string TemporaryPath() const { return directory_ + "/new"; }
  // All of them, by their first record.
  Result<std::vector<AuditFile>> All() const;

  cas::Files* files_;
  std::string directory_;
};

// The line of a file for a record: its JSON, and the bytes that its hash is over.
std::string AuditLine(const AuditRecord& record);
// The record's encoding out of a line; kDataLoss if it has none.
Result<std::string> EncodingInLine(std::string_view line);

}  // namespace modelfs::store
