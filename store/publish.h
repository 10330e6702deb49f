// The flows that make versions of stored bytes, and the one that frees bytes: once, for every front end. A
// front end says how it stores the bytes; the order of the steps, which makes each flow safe, stands here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/tree_times.h"
#include "store/lease_pool.h"
#include "store/leases.h"
#include "store/registry.h"

namespace modelfs::store {

// Whether a flow also makes the containers that do not exist.
enum class Parents : uint8_t { kMustExist, kCreate };

// Creates a catalog, schema or model. With kCreate it also creates the missing containers, and returns an
// object that exists as it is.
Result<ObjectInfo> MakeObject(Registry& registry, const Caller& caller, const FullName& name,
                              std::string_view description, Parents parents);

// --- a version of a stored tree ---

struct NewTree {
  FullName model;  // made if it does not exist
  Parents parents = Parents::kMustExist;
  NewVersion fields = {};
  std::optional<VersionNumber> expected = {};
  std::string content = {};  // names the bytes in messages: a directory, say
};

// The refusals of PublishTree that need no bytes. It promises nothing: PublishTree checks again.
Status CheckPublishTree(Registry& registry, const Caller& caller, const NewTree& tree);

// Stores the content of a version with this epoch. It is called again if the lease ended meanwhile.
using StoreContent = std::function<Result<StoredTree>(cas::Epoch epoch)>;

// Takes a lease, stores the content, offers it, makes the model if it does not exist, and commits the
// version. After a failure neither the version nor a model made for it remains; nothing refers to the bytes,
// and a sweep takes them. Errors as Registry::CommitVersion, and as StoreContent.
Result<VersionInfo> PublishTree(Registry& registry, cas::BlobStore& blobs, LeasePool& leases,
                                const Caller& caller, const NewTree& tree, const StoreContent& store);

// --- copies: no byte is stored ---

// The next version of `model`, which is made if it does not exist, and removed again if the copy fails.
Result<VersionInfo> PublishCopy(Registry& registry, const Caller& caller, const VersionInfo& source,
                                const FullName& model, Parents parents);
// A whole model: Registry::CopyModel, after the checks that come before anything is made.
Result<ModelCopy> PublishModelCopy(Registry& registry, const Caller& caller, const ObjectInfo& source,
                                   const FullName& destination, Parents parents);

// --- a draft ---

// A draft as its front end keeps it.
class PublishableDraft {
 public:
  virtual ~PublishableDraft() = default;

  struct Sealed {
    Digest tree;
    cas::TreeTimes times;
  };
  // Stores the draft's files with this epoch, and refuses writes to it until Unseal.
  virtual Result<Sealed> Seal(cas::Epoch epoch) = 0;
  virtual void Unseal() = 0;
  // The tags and the description that the version gets.
  virtual NewVersion Fields() = 0;
  // The first version that one of its files was copied from.
  virtual std::optional<VersionId> CopiedFrom() = 0;
  // The number that the model's next version will have.
  virtual VersionNumber NextNumber() = 0;
  // Remembers, across a crash, the version that the commit is about to make.
  virtual Status Note(VersionNumber number, const Digest& tree) = 0;
};

// Seals the draft and commits it as a version of `model`. A copy of a version that nobody changed gets that
// version as its source, and its times. After a failure the draft is writable again. Not interrupted between
// the seal and the registry's answer.
//   kOutOfRange   `expected` is not the next number
// and as PublishableDraft::Seal and Registry::CommitVersion.
Result<VersionInfo> PublishDraft(Registry& registry, cas::BlobStore& blobs, LeasePool& leases,
                                 const Caller& caller, ObjectId model, PublishableDraft& draft,
                                 std::optional<VersionNumber> expected);

// The mtimes that the files of a READY version show.
Result<cas::TreeTimes> ShownTimes(cas::BlobStore& blobs, const VersionInfo& version);

// --- garbage ---

// The blobs that versions need: their trees, times, files and chunk lists. `unreadable` handles a tree that
// cannot be read: its error ends the walk; OK goes on without the tree's files.
Result<std::unordered_set<Digest>> BlobsOfVersions(
    cas::BlobStore& blobs, const Mark& mark,
    const std::function<Status(const Digest& tree, const Error& error)>& unreadable);

// The parts of a home that a sweep works on.
class SweepableHome {
 public:
  virtual ~SweepableHome() = default;
  virtual cas::BlobStore& blobs() = 0;
  // Removes drafts that have a label which `unwanted` accepts and that no live process holds.
  virtual Status RemoveDrafts(const std::function<bool(std::string_view label)>& unwanted) = 0;
  virtual Result<Mark> MarkForSweep() = 0;
  // The blobs that drafts use.
  virtual Result<std::vector<Digest>> BlobsOfDrafts() = 0;
  // Removes the blobs that are not live and have an epoch before the horizon.
  virtual Status Sweep(const std::unordered_set<Digest>& live, cas::Epoch horizon) = 0;
};

// Removes drafts of deleted models, marks, reads the live trees, adds the blobs of drafts, and sweeps. Safe
// against registers, copies, drafts and reads that run meanwhile. One sweep of a home at a time: the caller
// holds its lock. `upkeep` sees every model.
//   kDataLoss    a version's tree cannot be read, so the blobs it needs are not known: no blob was removed
//   kCancelled   `stop` was requested; some blobs may be gone already
Status CollectGarbage(Registry& registry, const Caller& upkeep, SweepableHome& home,
                      const std::stop_token& stop);

}  // namespace modelfs::store
