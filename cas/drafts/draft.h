// The state that the parts of a draft share, and the file of each call. Internal to cas/; other folders use
// cas/drafts/draft_store.h.
//
//   draft.cc    changes under way, the label, repairs after a process was killed
//   names.cc    the tree of names, attributes
//   bytes.cc    the files' bytes: sharing blobs, copying at the first write, open files
//   seal.cc     the draft becomes a tree, and back
#pragma once

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
#include "cas/drafts/draft_store.h"
#include "cas/drafts/hashes.h"
#include "cas/drafts/layout.h"
#include "cas/drafts/links.h"
#include "cas/drafts/open_node.h"
#include "cas/local/file_hasher.h"
#include "cas/local/local_store.h"

namespace modelfs::cas {

inline constexpr uint32_t kOwnMode = 0600;
inline constexpr uint32_t kOwnExecutableMode = 0700;
inline constexpr uint32_t kOwnerWrites = 0200;
inline constexpr uint32_t kOwnerExecutes = 0100;

// The error of a change to a sealed draft.
Error Sealed();
// The error of a read of a file that lost bytes.
Error LostSomeBytes(std::string_view file);
// Writes all of `bytes`, or returns an error.
Status WriteFully(EditableFile& file, uint64_t offset_bytes, std::span<const std::byte> bytes);

class DraftImpl;

class DraftFileImpl : public DraftFile {
 public:
  DraftFileImpl(std::shared_ptr<DraftImpl> draft, std::shared_ptr<OpenNode> open, Draft::Access access)
      : draft_(std::move(draft)), open_(std::move(open)), access_(access) {}
  ~DraftFileImpl() override;
  Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override;
  Pending PendingRead(uint64_t offset_bytes, uint64_t length_bytes) override;
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
  DraftImpl(Files& files, LocalStore& blobs, std::string path, DraftNumber number, std::string label, Fd lock)
      : files_(files),
        blobs_(blobs),
        path_(std::move(path)),
        nodes_(path_ + "/n/"),
        number_(number),
        lock_(std::move(lock)) {
    labels_.push_back(std::move(label));
  }

  // Writes the format and then the label of a new draft; it is a draft once it has its label.
  Status Begin();
  // Repairs what a killed process left: nodes without a name, names without a node. Converts a draft of an
  // earlier format to the current one.
  Status Recover();
  // Refuses all changes from now on, for ever.
  void Retire();
  const std::string& path() const { return path_; }
  // Returns and forgets the blobs as which files of the draft were published. Each such file is a link to its
  // blob's inode.
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
  Result<DraftEntry> MakeLink(DraftNode directory, std::string_view name, std::string_view text) override;
  Result<std::string> ReadLink(DraftNode link) override;
  Result<DraftEntry> AddLink(DraftNode node, DraftNode directory, std::string_view name) override;
  void NoteRefused(DraftNode directory, std::string_view name, std::string_view what) override;
  Status RemoveFile(DraftNode directory, std::string_view name) override;
  Status RemoveDirectory(DraftNode directory, std::string_view name) override;
  Status Rename(DraftNode from_directory, std::string_view from_name, DraftNode to_directory,
                std::string_view to_name, RenameMode mode) override;
  Status SetExecutable(DraftNode file, bool executable) override;
  Status SetMtime(DraftNode node, int64_t mtime_s, int64_t mtime_ns) override;
  Status Truncate(DraftNode file, uint64_t size_bytes) override;
  Result<std::shared_ptr<DraftFile>> Open(DraftNode file, Access access) override;
  std::vector<DraftNode> OpenForWriting() override;
  Result<uint64_t> CopyFromBlob(DraftNode file, uint64_t to_offset_bytes, const Digest& blob,
                                uint64_t from_offset_bytes, uint64_t length_bytes, Epoch epoch) override;
  void LostBytes(DraftNode file) override;
  void Forget(DraftNode node) override;
  Result<SealedDraft> Seal(Epoch epoch, const LocalStore::Progress& progress,
                           const std::stop_token& stop) override;
  void Unseal() override;

 private:
  friend class DraftFileImpl;

  // A change under way; Seal waits for all of them. Begin fails once sealing has begun.
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

  // A change of a file's bytes: forgets the digests that were computed before.
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
  // The input of a Seal for all tree entries of one file.
  struct SealInput {
    DraftAttr attr;
    std::optional<StoredFile> stored;  // set if the file is a blob already
    size_t item = 0;                   // otherwise: the index among the published files
  };
  // The target of a name in a directory. If the name is only kept for a refused file, `refused` describes the
  // file.
  struct Named {
    std::string name;
    EntryTarget target;
    std::string refused = {};
  };

  std::string NodePath(DraftNode node) const { return nodes_ + std::to_string(node); }
  std::string NamePath(DraftNode directory, std::string_view name) const {
    return NodePath(directory) + "/" + std::string(name);
  }

  // The event that a file beside the nodes must survive.
  enum class Durability { kRestart, kPowerCut };
  Status ReplaceFile(std::string_view name, const std::string& bytes, Durability durability);
  Result<DraftTimes> KeptTimes();
  // Counts a name that Recover found; returns whether it is the first one of its node.
  Result<bool> RecoverName(DraftNode directory, const DraftEntry& entry,
                           std::unordered_map<DraftNode, uint32_t>& names);
  Result<FileInfo> StatNode(DraftNode node) const;
  Result<ShareMarker> MarkerOf(DraftNode node) const;
  Status CheckDirectory(DraftNode directory) REQUIRES(names_mu_);
  Result<bool> IsEmptyDirectory(DraftNode directory);
  void DropName(DraftNode node);
  // Gives a new node its name, or removes the node if that fails.
  Result<DraftEntry> NameNode(DraftNode directory, std::string_view name, const EntryTarget& target);
  // kAlreadyExists if the name is taken; a name that is only kept for a refused file is free.
  Status AddName(DraftNode directory, std::string_view name, const EntryTarget& target);
  Result<Named> NameAt(DraftNode directory, std::string_view name) const;
  // All names in a directory, sorted, including those that are kept for refused files.
  Result<std::vector<Named>> NamesIn(DraftNode directory) const;
  // Called after a name of `node` was removed. If it was the last one, the node becomes nameless.
  void NameGone(DraftNode node) REQUIRES(names_mu_);
  Status SetParent(DraftNode directory, DraftNode parent);
  // All names in the draft. kInvalidArgument if the name of a refused file is still free.
  Result<DraftNames> AllNames();
  Status TakeNames(DraftNode directory, const std::string& path, DraftNames& names);

  Result<std::shared_ptr<OpenNode>> OpenShared(DraftNode node);
  bool IsWritable(const Backing& backing) const {
    return backing.own != nullptr && backing.seals == seals_.load();
  }
  Result<std::shared_ptr<const Backing>> LoadBacking(DraftNode node);
  // Returns the node's own file, writable. Copies the bytes that the node shared so far, at most
  // `keep_bytes`.
  Result<std::shared_ptr<const Backing>> EnsureOwn(OpenNode& open, uint64_t keep_bytes);
  Result<std::shared_ptr<const Backing>> EnsureOwnExclusively(OpenNode& open, uint64_t keep_bytes);
  Status ShareExclusively(OpenNode& open, const ShareMarker& marker);
  // Marks the file that replaces one that lost bytes, because it lost them, too.
  void KeepLoss(const OpenNode& open, const std::string& path);
  // Best effort: this process remembers the loss in any case.
  void MarkLost(const std::string& path);
  // Removes the mark after the file was truncated to nothing.
  void ForgetLoss(OpenNode& open);
  void CloseWriter(OpenNode& open);
  // Whether the file is large enough for a thread to hash it now.
  static bool IsWorthHashing(const FileInfo& info);
  std::optional<HashedFile> HashEarly(DraftNode file, const std::stop_token& stop);
  // Whether a Seal published the file, in this process or an earlier one: its inode's times are its blob's.
  static bool IsPublished(const FileInfo& info);
  template <typename Timed>
  static timespec MtimeOf(const Timed& attr) {
    return {.tv_sec = attr.mtime_s, .tv_nsec = attr.mtime_ns};
  }
  Result<SealInput> InputOf(DraftNode node, const std::string& path, Epoch epoch,
                            const std::stop_token& stop);
  // Saves the files' current times before they become blobs. On OK they are durable.
  Status KeepTimes(const std::vector<SealedFile>& files);
  // Refuses changes from now on; waits for those under way.
  Status BeginSeal();
  // Adds to `published` the files that it gave to the store, or was about to give when it failed.
  Result<SealedDraft> SealFiles(Epoch epoch, const LocalStore::Progress& progress,
                                const std::stop_token& stop, std::vector<SealedFile>& published);
  // After a failed Seal: gives the draft its files back, with their times.
  void TakeBack(std::vector<SealedFile>& published);
  // Makes a published file share its blob through a marker. If this fails the file stays read-only, and its
  // first write copies it.
  void Share(const SealedFile& file);

  Files& files_;
  LocalStore& blobs_;
  const std::string path_;
  const std::string nodes_;  // ends with a slash
  const DraftNumber number_;

  mutable Mutex label_mu_;
  // The last one is the label. The others stay, because label() returns references.
  std::deque<std::string> labels_ GUARDED_BY(label_mu_);
  const Fd lock_;  // flock(2): shows that this process owns the draft

  // Serialises changes of names. Held across calls that change directories on the local disk.
  Mutex names_mu_;
  std::unordered_set<DraftNode> nameless_ GUARDED_BY(names_mu_);
  struct Refusal {
    DraftNode directory = 0;
    std::string name;
    std::string what;
  };
  // Refused files for which the disk had no room to keep the name.
  std::vector<Refusal> refused_ GUARDED_BY(names_mu_);

  std::vector<DraftNode> NamedWriters() REQUIRES(names_mu_, state_mu_);

  std::atomic<DraftNode> next_node_ = 1;
  std::atomic<uint64_t> seals_ = 0;

  mutable Mutex state_mu_;
  CondVar state_changed_;
  bool sealed_ GUARDED_BY(state_mu_) = false;
  bool retired_ GUARDED_BY(state_mu_) = false;
  size_t changes_ GUARDED_BY(state_mu_) = 0;
  std::unordered_map<DraftNode, std::weak_ptr<OpenNode>> open_ GUARDED_BY(state_mu_);
  std::unordered_map<DraftNode, SealedFile> sealed_files_ GUARDED_BY(state_mu_);
  std::unordered_set<DraftNode> lost_ GUARDED_BY(state_mu_);             // files that lost bytes
  std::unordered_map<DraftNode, uint32_t> links_ GUARDED_BY(state_mu_);  // number of names, if several
  DraftTimes times_ GUARDED_BY(state_mu_);                               // of the published files

  // Declared last and therefore destroyed first: its thread uses the other members.
  DraftHashes hashes_{[this](DraftNode file, const std::stop_token& stop) { return HashEarly(file, stop); }};
};

}  // namespace modelfs::cas
