// The part of the audit log that was moved out of the registry: files of one record a line, named by the
// first and the last sequence number in them. Written once, never changed. Format: docs/formats.md, "audit
// files".
//
// Stateless, hence thread-safe, but for what is said of RemoveFrom and Writer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cas/files.h"
#include "store/registry.h"

namespace modelfs::store {

struct AuditFile {
  uint64_t first = 0;
  uint64_t last = 0;
  std::string path;
};

class AuditFiles {
 public:
  // An empty `directory`: there are no files and never will be.
  AuditFiles(cas::Files& files, std::string directory) : files_(&files), directory_(std::move(directory)) {}

  bool has_directory() const { return !directory_.empty(); }
  const std::string& directory() const { return directory_; }

  // The files whose records come before `end`, in order. Files beyond it are what a rotation that was killed
  // had begun with.
  Result<std::vector<AuditFile>> Before(uint64_t end) const;

  // Calls `visit(line)` for each line, until it answers false.
  using Visit = std::function<Result<bool>(std::string_view line)>;
  Status ReadLines(const AuditFile& file, const Visit& visit) const;

  // For whoever holds the lock of a rotation:
  // makes the directory, and removes files that begin at `end` or later, and unfinished ones.
  Status RemoveFrom(uint64_t end);
  // Writes the file for records from `first` on, one Append each. It is durable once Finish is OK, and
  // without that it never was.
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

  cas::Files* files_;
  std::string directory_;
};

// What stands in a file for a record: its JSON, and the bytes that its hash is over.
std::string AuditLine(const AuditRecord& record);
// The record's encoding out of a line; kDataLoss where it is none.
Result<std::string> EncodingInLine(std::string_view line);

}  // namespace modelfs::store
