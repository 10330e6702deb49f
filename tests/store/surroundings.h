// The surroundings of a registry in a test: its clock, its blobs, the users of its host, and its first admin.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/text.h"
#include "store/caller.h"
#include "store/leases.h"
#include "store/principal.h"
#include "store/registry.h"
#include "tests/store/expect.h"
#include "tests/store/fake_blob_store.h"

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

struct Surroundings {
  // The id of the object with this name; makes it and its containers if they do not exist.
  store::ObjectId MakeIn(store::Registry& registry, const std::string& name) const {
    store::ObjectId id = store::kMetastoreId;
    const store::FullName full = store::FullName::Parse(name).value();
    for (const std::string& part : full.parts) {
      auto made = registry.Create(ann, id, part, "");
      if (!made.ok()) made = registry.LookupChild(ann, id, part);
      EXPECT_OK(made);
      id = made->id;
    }
    return id;
  }

  // A version with one file.
  Result<store::VersionInfo> CommitTo(store::Registry& registry, store::Leases& leases, store::ObjectId model,
                                      const std::string& bytes, std::optional<store::VersionNumber> expected,
                                      const store::NewVersion& fields) {
    const store::Lease lease = leases.AcquireLease(ann, "test").value();
    const Digest tree = blobs.PutTree({{"model.bin", bytes}}, lease.epoch);
    auto committed = registry.CommitVersion(ann, model, tree, lease, fields, expected);
    EXPECT_OK(leases.ReleaseLease(ann, lease));
    return committed;
  }

  FakeClock clock;
  store::Caller ann = Ann();
  FakeDirectory directory;
  FakeBlobStore blobs;
};

}  // namespace modelfs::testing
