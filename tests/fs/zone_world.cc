#include "tests/fs/zone_world.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cas/base/check.h"
#include "cas/base/clock.h"
#include "cas/base/fd.h"
#include "cas/local/import_directory.h"
#include "store/kv/memory_kv.h"

namespace modelfs::fs {

void RecordingNotifier::EntryChanged(NodeId parent, std::string_view name) {
  MutexLock lock(mu_);
  told_.push_back(Entry(parent, name));
}

void RecordingNotifier::AttrChanged(NodeId node) {
  MutexLock lock(mu_);
  told_.push_back(Attr(node));
}

std::string RecordingNotifier::Entry(NodeId parent, std::string_view name) {
  return fmt::format("{:x}/{}", parent, name);
}

std::string RecordingNotifier::Attr(NodeId node) { return fmt::format("{:x}", node); }

std::vector<std::string> RecordingNotifier::told() const {
  MutexLock lock(mu_);
  return told_;
}

bool RecordingNotifier::WasTold(const std::string& what) const { return IndexOf(what) < told().size(); }

size_t RecordingNotifier::IndexOf(const std::string& what) const {
  MutexLock lock(mu_);
  return static_cast<size_t>(std::find(told_.begin(), told_.end(), what) - told_.begin());
}

namespace {

class UnverifiedBlob : public cas::OpenBlob {
 public:
  UnverifiedBlob(std::shared_ptr<cas::OpenBlob> below, bool native)
      : below_(std::move(below)), native_(native) {}
  const Digest& digest() const override { return below_->digest(); }
  Result<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out, const Deadline& deadline) override {
    return below_->Read(offset_bytes, out, deadline);
  }
  void Fetch(uint64_t offset_bytes, uint64_t length_bytes, const std::stop_token& stop, Done done) override {
    below_->Fetch(offset_bytes, length_bytes, stop, std::move(done));
  }
  std::optional<cas::FileId> File() const override { return below_->File(); }
  std::optional<int> NativeFd() const override { return native_ ? below_->NativeFd() : std::nullopt; }

 private:
  const std::shared_ptr<cas::OpenBlob> below_;
  const bool native_;
};

}  // namespace

void UnverifiedStore::Verified(const Digest& digest) {
  VerifiedSilently();
  listeners_.Call(digest);
}

void UnverifiedStore::VerifiedSilently() {
  MutexLock lock(mu_);
  native_ = true;
}

void UnverifiedStore::BeforeOpen(std::function<void(const Digest&)> hook) {
  MutexLock lock(mu_);
  before_open_ = std::move(hook);
}

Status UnverifiedStore::Put(const Digest& digest, std::string_view bytes, cas::Epoch epoch) {
  return below_.Put(digest, bytes, epoch);
}

Result<std::shared_ptr<cas::OpenBlob>> UnverifiedStore::Open(const Digest& digest) {
  bool native = false;
  std::function<void(const Digest&)> hook;
  {
    MutexLock lock(mu_);
    native = native_;
    hook = before_open_;
  }
  if (hook) hook(digest);
  ASSIGN_OR_RETURN(std::shared_ptr<cas::OpenBlob> blob, below_.Open(digest));
  return std::shared_ptr<cas::OpenBlob>(std::make_shared<UnverifiedBlob>(std::move(blob), native));
}

std::vector<bool> UnverifiedStore::AreNative(std::span<const Digest> digests) {
  MutexLock lock(mu_);
  return std::vector<bool>(digests.size(), native_);
}

ZoneWorld::ZoneWorld() {
  directory = (std::filesystem::temp_directory_path() / "modelfs-zones-XXXXXX").string();
  CHECK(::mkdtemp(directory.data()) != nullptr);

  const std::string map = directory + "/identities";
  std::ofstream(map) << fmt::format(
      "uid {} = keeper\nuid 60001 = ann\nuid 60002 = bob\nuid 60003 = eve\ngid 60100 = data-science\n",
      ::getuid());
  auto known =
      store::HostIdentities::Open({.map_file = map, .database = nullptr, .clock = nullptr, .log = nullptr});
  CHECK(known.ok());
  identities = *std::move(known);
  caller = identities->ProcessCaller("test");
  request.gid = ::getgid();
  request.pid = ::getpid();

  kv = store::MakeMemoryKv();
  const auto made = store::InitializeRegistry(*kv, SystemClock(), caller,
                                              store::RegistrySettings::SignaturePolicy::kIfMlmodel);
  CHECK(made.ok());
  auto local = cas::LocalStore::Open(cas::RealFiles(),
                                     {.root = directory + "/blobs", .hash_threads = 0, .log = nullptr});
  CHECK(local.ok());
  blobs = *std::move(local);
  auto opened = store::EmbeddedRegistry::Open(*kv, *blobs, SystemClock(), identities.get());
  CHECK(opened.ok());
  registry = *std::move(opened);
  const store::Caller daemon = registry->ForUpkeep(caller);
  auto speaker = registry->AdmitMount(caller, "/models", store::Speaker::For::kLocalUsers);
  CHECK(speaker.ok());
  caller.proof = store::Proof::kMount;
  caller.speaker = *std::move(speaker);
  request.caller = caller;
  trees = std::make_unique<TreeCache>(*registry, *blobs, daemon, 1'000'000);
  refusals = std::make_unique<Refusals>(SystemClock());
  held_names = std::make_unique<HeldNames>(SystemClock());

  context.registry = registry.get();
  context.governance = registry.get();
  context.journal = registry.get();
  context.blobs = blobs.get();
  context.identities = identities.get();
  context.notifier = &notifier;
  context.trees = trees.get();
  context.refusals = refusals.get();
  context.held_names = held_names.get();
  context.mount_point = "/models";
  context.home = "/registry";
  context.daemon = daemon;
  context.uid = ::getuid();
  context.gid = ::getgid();
}

ZoneWorld::~ZoneWorld() {
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

store::ObjectId ZoneWorld::Make(std::string_view dotted) {
  const auto name = store::FullName::Parse(dotted);
  CHECK(name.ok());
  store::ObjectId id = store::kMetastoreId;
  for (const std::string& part : name->parts) {
    auto child = registry->LookupChild(caller, id, part);
    if (!child.ok()) child = registry->Create(caller, id, part, "");
    CHECK(child.ok());
    id = child->id;
  }
  return id;
}

store::VersionInfo ZoneWorld::Commit(store::ObjectId model, const std::map<std::string, std::string>& files,
                                     const store::NewVersion& fields) {
  const std::filesystem::path source = std::filesystem::path(directory) / "source";
  std::filesystem::remove_all(source);
  std::filesystem::create_directories(source);
  for (const auto& file : files) {
    const std::filesystem::path path = source / file.first;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << file.second;
    if (path.extension() == ".sh") std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }
  const auto lease = registry->AcquireLease(caller, "test");
  CHECK(lease.ok());
  const auto tree = cas::ImportDirectory(*blobs, source.string(), lease->epoch, [](uint64_t) {});
  CHECK(tree.ok());
  const auto version = registry->CommitVersion(caller, model, tree->digest, *lease, fields, std::nullopt);
  if (!version.ok()) ADD_FAILURE() << version.error().message();
  CHECK(version.ok());
  registry->ReleaseLease(caller, *lease).IgnoreError("it ends by itself");
  return *version;
}

std::unique_ptr<store::EmbeddedRegistry> ZoneWorld::OtherProcess() {
  auto opened = store::EmbeddedRegistry::Open(*kv, *blobs, SystemClock(), identities.get());
  CHECK(opened.ok());
  return *std::move(opened);
}

void ZoneWorld::Grant(store::ObjectId object, const std::string& principal, store::PrivilegeSet privileges) {
  store::GrantChange change;
  change.principal = principal;
  change.add = privileges;
  const Status granted = registry->ChangeGrants(caller, object, {change});
  if (!granted.ok()) ADD_FAILURE() << granted.error().message();
}

void ZoneWorld::Revoke(store::ObjectId object, const std::string& principal, store::PrivilegeSet privileges) {
  store::GrantChange change;
  change.principal = principal;
  change.remove = privileges;
  const Status revoked = registry->ChangeGrants(caller, object, {change});
  if (!revoked.ok()) ADD_FAILURE() << revoked.error().message();
}

Request ZoneWorld::RequestOf(uid_t uid, gid_t gid) const {
  Request made;
  made.caller = identities->CallerOf(uid, gid);
  made.caller.proof = store::Proof::kMount;
  made.caller.speaker = caller.speaker;
  made.caller.door = "test";
  made.gid = gid;
  made.pid = ::getpid();
  return made;
}

void ZoneWorld::Share() {
  acls = std::make_unique<AclTable>(context, SystemClock());
  context.acls = acls.get();
  context.shared = true;
}

void ZoneWorld::FlipBit(const Digest& digest) {
  const std::string path = blobs->ObjectPath(digest);
  CHECK(::chmod(path.c_str(), 0600) == 0);
  const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  CHECK(file.valid());
  char byte = 0;
  CHECK(::pread(file.get(), &byte, 1, 0) == 1);
  byte = static_cast<char>(byte ^ 0x10);
  CHECK(::pwrite(file.get(), &byte, 1, 0) == 1);
}

std::vector<DirectoryEntry> ListAll(Zone& zone, const Request& request, NodeId directory, bool plus) {
  std::vector<DirectoryEntry> entries;
  const auto opened = zone.OpenDirectory(request, directory);
  EXPECT_TRUE(opened) << MessageOf(opened);
  if (!opened) return entries;
  for (uint64_t index = 0;; ++index) {
    auto entry = opened->handle->At(index, plus);
    EXPECT_TRUE(entry) << MessageOf(entry);
    if (!entry || !*entry) return entries;
    entries.push_back(**entry);
  }
}

std::vector<std::string> NamesIn(Zone& zone, const Request& request, NodeId directory) {
  std::vector<std::string> names;
  for (DirectoryEntry& entry : ListAll(zone, request, directory)) names.push_back(std::move(entry.name));
  return names;
}

std::string ReadAll(FileHandle& handle) {
  std::string content;
  std::array<std::byte, 4096> buffer;
  while (true) {
    const auto count = handle.Read(content.size(), buffer);
    EXPECT_TRUE(count) << MessageOf(count);
    if (!count || *count == 0) return content;
    content.append(reinterpret_cast<const char*>(buffer.data()), *count);
  }
}

}  // namespace modelfs::fs
