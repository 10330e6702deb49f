// What the parts of a draft share: its state, and which file its calls are in. Internal to cas/; users
// see cas/drafts/draft_store.h.
//
//   draft_impl.cc    changes under way, the label, bringing what a killed process left into order
//   draft_names.cc   the tree of names, attributes
//   draft_bytes.cc   what files hold: sharing blobs, copying at the first write, open files
//   draft_seal.cc    the draft becomes a tree, and back
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

// The answer to a change of a draft that is sealed.
Error Sealed();
// The answer to whoever wants the bytes of a file that lost some.
Error LostSomeBytes(std::string_view file);
// All of `bytes`, or an error.
Status WriteFully(EditableFile& file, uint64_t offset_bytes, std::span<const std::byte> bytes);

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
  DraftImpl(Files& files, LocalStore& blobs, std::string path, DraftNumber number, std::string label, Fd lock)
      : files_(files),
        blobs_(blobs),
        path_(std::move(path)),
        nodes_(path_ + "/n/"),
        number_(number),
        lock_(std::move(lock)) {
    labels_.push_back(std::move(label));
  }

  // Writes the format and the label of a new one; from then on it is a draft.
  Status Begin();
  // Brings what a killed process left into order (nodes without a name, names without a node), and a draft of
  // an earlier format to this one.
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
  // What a Seal makes a file's entries of.
  struct SealInput {
    DraftAttr attr;
    std::optional<StoredFile> stored;  // of a file that is a blob already
    size_t item = 0;                   // else: which one of those that are published
  };
  // What a name in a directory stands for; or, where a name is kept for what was refused, what that was to
  // be.
  struct Named {
    std::string name;
    EntryTarget target;
    std::string refused = {};
  };

  std::string NodePath(DraftNode node) const { return nodes_ + std::to_string(node); }
  std::string NamePath(DraftNode directory, std::string_view name) const {
    return NodePath(directory) + "/" + std::string(name);
  }

  // What a file beside the nodes is there to survive.
  enum class Durability { kRestart, kPowerCut };
  Status ReplaceFile(std::string_view name, const std::string& bytes, Durability durability);
  Result<DraftTimes> KeptTimes();
  // Counts a name that a walk of Recover's found; whether it is the first of its node.
  Result<bool> RecoverName(DraftNode directory, const DraftEntry& entry,
                           std::unordered_map<DraftNode, uint32_t>& names);
  Result<FileInfo> StatNode(DraftNode node) const;
  Result<ShareMarker> MarkerOf(DraftNode node) const;
  Status CheckDirectory(DraftNode directory) REQUIRES(names_mu_);
  Result<bool> IsEmptyDirectory(DraftNode directory);
  void DropName(DraftNode node);
  // Gives a new node its name, or removes it again.
  Result<DraftEntry> NameNode(DraftNode directory, std::string_view name, const EntryTarget& target);
  // kAlreadyExists where the name is taken, and not only kept for what was refused.
  Status AddName(DraftNode directory, std::string_view name, const EntryTarget& target);
  Result<Named> NameAt(DraftNode directory, std::string_view name) const;
  // All names in a directory, by name, those that are kept for what was refused too.
  Result<std::vector<Named>> NamesIn(DraftNode directory) const;
  // A name of `node` is gone: where it was the last one, nothing leads to it any more.
  void NameGone(DraftNode node) REQUIRES(names_mu_);
  Status SetParent(DraftNode directory, DraftNode parent);
  // The names of all of the draft. kInvalidArgument where one was refused and is not there.
  Result<DraftNames> AllNames();
  Status TakeNames(DraftNode directory, const std::string& path, DraftNames& names);

  Result<std::shared_ptr<OpenNode>> OpenShared(DraftNode node);
  bool IsWritable(const Backing& backing) const {
    return backing.own != nullptr && backing.seals == seals_.load();
  }
  Result<std::shared_ptr<const Backing>> LoadBacking(DraftNode node);
  // The node's own file, writable; copies what it shared so far, at most `keep_bytes` of it.
  Result<std::shared_ptr<const Backing>> EnsureOwn(OpenNode& open, uint64_t keep_bytes);
  Result<std::shared_ptr<const Backing>> EnsureOwnExclusively(OpenNode& open, uint64_t keep_bytes);
  Status ShareExclusively(OpenNode& open, const ShareMarker& marker);
  // What takes the place of a file that lost bytes has lost them too, ...
  void KeepLoss(const OpenNode& open, const std::string& path);
  // Best effort: this process remembers it in any case.
  void MarkLost(const std::string& path);
  // ... until nothing is left of it.
  void ForgetLoss(OpenNode& open);
  void CloseWriter(OpenNode& open);
  // Whether hashing it now is worth a thread.
  static bool IsWorthHashing(const FileInfo& info);
  std::optional<HashedFile> HashEarly(DraftNode file, const std::stop_token& stop);
  // Whether the file was published, by this process or one before: its inode's times are its blob's.
  static bool IsPublished(const FileInfo& info);
  template <typename Timed>
  static timespec MtimeOf(const Timed& attr) {
    return {.tv_sec = attr.mtime_s, .tv_nsec = attr.mtime_ns};
  }
  Result<SealInput> InputOf(DraftNode node, const std::string& path, Epoch epoch,
                            const std::stop_token& stop);
  // Keeps the times that files have now, before they become blobs: durable on OK.
  Status KeepTimes(const std::vector<SealedFile>& files);
  // No change from now on; waits for those under way.
  Status BeginSeal();
  // `published`: the files that it gave to the store, or was about to when it failed.
  Result<SealedDraft> SealFiles(Epoch epoch, const LocalStore::Progress& progress,
                                const std::stop_token& stop, std::vector<SealedFile>& published);
  // Makes files of a Seal that failed the draft's own again, with their times.
  void TakeBack(std::vector<SealedFile>& published);
  // Makes a file that is a blob now share it like any other. One where this fails stays read-only and is
  // copied by its first write.
  void Share(const SealedFile& file);

  Files& files_;
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
  struct Refusal {
    DraftNode directory = 0;
    std::string name;
    std::string what;
  };
  // Those for which the disk had no room.
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
  std::unordered_set<DraftNode> lost_ GUARDED_BY(state_mu_);             // those that lost bytes
  std::unordered_map<DraftNode, uint32_t> links_ GUARDED_BY(state_mu_);  // names of those that have several
  DraftTimes times_ GUARDED_BY(state_mu_);                               // of the files that were published

  // Last, hence gone first: its thread uses the rest.
  DraftHashes hashes_{[this](DraftNode file, const std::stop_token& stop) { return HashEarly(file, stop); }};
};

}  // namespace modelfs::cas
