// Drafts: file trees that are still being written, and become a Tree when they are sealed.
//
// On disk a draft is a directory of numbered nodes, so that a node's number alone says where it is,
// survives renames and restarts, and needs neither a table nor an open descriptor:
//
//   drafts/<draft>/format         the format of what follows (docs/formats.md); absent in drafts of the first
//   one drafts/<draft>/label          what the front end wants to remember about it (one JSON line)
//   drafts/<draft>/n/0/           the root directory
//   drafts/<draft>/n/<node>/      a directory: one symlink per entry, <name> -> "<node>" + 'd', 'f' or 'l';
//   several
//                                 entries of one node are hard links. Or <name> -> "!…": Draft::NoteRefused
//   drafts/<draft>/n/<node>       a file with bytes of its own (mode 0600, or 0700 with its x bit)
//   drafts/<draft>/n/<node> ->    a symlink "<sha256>:<size>:<length>:<x>": the first <length> bytes of
//                                 a blob of the store, shared and not copied; the first write copies
//                                 (either of them with kLostBytesAtimeS as its atime: Draft::LostBytes)
//   drafts/<draft>/n/<node> ->    ">" and the text of a symbolic link of the draft
//   drafts/<draft>/times          the mtimes that files had when the last Seal began
//   drafts/<draft>/lock           flock(2) held by the process that owns the draft, while it lives
//   drafts/gone.…                 discarded, and being removed piece by piece
//
// A file that Seal published is a hard link of its blob, and read-only: the first write copies it too. Its
// inode's mtime is the blob's epoch, so the file's own is kept in `times`.
//
// A draft belongs to one process at a time. Nothing in it is durable until Seal: what a power cut
// leaves of a draft is a draft still, and never part of a version. The times of its files are, from when a
// Seal replaced them.
//
// Thread-safe; calls on one draft are serialised where they change names, not for reads and writes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/fd.h"
#include "cas/local/local_store.h"
#include "cas/tree.h"
#include "cas/tree_times.h"

namespace modelfs::cas {

using DraftNumber = uint32_t;
using DraftNode = uint32_t;
inline constexpr DraftNode kDraftRoot = 0;

enum class DraftKind : uint8_t { kFile, kDirectory, kLink };

struct DraftAttr {
  DraftKind kind = DraftKind::kFile;
  bool executable = false;
  uint64_t size_bytes = 0;  // of a link, its text's
  uint64_t blocks_512 = 0;
  int64_t mtime_s = 0;
  int64_t mtime_ns = 0;
  uint32_t links = 1;            // how many names lead to it
  std::optional<Digest> shares;  // the blob whose bytes it still shares
  bool lost_bytes = false;       // Draft::LostBytes
};

struct DraftEntry {
  std::string name;
  DraftNode node = 0;
  DraftKind kind = DraftKind::kFile;
};

// What Seal made of a draft.
struct SealedDraft {
  Digest tree;
  TreeTimes times;
  struct Directory {
    std::string path;
    DraftNode node = 0;
  };
  // The draft's own, the root with an empty path; not those that a link to a directory unfolded to.
  std::vector<Directory> directories;
};

// An open file of a draft. Reads see writes at once, also through other handles of the same node.
class DraftFile {
 public:
  virtual ~DraftFile() = default;
  // kDataLoss once it lost bytes (Draft::LostBytes).
  virtual Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) = 0;
  // Answers how many of `bytes` were written, fewer only where the disk had no room for more; kNoSpace where
  // it had none. kFailedPrecondition once the draft was sealed.
  virtual Result<size_t> Write(uint64_t offset_bytes, std::span<const std::byte> bytes) = 0;
  virtual Status Allocate(uint64_t offset_bytes, uint64_t length_bytes) = 0;  // fallocate(2) mode 0
  virtual Status Sync() = 0;                                                  // fsync(2), for those who ask
};

class Draft {
 public:
  virtual ~Draft() = default;

  virtual DraftNumber number() const = 0;
  virtual const std::string& label() const = 0;
  // Replaces the label, durably enough to survive a restart of the process.
  virtual Status SetLabel(const std::string& label) = 0;

  virtual Result<DraftAttr> GetAttr(DraftNode node) = 0;
  // kNotFound. Names are checked by CheckPathComponent when they are made.
  virtual Result<DraftEntry> Lookup(DraftNode directory, std::string_view name) = 0;
  virtual Result<std::vector<DraftEntry>> List(DraftNode directory) = 0;  // sorted by name
  // ".." of a directory; the root's is itself. Works for a directory that was removed too.
  virtual Result<DraftNode> Parent(DraftNode directory) = 0;

  virtual Result<DraftEntry> MakeFile(DraftNode directory, std::string_view name, bool executable) = 0;
  virtual Result<DraftEntry> MakeDirectory(DraftNode directory, std::string_view name) = 0;
  // A symbolic link. Its text is kept as it is, whatever it leads to: Seal follows it.
  //   kInvalidArgument   the file system of the registry holds no link text of that length
  virtual Result<DraftEntry> MakeLink(DraftNode directory, std::string_view name, std::string_view text) = 0;
  virtual Result<std::string> ReadLink(DraftNode link) = 0;
  // A further name for a file or link. kNotFound where no name leads to it any more; kInvalidArgument for a
  // directory.
  virtual Result<DraftEntry> AddLink(DraftNode node, DraftNode directory, std::string_view name) = 0;
  // A program asked for something of that name that was refused (`what`: "a FIFO", say), and may have gone on
  // without it: until something gets the name, or got it and was removed, Seal is refused. Survives a
  // restart, but where the disk has no room for the note. Nothing where the name is taken, or is none.
  virtual void NoteRefused(DraftNode directory, std::string_view name, std::string_view what) = 0;
  // Of a file or link. The node stays readable by number, where that was its last name, until Forget (files
  // stay readable through open handles).
  virtual Status RemoveFile(DraftNode directory, std::string_view name) = 0;
  virtual Status RemoveDirectory(DraftNode directory,
                                 std::string_view name) = 0;  // kFailedPrecondition: not empty
  enum class RenameMode { kReplace, kNoReplace, kExchange };
  virtual Status Rename(DraftNode from_directory, std::string_view from_name, DraftNode to_directory,
                        std::string_view to_name, RenameMode mode) = 0;
  virtual Status SetExecutable(DraftNode file, bool executable) = 0;
  virtual Status SetMtime(DraftNode node, int64_t mtime_s, int64_t mtime_ns) = 0;
  virtual Status Truncate(DraftNode file, uint64_t size_bytes) = 0;

  enum class Access { kRead, kWrite };
  virtual Result<std::shared_ptr<DraftFile>> Open(DraftNode file, Access access) = 0;
  // The files with a handle opened with kWrite that still lives, and a name: Seal would wait for these. Of no
  // particular order.
  virtual std::vector<DraftNode> OpenForWriting() = 0;

  // Appends to an open file the bytes [offset, offset + length) of a blob, sharing instead of copying
  // where the file's content so far is the blob's first `offset_bytes` bytes (in particular none), and
  // copying otherwise. Answers how many bytes were added, short only at the blob's end.
  virtual Result<uint64_t> CopyFromBlob(DraftNode file, uint64_t to_offset_bytes, const Digest& blob,
                                        uint64_t from_offset_bytes, uint64_t length_bytes, Epoch epoch) = 0;

  // Bytes meant for `file` could not be written, and whoever wrote them need not have heard of it: they came
  // from a mapping. Until the file is truncated to nothing (or removed), what it holds is nobody's intention:
  // it is not read, shared or sealed. Survives a restart, and needs no space on the disk.
  virtual void LostBytes(DraftNode file) = 0;

  // No name in the draft leads to `node` any more, and the caller's kernel has forgotten it too.
  virtual void Forget(DraftNode node) = 0;

  // Makes every file durable in the store and answers the stored tree. While it runs, and after it
  // succeeded until Unseal or Discard, every change is kFailedPrecondition. On error the draft is as
  // before and writable. The bytes are taken over, not copied. Symbolic links are stored as what they lead to
  // (cas/drafts/links.h).
  //   kFailedPrecondition   a file that has a name is open for writing (OpenForWriting)
  //   kInvalidArgument      a link that leads nowhere, out of the draft or in a circle, links that unfold to
  //   more than
  //                         a version should hold, or a name that was refused and does not exist
  //                         (NoteRefused): the message names it and says what to do
  //   kNotFound             the draft holds no file
  //   kDataLoss             a file lost bytes; the message names it
  //   kCancelled            `stop` was requested while files were hashed; what comes after is not stopped
  virtual Result<SealedDraft> Seal(Epoch epoch, const LocalStore::Progress& progress,
                                   const std::stop_token& stop) = 0;
  // After a Seal whose version could not be committed: the draft is writable again.
  virtual void Unseal() = 0;
};

class DraftStore {
 public:
  struct Options {
    std::string root;  // on the same file system as the LocalStore's
    LocalStore* blobs = nullptr;
  };
  static Result<std::unique_ptr<DraftStore>> Open(Files& files, Options options);
  virtual ~DraftStore() = default;

  virtual Result<std::shared_ptr<Draft>> Create(const std::string& label) = 0;
  struct Loaded {
    std::vector<std::shared_ptr<Draft>> drafts;  // by number
    // Wanted ones that somebody holds just now: an owner that was killed and is not gone yet, or who looks
    // whether it has expired. A later Load takes those that are free by then.
    size_t held = 0;
    // Wanted ones of a format that a later version of modelfs writes: left as they are.
    size_t newer = 0;
  };
  // Takes those on disk whose label `wanted` accepts and that this process does not have yet.
  virtual Result<Loaded> Load(const std::function<bool(std::string_view label)>& wanted) = 0;
  // On OK it is gone for everyone. Its files are removed by then, or by a later Open.
  virtual Status Discard(const std::shared_ptr<Draft>& draft) = 0;

  // Blobs that any draft on disk, of any process, shares. For the sweep's mark. kFailedPrecondition where
  // there is a draft of a later format.
  virtual Result<std::vector<Digest>> SharedBlobs() = 0;
  struct Removed {
    uint64_t drafts = 0;
    uint64_t bytes = 0;  // of files that were theirs alone
  };
  // Removes drafts whose label `unwanted` accepts and that no live process holds. With `dry_run` it only
  // counts.
  virtual Result<Removed> RemoveUnheld(const std::function<bool(std::string_view label)>& unwanted,
                                       bool dry_run) = 0;
  // Removes drafts that nothing was written to for `unused_for` and that no live process holds.
  // Answers how many.
  virtual Result<uint64_t> RemoveExpired(std::chrono::seconds unused_for, int64_t now_s) = 0;
};

}  // namespace modelfs::cas
