// What the parts of a draft share: its state, and which file its calls are in. Internal to cas/; users
// see cas/draft_store.h.
//
//   draft_impl.cc    changes under way, the label, bringing what a killed process left into order
//   draft_names.cc   the tree of names, attributes
//   draft_bytes.cc   what files hold: sharing blobs, copying at the first write, open files
//   draft_seal.cc    the draft becomes a tree, and back
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/thread.h"
#include "cas/draft_hashes.h"
#include "cas/draft_layout.h"
#include "cas/draft_store.h"
#include "cas/file_hasher.h"
#include "cas/local_store.h"
#include "cas/open_node.h"

namespace modelfs::cas {

inline constexpr uint32_t kOwnMode = 0600;
inline constexpr uint32_t kOwnExecutableMode = 0700;
inline constexpr uint32_t kOwnerWrites = 0200;
inline constexpr uint32_t kOwnerExecutes = 0100;

// The answer to a change of a draft that is sealed.
Error Sealed();
// The answer to whoever wants the bytes of a file that lost some.
Error LostSomeBytes(std::string_view file);
// The error of a call that makes a file of a draft longer.
Error BytesError(int errno_value, std::string_view call);
// As many of `bytes` as there is room for, by pwrite(2): an error only where that is none of them.
Result<size_t> WriteSome(int fd, uint64_t offset_bytes, std::span<const std::byte> bytes);
// All of `bytes`, or an error.
Status WriteFully(int fd, uint64_t offset_bytes, std::span<const std::byte> bytes);

class DraftImpl;

class DraftFileImpl : public DraftFile {
 public:
  DraftFileImpl(std::shared_ptr<DraftImpl> draft, std::shared_ptr<OpenNode> open, Draft::Access access)
      : draft_(std::move(draft)), open_(std::move(open)), access_(access) {}
  ~DraftFileImpl() override;
  Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override;
  Result<size_t> Write(uint64_t offset_bytes, std::span<const std::byte> bytes) override;
  Status Allocate(uint64_t offset_bytes, uint64_t length_bytes) override;
  Status Sync() override;

 private:
  const std::shared_ptr<DraftImpl> draft_;
  const std::shared_ptr<OpenNode> open_;
  const Draft::Access access_;
};

class DraftImpl : public Draft, public std::enable_shared_from_this<DraftImpl> {
 public:
  DraftImpl(LocalStore& blobs, std::string path, DraftNumber number, std::string label, Fd lock)
      : blobs_(blobs),
        path_(std::move(path)),
        nodes_(path_ + "/n/"),
        number_(number),
        lock_(std::move(lock)) {
    labels_.push_back(std::move(label));
  }

  // Brings what a killed process left into order: nodes without a name, names without a node.
  Status Recover();
  // No change from now on, for ever.
  void Retire();
  const std::string& path() const { return path_; }
  // The blobs that files of the draft were published as, which are links to the same inode.
  std::map<DraftNode, Digest> TakePublished();

  DraftNumber number() const override { return number_; }
  const std::string& label() const override;
  Status SetLabel(const std::string& label) override;
  Result<DraftAttr> GetAttr(DraftNode node) override;
  Result<DraftEntry> Lookup(DraftNode directory, std::string_view name) override;
  Result<std::vector<DraftEntry>> List(DraftNode directory) override;
  Result<DraftNode> Parent(DraftNode directory) override;
  Result<DraftEntry> MakeFile(DraftNode directory, std::string_view name, bool executable) override;
  Result<DraftEntry> MakeDirectory(DraftNode directory, std::string_view name) override;
  Status RemoveFile(DraftNode directory, std::string_view name) override;
  Status RemoveDirectory(DraftNode directory, std::string_view name) override;
  Status Rename(DraftNode from_directory, std::string_view from_name, DraftNode to_directory,
                std::string_view to_name, RenameMode mode) override;
  Status SetExecutable(DraftNode file, bool executable) override;
  Status SetMtime(DraftNode node, int64_t mtime_s, int64_t mtime_ns) override;
  Status Truncate(DraftNode file, uint64_t size_bytes) override;
  Result<std::shared_ptr<DraftFile>> Open(DraftNode file, Access access) override;
  size_t open_writers() const override;
  Result<uint64_t> CopyFromBlob(DraftNode file, uint64_t to_offset_bytes, const Digest& blob,
                                uint64_t from_offset_bytes, uint64_t length_bytes, Epoch epoch) override;
  void LostBytes(DraftNode file) override;
  void Forget(DraftNode node) override;
  Result<Digest> Seal(Epoch epoch, const LocalStore::Progress& progress,
                      const std::stop_token& stop) override;
  void Unseal() override;

 private:
  friend class DraftFileImpl;

  // One change under way; Seal waits for all of them. Refused once sealing has begun.
  class Change {
   public:
    static Result<Change> Begin(DraftImpl& draft);
    ~Change();
    Change(Change&& other) noexcept : draft_(std::exchange(other.draft_, nullptr)) {}
    Change& operator=(Change&&) = delete;

   private:
    explicit Change(DraftImpl& draft) : draft_(&draft) {}
    DraftImpl* draft_;
  };

  // A change of a file's bytes: what is known of them no longer holds.
  class BytesChange {
   public:
    BytesChange(DraftImpl& draft, DraftNode file) : draft_(draft), file_(file) {
      draft_.hashes_.Changed(file_);
    }
    ~BytesChange() { draft_.hashes_.Changed(file_); }
    BytesChange(const BytesChange&) = delete;
    BytesChange& operator=(const BytesChange&) = delete;

   private:
    DraftImpl& draft_;
    const DraftNode file_;
  };

  struct SealedFile {
    DraftNode node = 0;
    Digest blob;
    bool executable = false;
    int64_t mtime_s = 0;
    int64_t mtime_ns = 0;
  };
  // A file or an empty directory, as a walk from the root found it.
  struct Found {
    std::string path;
    DraftNode node = 0;
    bool directory = false;
  };

  std::string NodePath(DraftNode node) const { return nodes_ + std::to_string(node); }
  std::string NamePath(DraftNode directory, std::string_view name) const {
    return NodePath(directory) + "/" + std::string(name);
  }

  Result<struct stat> StatNode(DraftNode node) const;
  Result<ShareMarker> MarkerOf(DraftNode node) const;
  Status CheckDirectory(DraftNode directory) REQUIRES(names_mu_);
  Result<bool> IsEmptyDirectory(DraftNode directory);
  void DropName(DraftNode node);
  Status AddName(DraftNode directory, std::string_view name, const EntryTarget& target);
  Status Walk(DraftNode directory, const std::string& prefix, size_t depth, std::vector<Found>& found);

  Result<std::shared_ptr<OpenNode>> OpenShared(DraftNode node);
  bool IsWritable(const Backing& backing) const { return backing.writable && backing.seals == seals_.load(); }
  Result<std::shared_ptr<const Backing>> LoadBacking(DraftNode node);
  // The node's own file, writable; copies what it shared so far, at most `keep_bytes` of it.
  Result<std::shared_ptr<const Backing>> EnsureOwn(OpenNode& open, uint64_t keep_bytes);
  Result<std::shared_ptr<const Backing>> EnsureOwnExclusively(OpenNode& open, uint64_t keep_bytes);
  Status ShareExclusively(OpenNode& open, const ShareMarker& marker);
  // What takes the place of a file that lost bytes has lost them too, ...
  static void KeepLoss(const OpenNode& open, const std::string& path);
  // ... until nothing is left of it.
  void ForgetLoss(OpenNode& open);
  void CloseWriter(OpenNode& open);
  // Whether hashing it now is worth a thread.
  static bool IsWorthHashing(const struct stat& info);
  std::optional<HashedFile> HashEarly(DraftNode file, const std::stop_token& stop);
  // `published`: the files that it gave to the store, or was about to when it failed.
  Result<Digest> SealFiles(Epoch epoch, const LocalStore::Progress& progress, const std::stop_token& stop,
                           std::vector<SealedFile>& published);
  // Makes files of a Seal that failed the draft's own again, with their times.
  void TakeBack(std::vector<SealedFile>& published);
  // Makes a file that is a blob now share it like any other. One where this fails stays read-only and is
  // copied by its first write.
  void Share(const SealedFile& file);

  LocalStore& blobs_;
  const std::string path_;
  const std::string nodes_;  // ends with a slash
  const DraftNumber number_;

  mutable Mutex label_mu_;
  // The last is the label. The others stay, since label() hands out references.
  std::deque<std::string> labels_ GUARDED_BY(label_mu_);
  const Fd lock_;  // flock(2): this process owns the draft

  // Serialises changes of names. Held across calls that change directories on the local disk.
  Mutex names_mu_;
  std::unordered_set<DraftNode> nameless_ GUARDED_BY(names_mu_);

  std::atomic<DraftNode> next_node_ = 1;
  std::atomic<uint64_t> seals_ = 0;

  mutable Mutex state_mu_;
  CondVar state_changed_;
  bool sealed_ GUARDED_BY(state_mu_) = false;
  bool retired_ GUARDED_BY(state_mu_) = false;
  size_t changes_ GUARDED_BY(state_mu_) = 0;
  size_t writers_ GUARDED_BY(state_mu_) = 0;
  std::unordered_map<DraftNode, std::weak_ptr<OpenNode>> open_ GUARDED_BY(state_mu_);
  std::unordered_map<DraftNode, SealedFile> sealed_files_ GUARDED_BY(state_mu_);
  std::unordered_set<DraftNode> lost_ GUARDED_BY(state_mu_);  // those that lost bytes

  // Last, hence gone first: its thread uses the rest.
  DraftHashes hashes_{[this](DraftNode file, const std::stop_token& stop) { return HashEarly(file, stop); }};
};

}  // namespace modelfs::cas
