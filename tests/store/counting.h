// Counts the calls of a registry, and the transactions of its engine that they make. Calls that other threads
// make by themselves, such as a watcher's of the journal, are not counted.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/thread.h"
#include "store/governance.h"
#include "store/kv/kv.h"
#include "store/registry.h"
#include "tests/store/forwarding_kv.h"

namespace modelfs::store {

class Counting {
 public:
  struct Counts {
    uint64_t calls = 0;      // of Registry and Governance
    std::string names;       // of these calls, in order
    uint64_t snapshots = 0;  // read transactions of the engine within them
    uint64_t commits = 0;    // likewise
    uint64_t reads = 0;      // calls of these read transactions: a round trip each, if the engine is remote
  };
  // Since the last Take.
  Counts Take() {
    const MutexLock lock(mu_);
    return std::exchange(counts_, Counts());
  }

  // One call of an interface, for as long as it lives.
  class Call {
   public:
    Call(Counting& counting, std::string_view name) {
      ++depth_;
      const MutexLock lock(counting.mu_);
      ++counting.counts_.calls;
      counting.counts_.names += std::string(counting.counts_.names.empty() ? "" : " ") + std::string(name);
    }
    ~Call() { --depth_; }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
  };
  void CountSnapshot() {
    const MutexLock lock(mu_);
    if (depth_ > 0) ++counts_.snapshots;
  }
  void CountRead() {
    const MutexLock lock(mu_);
    if (depth_ > 0) ++counts_.reads;
  }
  void CountCommit() {
    const MutexLock lock(mu_);
    if (depth_ > 0) ++counts_.commits;
  }

 private:
  static inline thread_local int depth_ = 0;
  Mutex mu_;
  Counts counts_ GUARDED_BY(mu_);
};

class CountingSnapshot : public Snapshot {
 public:
  CountingSnapshot(std::unique_ptr<Snapshot> below, Counting& counts)
      : below_(std::move(below)), counts_(counts) {}

  Revision revision() const override { return below_->revision(); }
  Result<std::optional<KvEntry>> Get(std::string_view key) override {
    counts_.CountRead();
    return below_->Get(key);
  }
  Result<std::vector<std::optional<KvEntry>>> GetMany(const std::vector<std::string>& keys) override {
    counts_.CountRead();
    return below_->GetMany(keys);
  }
  Result<std::vector<KvEntry>> Range(std::string_view begin, std::string_view end, size_t limit) override {
    counts_.CountRead();
    return below_->Range(begin, end, limit);
  }
  Result<std::optional<KvEntry>> Last(std::string_view begin, std::string_view end) override {
    counts_.CountRead();
    return below_->Last(begin, end);
  }

 private:
  std::unique_ptr<Snapshot> below_;
  Counting& counts_;
};

class CountingKv : public ForwardingKv {
 public:
  CountingKv(Kv& below, Counting& counts) : ForwardingKv(below), counts_(counts) {}

  Result<std::unique_ptr<Snapshot>> Read() override {
    counts_.CountSnapshot();
    ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot, below_.Read());
    return std::unique_ptr<Snapshot>(std::make_unique<CountingSnapshot>(std::move(snapshot), counts_));
  }
  Result<Revision> Commit(const KvTransaction& transaction) override {
    counts_.CountCommit();
    return below_.Commit(transaction);
  }
  Result<std::vector<LogEntry>> ReadLog(Revision after, size_t limit) override {
    counts_.CountSnapshot();
    return below_.ReadLog(after, limit);
  }

 private:
  Counting& counts_;
};

class CountingRegistry : public Registry {
 public:
  CountingRegistry(Registry& below, Counting& counts) : below_(below), counts_(counts) {}

  Status Authenticate(const Caller& caller) override {
    const Counting::Call call(counts_, "Authenticate");
    return below_.Authenticate(caller);
  }
  Result<RegistrySettings> Settings(const Caller& caller) override {
    const Counting::Call call(counts_, "Settings");
    return below_.Settings(caller);
  }
  Result<ObjectInfo> Lookup(const Caller& caller, const FullName& name) override {
    const Counting::Call call(counts_, "Lookup");
    return below_.Lookup(caller, name);
  }
  Result<ObjectInfo> LookupChild(const Caller& caller, ObjectId parent, std::string_view leaf) override {
    const Counting::Call call(counts_, "LookupChild");
    return below_.LookupChild(caller, parent, leaf);
  }
  Result<ObjectInfo> Get(const Caller& caller, ObjectId id) override {
    const Counting::Call call(counts_, "Get");
    return below_.Get(caller, id);
  }
  Result<Description> Describe(const Caller& caller, const Subject& subject) override {
    const Counting::Call call(counts_, "Describe");
    return below_.Describe(caller, subject);
  }
  Result<Page<ObjectInfo>> List(const Caller& caller, ObjectId parent, const PageRequest& page) override {
    const Counting::Call call(counts_, "List");
    return below_.List(caller, parent, page);
  }
  Result<ObjectInfo> Create(const Caller& caller, ObjectId parent, std::string_view leaf,
                            std::string_view comment) override {
    const Counting::Call call(counts_, "Create");
    return below_.Create(caller, parent, leaf, comment);
  }
  Status Delete(const Caller& caller, ObjectId id, DeleteMode mode) override {
    const Counting::Call call(counts_, "Delete");
    return below_.Delete(caller, id, mode);
  }
  Result<ObjectInfo> Rename(const Caller& caller, ObjectId model, std::string_view new_leaf) override {
    const Counting::Call call(counts_, "Rename");
    return below_.Rename(caller, model, new_leaf);
  }
  Result<ObjectInfo> SetOwner(const Caller& caller, ObjectId id, std::string_view principal) override {
    const Counting::Call call(counts_, "SetOwner");
    return below_.SetOwner(caller, id, principal);
  }
  Status SetDescription(const Caller& caller, const Target& target, std::string_view text) override {
    const Counting::Call call(counts_, "SetDescription");
    return below_.SetDescription(caller, target, text);
  }
  Status SetTag(const Caller& caller, const Target& target, std::string_view key, std::string_view value,
                TagMode mode) override {
    const Counting::Call call(counts_, "SetTag");
    return below_.SetTag(caller, target, key, value, mode);
  }
  Status DeleteTag(const Caller& caller, const Target& target, std::string_view key) override {
    const Counting::Call call(counts_, "DeleteTag");
    return below_.DeleteTag(caller, target, key);
  }
  Result<std::map<std::string, std::string>> Tags(const Caller& caller, const Target& target) override {
    const Counting::Call call(counts_, "Tags");
    return below_.Tags(caller, target);
  }
  Result<VersionInfo> CommitVersion(const Caller& caller, ObjectId model, const StoredTree& content,
                                    const Lease& lease, const NewVersion& fields,
                                    std::optional<VersionNumber> expected) override {
    const Counting::Call call(counts_, "CommitVersion");
    return below_.CommitVersion(caller, model, content, lease, fields, expected);
  }
  Status CheckNewVersion(const Caller& caller, ObjectId object, const NewVersion& fields,
                         std::optional<VersionNumber> expected) override {
    const Counting::Call call(counts_, "CheckNewVersion");
    return below_.CheckNewVersion(caller, object, fields, expected);
  }
  Result<VersionInfo> BeginVersion(const Caller& caller, ObjectId model, const NewVersion& fields) override {
    const Counting::Call call(counts_, "BeginVersion");
    return below_.BeginVersion(caller, model, fields);
  }
  Result<VersionInfo> FinalizeVersion(const Caller& caller, ObjectId model, VersionNumber number,
                                      const StoredTree& content, const Lease& lease) override {
    const Counting::Call call(counts_, "FinalizeVersion");
    return below_.FinalizeVersion(caller, model, number, content, lease);
  }
  Status FailVersion(const Caller& caller, ObjectId model, VersionNumber number,
                     std::string_view reason) override {
    const Counting::Call call(counts_, "FailVersion");
    return below_.FailVersion(caller, model, number, reason);
  }
  Result<VersionInfo> GetVersion(const Caller& caller, ObjectId model, VersionNumber number) override {
    const Counting::Call call(counts_, "GetVersion");
    return below_.GetVersion(caller, model, number);
  }
  Result<VersionInfo> Lineage(const Caller& caller, ObjectId model, VersionNumber number) override {
    const Counting::Call call(counts_, "Lineage");
    return below_.Lineage(caller, model, number);
  }
  Result<VersionInfo> GetVersionById(const Caller& caller, VersionId id) override {
    const Counting::Call call(counts_, "GetVersionById");
    return below_.GetVersionById(caller, id);
  }
  Result<VersionInfo> OpenVersion(const Caller& caller, VersionId id,
                                  const std::map<std::string, std::string>& params) override {
    const Counting::Call call(counts_, "OpenVersion");
    return below_.OpenVersion(caller, id, params);
  }
  Result<VersionInfo> ResolveAlias(const Caller& caller, ObjectId model, std::string_view alias) override {
    const Counting::Call call(counts_, "ResolveAlias");
    return below_.ResolveAlias(caller, model, alias);
  }
  Result<Page<VersionInfo>> ListVersions(const Caller& caller, ObjectId model,
                                         const PageRequest& page) override {
    const Counting::Call call(counts_, "ListVersions");
    return below_.ListVersions(caller, model, page);
  }
  Status DeleteVersion(const Caller& caller, ObjectId model, VersionNumber number) override {
    const Counting::Call call(counts_, "DeleteVersion");
    return below_.DeleteVersion(caller, model, number);
  }
  Result<VersionInfo> CopyVersion(const Caller& caller, ObjectId source, VersionNumber number,
                                  ObjectId destination) override {
    const Counting::Call call(counts_, "CopyVersion");
    return below_.CopyVersion(caller, source, number, destination);
  }
  Result<ModelCopy> CopyModel(const Caller& caller, ObjectId source, ObjectId schema,
                              std::string_view leaf) override {
    const Counting::Call call(counts_, "CopyModel");
    return below_.CopyModel(caller, source, schema, leaf);
  }
  Status CheckModelCopy(const Caller& caller, ObjectId source, ObjectId object) override {
    const Counting::Call call(counts_, "CheckModelCopy");
    return below_.CheckModelCopy(caller, source, object);
  }
  Result<MovedAlias> SetAlias(const Caller& caller, ObjectId model, std::string_view alias,
                              VersionNumber version, AliasMode mode) override {
    const Counting::Call call(counts_, "SetAlias");
    return below_.SetAlias(caller, model, alias, version, mode);
  }
  Status DeleteAlias(const Caller& caller, ObjectId model, std::string_view alias) override {
    const Counting::Call call(counts_, "DeleteAlias");
    return below_.DeleteAlias(caller, model, alias);
  }
  Status RenameAlias(const Caller& caller, ObjectId model, std::string_view from, std::string_view to,
                     AliasMode mode) override {
    const Counting::Call call(counts_, "RenameAlias");
    return below_.RenameAlias(caller, model, from, to, mode);
  }
  Status SwapAliases(const Caller& caller, ObjectId model, std::string_view a, std::string_view b) override {
    const Counting::Call call(counts_, "SwapAliases");
    return below_.SwapAliases(caller, model, a, b);
  }
  Result<Page<ObjectInfo>> SearchModels(const Caller& caller, std::string_view filter,
                                        const PageRequest& page) override {
    const Counting::Call call(counts_, "SearchModels");
    return below_.SearchModels(caller, filter, page);
  }

 private:
  Registry& below_;
  Counting& counts_;
};

class CountingGovernance : public Governance {
 public:
  CountingGovernance(Governance& below, Counting& counts) : below_(below), counts_(counts) {}

  Result<PrincipalInfo> CreatePrincipal(const Caller& caller, PrincipalKind kind,
                                        std::string_view name) override {
    const Counting::Call call(counts_, "CreatePrincipal");
    return below_.CreatePrincipal(caller, kind, name);
  }
  Status DeletePrincipal(const Caller& caller, std::string_view name) override {
    const Counting::Call call(counts_, "DeletePrincipal");
    return below_.DeletePrincipal(caller, name);
  }
  Result<PrincipalInfo> FindPrincipal(const Caller& caller, std::string_view name) override {
    const Counting::Call call(counts_, "FindPrincipal");
    return below_.FindPrincipal(caller, name);
  }
  Result<Page<PrincipalInfo>> ListPrincipals(const Caller& caller, const PageRequest& page) override {
    const Counting::Call call(counts_, "ListPrincipals");
    return below_.ListPrincipals(caller, page);
  }
  Status AddMember(const Caller& caller, std::string_view group, std::string_view member) override {
    const Counting::Call call(counts_, "AddMember");
    return below_.AddMember(caller, group, member);
  }
  Status RemoveMember(const Caller& caller, std::string_view group, std::string_view member) override {
    const Counting::Call call(counts_, "RemoveMember");
    return below_.RemoveMember(caller, group, member);
  }
  Result<std::vector<PrincipalInfo>> Members(const Caller& caller, std::string_view group) override {
    const Counting::Call call(counts_, "Members");
    return below_.Members(caller, group);
  }
  Result<std::vector<PrincipalInfo>> GroupsOf(const Caller& caller, std::string_view principal) override {
    const Counting::Call call(counts_, "GroupsOf");
    return below_.GroupsOf(caller, principal);
  }
  Status ChangeGrants(const Caller& caller, ObjectId object,
                      const std::vector<GrantChange>& changes) override {
    const Counting::Call call(counts_, "ChangeGrants");
    return below_.ChangeGrants(caller, object, changes);
  }
  Result<std::vector<GrantInfo>> Grants(const Caller& caller, ObjectId object,
                                        std::string_view principal) override {
    const Counting::Call call(counts_, "Grants");
    return below_.Grants(caller, object, principal);
  }
  Result<std::vector<GrantInfo>> EffectiveGrants(const Caller& caller, ObjectId object,
                                                 std::string_view principal) override {
    const Counting::Call call(counts_, "EffectiveGrants");
    return below_.EffectiveGrants(caller, object, principal);
  }
  Status CheckAccess(const Caller& caller, Operation operation, ObjectId object) override {
    const Counting::Call call(counts_, "CheckAccess");
    return below_.CheckAccess(caller, operation, object);
  }
  Result<ObjectAccess> AccessOf(const Caller& caller, ObjectId object) override {
    const Counting::Call call(counts_, "AccessOf");
    return below_.AccessOf(caller, object);
  }
  Result<ContainerSettings> GetSettings(const Caller& caller, ObjectId container) override {
    const Counting::Call call(counts_, "GetSettings");
    return below_.GetSettings(caller, container);
  }
  Result<std::vector<EffectiveSettings>> GetEffectiveSettings(const Caller& caller,
                                                              ObjectId container) override {
    const Counting::Call call(counts_, "GetEffectiveSettings");
    return below_.GetEffectiveSettings(caller, container);
  }
  Status SetSettings(const Caller& caller, ObjectId container, const ContainerSettings& expected,
                     const ContainerSettings& settings) override {
    const Counting::Call call(counts_, "SetSettings");
    return below_.SetSettings(caller, container, expected, settings);
  }

 private:
  Governance& below_;
  Counting& counts_;
};

}  // namespace modelfs::store
