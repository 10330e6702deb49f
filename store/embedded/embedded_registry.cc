#include "store/embedded/embedded_registry.h"

#include <fmt/core.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <thread>

#include "cas/base/check.h"
#include "cas/base/text.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

// With one mutation a process under way at most, this many lost races in a row need as many processes
// that all write without a pause.
constexpr int kMaxAttempts = 200;
constexpr auto kLongestPause = std::chrono::milliseconds(20);

// `account users`, and the creator of the registry, which is its admin.
Result<PrincipalId> AddFirstPrincipals(Change& change, const std::string& owner) {
  PrincipalRecord everybody;
  everybody.info.kind = PrincipalKind::kGroup;
  everybody.info.name = kAccountUsers;
  everybody.info.created_at_ms = change.now_ms();
  everybody.info.created_by = owner;
  change.Put(keys::Principal(kAccountUsersId), everybody.Encode());
  change.Put(keys::PrincipalName(kAccountUsers), EncodeNumber(kAccountUsersId));
  change.Put(keys::PrincipalCounters(), PrincipalCountersRecord().Encode());
  ASSIGN_OR_RETURN(const PrincipalInfo admin,
                   change.AddPrincipal(PrincipalKind::kUser, PrincipalSource::kHost, owner));
  return admin.id;
}

// From an older format, in one commit. A field that a record of an older format lacks stays absent until the
// record is next written, or for ever (records.h).
Status Upgrade(Kv& kv, const Clock& clock, const RegistrySettings& settings) {
  ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot, kv.Read());
  Caller owner;
  owner.principal = settings.owner;
  owner.uid = settings.owner_uid;
  owner.door = "upgrade";
  Change change(*snapshot, clock.NowMs(), owner);
  ASSIGN_OR_RETURN(const std::optional<KvEntry> present, change.Get(keys::Settings()));
  if (!present || !IsOlderFormat(present->value)) return OkStatus();  // another process was first
  ASSIGN_OR_RETURN(StoredObject metastore, change.Object(kMetastoreId));
  ASSIGN_OR_RETURN(const std::optional<KvEntry> principals, change.Get(keys::PrincipalCounters()));
  if (!principals) {
    ASSIGN_OR_RETURN(metastore.record.owner, AddFirstPrincipals(change, settings.owner));
    metastore.record.owner_name.clear();
    change.PutObject(metastore);
  }
  change.Put(keys::Settings(), EncodeSettings(settings));
  // Once for each registry, and every command waits for it, also those that make room.
  change.SetReserve(Reserve::kAll);
  change.Audit("upgradeMetastore", FullName(), kMetastoreId, {{"format", "4"}, {"owner", settings.owner}});
  change.Tell(EventKind::kAccessChanged, metastore);
  ASSIGN_OR_RETURN(const KvTransaction transaction, change.Finish());
  snapshot.reset();
  const Result<Revision> committed = kv.Commit(transaction);
  // Lost to another process that upgrades: what it did is what was to be done.
  if (committed.ok() || committed.error().code() == Code::kAborted) return OkStatus();
  return committed.error().Wrap("upgrade the registry");
}

}  // namespace

std::string RandomHex128() {
  std::array<unsigned char, 16> bytes{};
  CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  std::string hex;
  for (const unsigned char byte : bytes) hex += fmt::format("{:02x}", byte);
  return hex;
}

Result<RegistrySettings> InitializeRegistry(Kv& kv, const Clock& clock, const Caller& owner,
                                            RegistrySettings::SignaturePolicy signature) {
  RegistrySettings settings;
  settings.signature = signature;
  settings.owner = owner.principal;
  settings.owner_uid = owner.uid;
  settings.id = RandomHex128();
  settings.created_at_ms = clock.NowMs();

  ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot, kv.Read());
  Change change(*snapshot, settings.created_at_ms, owner);
  ASSIGN_OR_RETURN(const std::optional<KvEntry> present, change.Get(keys::Settings()));
  const Error exists(Code::kAlreadyExists, "there is a registry here already");
  if (present) return exists;
  change.Put(keys::Settings(), EncodeSettings(settings));
  change.Put(keys::Counters(), CountersRecord().Encode());
  StoredObject metastore;
  metastore.record.kind = ObjectKind::kMetastore;
  RETURN_IF_ERROR(CheckPrincipalName(owner.principal));
  ASSIGN_OR_RETURN(metastore.record.owner, AddFirstPrincipals(change, owner.principal));
  metastore.record.created = metastore.record.updated = change.stamp();
  change.PutObject(metastore);
  change.Put(keys::Where(kMetastoreId), WhereRecord().Encode());
  change.Audit("createMetastore", FullName(), kMetastoreId, {{"metastore_id", settings.id}});
  change.Tell(EventKind::kCreated, metastore);
  ASSIGN_OR_RETURN(const KvTransaction transaction, change.Finish());
  snapshot.reset();
  if (const auto committed = kv.Commit(transaction); !committed.ok()) {
    return committed.error().code() == Code::kAborted ? exists : committed.error();
  }
  return settings;
}

Result<std::unique_ptr<EmbeddedRegistry>> EmbeddedRegistry::Open(Kv& kv, cas::BlobStore& blobs,
                                                                 const Clock& clock,
                                                                 PrincipalDirectory* directory,
                                                                 EmbeddedRegistryOptions options) {
  RegistrySettings settings;
  bool older = false;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv.Read());
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, snapshot->Get(keys::Settings()));
    if (!entry) {
      return Error(Code::kFailedPrecondition,
                   "the registry was never set up (an init that was interrupted?); run `modelfs init` again");
    }
    ASSIGN_OR_RETURN(settings, DecodeSettings(entry->value));
    older = IsOlderFormat(entry->value);
  }
  if (older) RETURN_IF_ERROR(Upgrade(kv, clock, settings));
  return std::unique_ptr<EmbeddedRegistry>(std::make_unique<EmbeddedRegistryImpl>(
      kv, blobs, clock, std::move(settings), directory, std::move(options)));
}

Status EmbeddedRegistryImpl::Authenticate(const Caller& caller) { return Demand(caller, {Operation::kUse}); }

Result<RegistrySettings> EmbeddedRegistryImpl::Settings(const Caller& caller) {
  RETURN_IF_ERROR(Authenticate(caller));
  return authorizer_.settings();
}

Result<Slots::Slot> EmbeddedRegistryImpl::TakeTurn(const Patience& patience) {
  std::optional<Slots::Slot> turn = turn_.Take(patience.stop, patience.until);
  if (turn) return std::move(*turn);
  if (patience.stop.stop_requested()) return Error(Code::kCancelled, "the caller gave up before its turn");
  return kv_.Busy();
}

Status EmbeddedRegistryImpl::CommitAttempt(const KvTransaction& transaction, int attempt) {
  const Result<Revision> committed = kv_.Commit(transaction);
  if (committed.ok()) return OkStatus();
  if (committed.error().code() != Code::kAborted) return committed.error();
  if (attempt >= kMaxAttempts) {
    return Error(Code::kUnavailable, "the registry is too busy: other processes kept changing it; try again");
  }
  // Full jitter over a doubling bound, so that processes that collided once part ways.
  thread_local std::minstd_rand random(std::random_device{}());
  const auto bound = std::min<std::chrono::microseconds>(
      kLongestPause, std::chrono::microseconds(uint64_t{50} << std::min(attempt, 20)));
  std::this_thread::sleep_for(
      std::chrono::microseconds(std::uniform_int_distribution<int64_t>(0, bound.count())(random)));
  return committed.error();
}

Result<Speaker> EmbeddedRegistryImpl::AdmitMount(const Caller& owner, std::string_view mount_point,
                                                 Speaker::For speaks_for) {
  Asked asked{Operation::kUse, kMetastoreId};
  asked.action = "mountMetastore";
  asked.params = {{"mount_point", std::string(mount_point)},
                  {"speaks_for", speaks_for == Speaker::For::kOwner ? "its owner" : "users of its host"}};
  RETURN_IF_ERROR(Demand(owner, asked));
  Record(owner, asked, OkStatus(), AuditSpool::Repeats::kEach);
  return MakeSpeaker(fmt::format("mount {}", mount_point), speaks_for, owner.uid);
}

Status EmbeddedRegistryImpl::CheckCredential(const Caller& caller) {
  if (caller.proof != Proof::kMount || caller.IsUpkeep()) return OkStatus();
  if (!caller.speaker) {
    return Error(Code::kPermissionDenied, "no mount was admitted to speak for this caller");
  }
  if (caller.speaker->MaySpeakFor(caller.uid)) return OkStatus();
  return Error(Code::kPermissionDenied,
               fmt::format("{} speaks for its owner alone; mount with allow_other to share it",
                           Printable(caller.speaker->name())));
}

Patience EmbeddedRegistryImpl::PatienceOf(const Caller& caller) const {
  Patience patience = kv_.NewPatience(caller.stop);
  if (caller.deadline.at() < patience.until.at()) patience.until = caller.deadline;
  return patience;
}

}  // namespace modelfs::store
