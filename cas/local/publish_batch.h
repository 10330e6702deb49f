// The files that one Put, ImportAll or PublishAll makes visible and durable together. Internal to cas/.
//
// The order makes it safe against kill -9 and power cuts. First, bytes and sums are synced under names that
// no reader uses. Then the files get their names, sums first. Then the directories are synced.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cas/local/blob_directory.h"
#include "cas/local/file_hasher.h"

namespace modelfs::cas {

// A file in staging that is being filled. Its destructor removes it unless it was passed to a PublishBatch.
class StagedFile {
 public:
  static Result<StagedFile> Create(BlobDirectory& core, Epoch epoch);
  ~StagedFile();
  StagedFile(StagedFile&& other) noexcept;
  StagedFile& operator=(StagedFile&&) = delete;

  WritableFile& file() { return *file_; }

 private:
  friend class PublishBatch;
  StagedFile(BlobDirectory& core, std::string path, std::unique_ptr<WritableFile> file)
      : core_(&core), path_(std::move(path)), file_(std::move(file)) {}
  BlobDirectory* core_;
  std::string path_;
  std::unique_ptr<WritableFile> file_;
};

// Thread-safe until Commit, which is called once. Without Commit, nothing becomes visible.
class PublishBatch {
 public:
  // A larger batch is synced by one syncfs(2), because each fsync(2) costs a journal commit.
  static constexpr size_t kSyncEachUpTo = 32;

  PublishBatch(BlobDirectory& core, Epoch epoch, size_t expected_files);
  ~PublishBatch();
  PublishBatch(const PublishBatch&) = delete;
  PublishBatch& operator=(const PublishBatch&) = delete;

  // A blob that is present and was marked as used: Commit makes its name durable, too.
  void AddPresent(const Digest& digest);
  Status AddBytes(const Digest& digest, std::string_view bytes);
  // A staged copy.
  Status AddStaged(const Digest& digest, StagedFile staged);
  // A file elsewhere on the same file system, which gets a second name and becomes read-only.
  Status AddLink(const Digest& digest, const std::string& source_path);
  // The chunk list and sums of a large blob, and nothing of a small one. Returns the list that the blob has
  // now: a blob keeps the list that is present with it, so that equal content stays one tree.
  Result<std::optional<Digest>> AddLargeParts(const HashedFile& hashed);

  Status Commit();

 private:
  struct Incoming {
    Digest digest;
    std::string path;
    std::unique_ptr<WritableFile> file;  // null if it was closed, or if it is a linked file
    enum class Kind { kStaged, kLinked, kSums } kind = Kind::kStaged;
    bool done = false;
  };

  Status AddList(const Digest& list, std::string_view encoded);
  Status Seal(Incoming incoming);
  Status SyncBytes() REQUIRES(mu_);
  Status GiveName(Incoming& incoming);
  Status SyncNames() REQUIRES(mu_);
  std::string TargetOf(const Incoming& incoming) const;

  BlobDirectory& core_;
  const Epoch epoch_;
  const bool keep_open_;
  Mutex mu_;
  std::vector<Incoming> incoming_ GUARDED_BY(mu_);
  std::vector<std::string> touched_ GUARDED_BY(mu_);  // sync the directories of these paths
};

}  // namespace modelfs::cas
