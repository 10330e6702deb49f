// A registry with its engine, blobs, clock and caller.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"
#include "cas/base/text.h"
#include "store/embedded/embedded_registry.h"
#include "store/kv/lmdb_kv.h"
#include "store/kv/memory_kv.h"
#include "store/records/keys.h"
#include "tests/store/expect.h"
#include "tests/store/fake_blob_store.h"
#include "tests/store/kv/scratch_dir.h"

namespace modelfs::testing {

class FakeClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms_; }
  int64_t SinceBootMs() const override { return NowMs(); }
  void Advance(int64_t ms) { now_ms_ += ms; }

 private:
  std::atomic<int64_t> now_ms_{1'700'000'000'000};
};

inline store::Caller Ann() {
  store::Caller caller;
  caller.principal = "ann";
  caller.uid = 1000;
  caller.door = "test";
  return caller;
}

// A host with these users and groups. Set up before the first query.
class FakeDirectory : public store::PrincipalDirectory {
 public:
  std::map<std::string, std::vector<std::string>> users = {
      {"ann", {}}, {"bob", {}}, {"eve", {}}};  // -> groups
  std::set<std::string> groups;

  std::optional<Found> Find(std::string_view name) override {
    for (const auto& [user, in] : users) {
      if (FoldCase(user) == FoldCase(name)) return Found{user, store::PrincipalKind::kUser};
    }
    for (const std::string& group : groups) {
      if (FoldCase(group) == FoldCase(name)) return Found{group, store::PrincipalKind::kGroup};
    }
    return std::nullopt;
  }
  std::vector<std::string> GroupsOf(std::string_view user) override {
    const auto found = users.find(std::string(user));
    return found == users.end() ? std::vector<std::string>() : found->second;
  }
};

inline std::unique_ptr<store::Kv> OpenLmdbAt(const std::string& directory) {
  store::LmdbOptions options;
  options.directory = directory;
  options.mode = store::LmdbOptions::Mode::kCreate;
  auto kv = store::OpenLmdbKv(options);
  EXPECT_OK(kv);
  return kv.ok() ? *std::move(kv) : nullptr;
}

// A registry as the program before the last change of the format left it.
inline void MakeFormatTwo(store::Kv& kv) {
  const std::string newest = kv.Read().value()->Get(store::keys::Settings()).value()->value;
  std::string body = newest.substr(0, newest.size() - sizeof(uint64_t));  // the rest is its checksum
  body[0] = 2;
  store::KvTransaction transaction;
  transaction.Put(store::keys::Settings(), body + Encoder().U64(Xxh3_64(body)).bytes());
  EXPECT_OK(kv.Commit(transaction));
}

struct Box {
  explicit Box(std::unique_ptr<store::Kv> engine,
               store::RegistrySettings::SignaturePolicy signature =
                   store::RegistrySettings::SignaturePolicy::kIfMlmodel,
               store::EmbeddedRegistryOptions options = {})
      : kv(std::move(engine)) {
    EXPECT_OK(store::InitializeRegistry(*kv, clock, ann, signature));
    Open(std::move(options));
  }

  // Opens it again, like a process that starts.
  void Open(store::EmbeddedRegistryOptions options = {}) {
    registry.reset();
    auto opened = store::EmbeddedRegistry::Open(*kv, blobs, clock, &directory, std::move(options));
    EXPECT_OK(opened);
    registry = *std::move(opened);
  }

  // The model's id; makes the model and its containers if they do not exist.
  store::ObjectId Make(const std::string& name) {
    store::ObjectId id = store::kMetastoreId;
    const store::FullName full = store::FullName::Parse(name).value();
    for (const std::string& part : full.parts) {
      auto made = registry->Create(ann, id, part, "");
      if (!made.ok()) made = registry->LookupChild(ann, id, part);
      EXPECT_OK(made);
      id = made->id;
    }
    return id;
  }

  Result<store::VersionInfo> Commit(store::ObjectId model, const std::string& bytes = "weights",
                                    std::optional<store::VersionNumber> expected = std::nullopt,
                                    const store::NewVersion& fields = {}) {
    const store::Lease lease = registry->AcquireLease(ann, "test").value();
    const Digest tree = blobs.PutTree({{"model.bin", bytes}}, lease.epoch);
    auto committed = registry->CommitVersion(ann, model, tree, lease, fields, expected);
    EXPECT_OK(registry->ReleaseLease(ann, lease));
    return committed;
  }

  FakeClock clock;
  store::Caller ann = Ann();
  FakeDirectory directory;
  FakeBlobStore blobs;
  std::unique_ptr<store::Kv> kv;
  std::unique_ptr<store::EmbeddedRegistry> registry;
};

}  // namespace modelfs::testing
