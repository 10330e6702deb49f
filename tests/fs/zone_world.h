// A small registry with its parts, as the zones of one mount use them: everything is real but the kernel.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/thread.h"
#include "cas/blob_store.h"
#include "cas/drafts/draft_store.h"
#include "cas/local/local_store.h"
#include "fs/base/context.h"
#include "fs/base/notifier.h"
#include "fs/base/refusals.h"
#include "fs/base/tree_cache.h"
#include "fs/base/zone.h"
#include "fs/sharing/acl_table.h"
#include "fs/zones/held_names.h"
#include "store/embedded/embedded_registry.h"
#include "store/identity/host_identities.h"
#include "store/kv/kv.h"

namespace modelfs::fs {

// Records the notifications that the kernel would get. Entries as "<parent>/<name>", attributes as "<node>".
class RecordingNotifier : public Notifier {
 public:
  void EntryChanged(NodeId parent, std::string_view name) override;
  void AttrChanged(NodeId node) override;
  void Flush() override {}

  static std::string Entry(NodeId parent, std::string_view name);
  static std::string Attr(NodeId node);

  std::vector<std::string> told() const;
  bool WasTold(const std::string& what) const;
  // The index of the first `what` in told(), or its size.
  size_t IndexOf(const std::string& what) const;

 private:
  mutable Mutex mu_;
  std::vector<std::string> told_ GUARDED_BY(mu_);
};

// Wraps another store: blobs become native only when the test says so, as after a restart.
class UnverifiedStore : public cas::BlobStore {
 public:
  explicit UnverifiedStore(cas::BlobStore& below) : below_(below) {}

  // Makes all blobs native and notifies the listener of `digest`.
  void Verified(const Digest& digest);
  // Makes all blobs native without notifying the listener.
  void VerifiedSilently();
  // Called at each Open, before it goes on.
  void BeforeOpen(std::function<void(const Digest&)> hook);

  Status Put(const Digest& digest, std::string_view bytes, cas::Epoch epoch) override;
  Result<std::shared_ptr<cas::OpenBlob>> Open(const Digest& digest) override;
  Status Keep(const Digest& digest, cas::Epoch epoch) override { return below_.Keep(digest, epoch); }
  Status Offer(const Digest& tree, const std::optional<Digest>& times, const Deadline& deadline) override {
    return below_.Offer(tree, times, deadline);
  }
  std::vector<bool> AreNative(std::span<const Digest> digests) override;
  std::vector<uint64_t> LocalBytesOf(std::span<const Digest> digests) override {
    return below_.LocalBytesOf(digests);
  }
  cas::Subscription OnNative(std::function<void(const Digest&)> listener) override {
    return listeners_.Add(std::move(listener));
  }

 private:
  cas::BlobStore& below_;
  Mutex mu_;
  bool native_ GUARDED_BY(mu_) = false;
  cas::Listeners listeners_;
  std::function<void(const Digest&)> before_open_ GUARDED_BY(mu_);
};

class ZoneWorld {
 public:
  ZoneWorld();
  ~ZoneWorld();
  ZoneWorld(const ZoneWorld&) = delete;
  ZoneWorld& operator=(const ZoneWorld&) = delete;

  // Makes the object of this dotted name, and its missing parents.
  store::ObjectId Make(std::string_view dotted);
  // Commits these files as the model's next READY version.
  store::VersionInfo Commit(store::ObjectId model, const std::map<std::string, std::string>& files,
                            const store::NewVersion& fields = {});
  // A second view of the same registry, as in another process.
  std::unique_ptr<store::EmbeddedRegistry> OtherProcess();
  // GRANT to a principal of the identity map: ann (uid 60001), bob (60002), eve (60003), data-science (gid
  // 60100).
  void Grant(store::ObjectId object, const std::string& principal, store::PrivilegeSet privileges);
  void Revoke(store::ObjectId object, const std::string& principal, store::PrivilegeSet privileges);
  // A request of one of them, or of a uid that the registry does not know.
  Request RequestOf(uid_t uid, gid_t gid) const;
  // Makes the mount shared from here on: grants are projected as ACLs.
  void Share();
  // Flips one bit of a stored blob on disk.
  void FlipBit(const Digest& digest);

  std::string directory;  // the test's own, removed at the end
  store::Caller caller;
  Request request;
  std::unique_ptr<store::HostIdentities> identities;
  std::unique_ptr<store::Kv> kv;
  std::unique_ptr<cas::LocalStore> blobs;
  std::unique_ptr<store::EmbeddedRegistry> registry;
  RecordingNotifier notifier;
  std::unique_ptr<TreeCache> trees;
  std::unique_ptr<AclTable> acls;
  std::unique_ptr<Refusals> refusals;
  std::unique_ptr<HeldNames> held_names;
  Context context;
};

// All entries of a directory, in order.
std::vector<DirectoryEntry> ListAll(Zone& zone, const Request& request, NodeId directory, bool plus = false);
std::vector<std::string> NamesIn(Zone& zone, const Request& request, NodeId directory);
// All bytes of a file.
std::string ReadAll(FileHandle& handle);

// An AttrChange of one field: Changing(&AttrChange::mode, 0600).
template <typename Field, typename Value>
AttrChange Changing(Field field, const Value& value) {
  AttrChange change;
  change.*field = value;
  return change;
}

template <typename T>
int ErrnoOf(const Outcome<T>& outcome) {
  return outcome ? 0 : outcome.error().errno_value;
}
template <typename T>
std::string MessageOf(const Outcome<T>& outcome) {
  return outcome ? std::string() : outcome.error().message;
}

}  // namespace modelfs::fs
