// Drafts: file trees that are still being written. Sealing makes a draft a Tree.
//
// On disk a draft is a directory of numbered nodes. So a node's number alone determines its path, survives
// renames and restarts, and needs neither a table nor an open descriptor:
//
//   drafts/<draft>/format        the format of the draft (docs/formats.md); drafts of the first one lack it
//   drafts/<draft>/label         data of the front end about the draft (one JSON line)
//   drafts/<draft>/n/0/          the root directory
//   drafts/<draft>/n/<node>/     a directory: one symlink per entry, <name> -> "<node>" + 'd', 'f' or 'l'.
//                                Several entries of one node are hard links. <name> -> "!…" keeps the name
//                                of a refused file (Draft::NoteRefused)
//   drafts/<draft>/n/<node>      a file with bytes of its own (mode 0600, or 0700 with its x bit)
//   drafts/<draft>/n/<node> ->   a symlink "<sha256>:<size>:<length>:<x>": the first <length> bytes of
//                                a blob of the store, shared and not copied; the first write copies
//                                (a file of either kind that lost bytes has kLostBytesAtimeS as its atime)
//   drafts/<draft>/n/<node> ->   ">" and the text of a symbolic link of the draft
//   drafts/<draft>/times         the mtimes of the published files, from when the last Seal began
//   drafts/<draft>/lock          held with flock(2) by the process that owns the draft, while it lives
//   drafts/gone.…                a discarded draft that is being removed
//
// A file that Seal published is a hard link of its blob, and read-only: the first write copies it, too. Its
// inode's mtime is the blob's epoch, so `times` holds the mtime of the file itself.
//
// A draft belongs to one process at a time. Nothing in it is durable until Seal: after a power cut a draft is
// still a draft, and never part of a version. The exception is `times`, which Seal writes durably.
//
// Thread-safe. Calls on one draft are serialised if they change names; reads and writes are not.
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
  uint32_t links = 1;            // the number of its names
  std::optional<Digest> shares;  // the blob that it still shares bytes with
  bool lost_bytes = false;       // see Draft::LostBytes
};

struct DraftEntry {
  std::string name;
  DraftNode node = 0;
  DraftKind kind = DraftKind::kFile;
};

// The result of a Seal.
struct SealedDraft {
  Digest tree;
  TreeTimes times;
  struct Directory {
    std::string path;
    DraftNode node = 0;
  };
  // The draft's own directories, the root with an empty path. Directories to which links unfolded are not
  // listed.
  std::vector<Directory> directories;
};

// An open file of a draft. Reads see writes at once, even through other handles of the same node.
class DraftFile {
 public:
  virtual ~DraftFile() = default;
  // Waits for the local disk alone. kDataLoss once the file has lost bytes (Draft::LostBytes).
  // kDeadlineExceeded if the file shares a blob with bytes on another host: wait for PendingRead, then
  // read again.
  virtual Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) = 0;
  virtual Pending PendingRead(uint64_t offset_bytes, uint64_t length_bytes) = 0;
  // Returns how many of `bytes` were written. They are fewer only if the disk had no room for more; kNoSpace
  // if it had room for none. kFailedPrecondition once the draft is sealed.
  virtual Result<size_t> Write(uint64_t offset_bytes, std::span<const std::byte> bytes) = 0;
  virtual Status Allocate(uint64_t offset_bytes, uint64_t length_bytes) = 0;  // fallocate(2) mode 0
  virtual Status Sync() = 0;  // fsync(2), for programs that call it
};

class Draft {
 public:
  virtual ~Draft() = default;

  virtual DraftNumber number() const = 0;
  virtual const std::string& label() const = 0;
  // Replaces the label, durably enough to survive a restart of the process.
  virtual Status SetLabel(const std::string& label) = 0;

  virtual Result<DraftAttr> GetAttr(DraftNode node) = 0;
  // kNotFound. CheckPathComponent checks names when they are created.
  virtual Result<DraftEntry> Lookup(DraftNode directory, std::string_view name) = 0;
  virtual Result<std::vector<DraftEntry>> List(DraftNode directory) = 0;  // sorted by name
  // The parent (".."); the root's parent is itself. Also works for a removed directory.
  virtual Result<DraftNode> Parent(DraftNode directory) = 0;

  virtual Result<DraftEntry> MakeFile(DraftNode directory, std::string_view name, bool executable) = 0;
  virtual Result<DraftEntry> MakeDirectory(DraftNode directory, std::string_view name) = 0;
  // Creates a symbolic link. Its text is stored unchanged, whatever its target; Seal follows the link.
  //   kInvalidArgument   the file system of the registry cannot store a link text of that length
  virtual Result<DraftEntry> MakeLink(DraftNode directory, std::string_view name, std::string_view text) = 0;
  virtual Result<std::string> ReadLink(DraftNode link) = 0;
  // Adds a name for a file or link. kNotFound if no name leads to it any more; kInvalidArgument for a
  // directory.
  virtual Result<DraftEntry> AddLink(DraftNode node, DraftNode directory, std::string_view name) = 0;
  // Notes that a program was refused a file of that name (`what`: "a FIFO", say), and may have gone on
  // without it. Seal is refused until a file gets the name; the file may be removed again. The note survives
  // a restart, unless the disk had no room for it. Does nothing if the name is taken or not valid.
  virtual void NoteRefused(DraftNode directory, std::string_view name, std::string_view what) = 0;
  // Removes a name of a file or link. If it was the last one, the node stays readable by number until Forget
  // (files also through open handles).
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
  // The files that have a name and an open handle with kWrite, in no particular order. Seal is refused while
  // they are open.
  virtual std::vector<DraftNode> OpenForWriting() = 0;

  // Writes `length_bytes` bytes of a blob into a file, from `from_offset_bytes` of the blob on. Shares
  // instead of copying if both offsets are the file's size, and the file is empty or shares this blob
  // already. Returns how many bytes were written; the count is short only at the blob's end.
  virtual Result<uint64_t> CopyFromBlob(DraftNode file, uint64_t to_offset_bytes, const Digest& blob,
                                        uint64_t from_offset_bytes, uint64_t length_bytes, Epoch epoch) = 0;

  // Notes that bytes meant for `file` could not be written. They came from a mapping, so the program that
  // wrote them may not know of the loss. Until the file is truncated to nothing (or removed), its contents
  // match no program's intention: it is not read, shared or sealed. The note survives a restart, and needs no
  // space on the disk.
  virtual void LostBytes(DraftNode file) = 0;

  // The caller promises that no name in the draft leads to `node` any more, and that its kernel has forgotten
  // the node, too.
  virtual void Forget(DraftNode node) = 0;

  // Makes every file durable in the store and returns the stored tree. While it runs, and after
  // it succeeded until Unseal or Discard, every change is kFailedPrecondition. On error the draft is as
  // before and writable. The bytes are taken over, not copied. Symbolic links are replaced by their targets
  // (cas/drafts/links.h).
  //   kFailedPrecondition   a file that has a name is open for writing (OpenForWriting)
  //   kInvalidArgument      a link leads nowhere, out of the draft or in a circle; links unfold to more
  //                         than a version should hold; or a name was refused and does not exist
  //                         (NoteRefused). The message names it and the remedy
  //   kNotFound             the draft holds no file
  //   kDataLoss             a file lost bytes; the message names it
  //   kCancelled            `stop` was requested while files were hashed; later steps are not stopped
  virtual Result<SealedDraft> Seal(Epoch epoch, const LocalStore::Progress& progress,
                                   const std::stop_token& stop) = 0;
  // Makes the draft writable again, after a Seal if its version could not be committed.
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
    // Wanted drafts that another process holds at the moment: an owner that was killed and has not ended yet,
    // or a process that checks whether they have expired. A later Load takes those that are free by then.
    size_t held = 0;
    // Wanted drafts of a format that only a later version of modelfs knows: they are left unchanged.
    size_t newer = 0;
  };
  // Takes the drafts on disk that have a label which `wanted` accepts, if this process does not have them
  // yet.
  virtual Result<Loaded> Load(const std::function<bool(std::string_view label)>& wanted) = 0;
  // On OK the draft is gone for everyone. Its files are removed by then, or by a later Open.
  virtual Status Discard(const std::shared_ptr<Draft>& draft) = 0;

  // Blobs that any draft on disk, of any process, shares: live blobs for a sweep. kFailedPrecondition if a
  // draft has a later format.
  virtual Result<std::vector<Digest>> SharedBlobs() = 0;
  struct Removed {
    uint64_t drafts = 0;
    uint64_t bytes = 0;  // of files that only these drafts had
  };
  // Removes drafts that have a label which `unwanted` accepts and that no live process holds. With `dry_run`
  // it only counts.
  virtual Result<Removed> RemoveUnheld(const std::function<bool(std::string_view label)>& unwanted,
                                       bool dry_run) = 0;
  // Removes drafts that were not written to for `unused_for` and that no live process holds. Returns their
  // number.
  virtual Result<uint64_t> RemoveExpired(std::chrono::seconds unused_for, int64_t now_s) = 0;
};

}  // namespace modelfs::cas
