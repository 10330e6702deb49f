// The cost of an access decision. Prints one JSON line for each measurement.
//
//   access_bench DIRECTORY [MODELS]      default 100,000 models in one schema
//
// The user is in 20 groups, and the model has 1,000 grants; all but one of these do not apply.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "store/embedded/embedded_registry.h"
#include "store/kv/lmdb_kv.h"
#include "tests/bench/timing.h"
#include "tests/store/fake_blob_store.h"
#include "tests/store/kv/must.h"

namespace {

using namespace modelfs;         // NOLINT(google-build-using-namespace): a program of one file
using namespace modelfs::store;  // NOLINT(google-build-using-namespace)
using bench::MicrosSince;
using bench::SteadyClock;

template <typename Call>
void Report(const char* what, int calls, Call call) {
  std::vector<double> micros;
  for (int i = 0; i < calls; ++i) {
    const auto start = SteadyClock::now();
    call();
    micros.push_back(MicrosSince(start));
  }
  std::sort(micros.begin(), micros.end());
  fmt::print("{{\"bench\":\"access\",\"what\":\"{}\",\"calls\":{},\"p50_us\":{:.2f},\"p99_us\":{:.2f}}}\n",
             what, calls, micros[micros.size() / 2], micros[micros.size() * 99 / 100]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: access_bench DIRECTORY [MODELS]\n");
    return 2;
  }
  const uint64_t models = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 100'000;
  LmdbOptions options;
  options.directory = argv[1];
  options.mode = LmdbOptions::Mode::kCreate;
  options.unsafe_no_sync = true;  // the decision is measured, not the disk
  Caller admin;
  admin.principal = "admin";
  const auto kv = Must(OpenLmdbKv(options));
  testing::FakeBlobStore blobs;
  Must(InitializeRegistry(*kv, SystemClock(), admin, RegistrySettings::SignaturePolicy::kIfMlmodel));
  const auto registry = Must(EmbeddedRegistry::Open(*kv, blobs, SystemClock()));
  const ObjectId catalog = Must(registry->Create(admin, kMetastoreId, "c", "")).id;
  const ObjectId schema = Must(registry->Create(admin, catalog, "s", "")).id;

  Caller user;
  user.principal = "user";
  Must(registry->CreatePrincipal(admin, PrincipalKind::kUser, user.principal));
  for (int i = 0; i < 20; ++i) {
    const std::string group = fmt::format("group-{}", i);
    Must(registry->CreatePrincipal(admin, PrincipalKind::kGroup, group));
    Must(registry->AddMember(admin, group, user.principal));
  }
  Must(registry->ChangeGrants(
      admin, catalog, {{.principal = "group-7", .add = {Privilege::kUseCatalog, Privilege::kUseSchema}}}));
  std::vector<ObjectId> made;
  for (uint64_t i = 0; i < models; ++i) {
    made.push_back(Must(registry->Create(admin, schema, fmt::format("model_{:07}", i), "")).id);
  }
  const ObjectId model = made[models / 2];
  for (int i = 0; i < 999; ++i) {
    const std::string other = fmt::format("other-{}", i);
    Must(registry->CreatePrincipal(admin, PrincipalKind::kUser, other));
    Must(registry->ChangeGrants(admin, model, {{.principal = other, .add = {Privilege::kExecute}}}));
  }
  for (uint64_t i = 0; i < 10; ++i) {
    Must(registry->ChangeGrants(admin, made[i * models / 10],
                                {{.principal = "group-19", .add = {Privilege::kExecute}}}));
  }

  constexpr int kCalls = 200'000;
  Report("decide, of one model", kCalls,
         [&] { Must(registry->CheckAccess(user, Operation::kReadFiles, model)); });
  uint64_t next = 0;
  Report("decide, of models in turn", kCalls, [&] {
    registry->CheckAccess(user, Operation::kReadFiles, made[next++ % models]).IgnoreError("most are refused");
  });
  Report("decide, after each change of access", 500, [&] {
    Must(registry->ChangeGrants(admin, catalog, {{.principal = "other-1", .add = {Privilege::kBrowse}}}));
    Must(registry->ChangeGrants(admin, catalog, {{.principal = "other-1", .remove = {Privilege::kBrowse}}}));
    Must(registry->CheckAccess(user, Operation::kReadFiles, model));
  });
  PageRequest page;
  page.limit = 10'000;
  Report("list a schema, of which ten may be seen", 200, [&] {
    if (Must(registry->List(user, schema, page)).items.size() != 10) std::exit(1);
  });
  return 0;
}
