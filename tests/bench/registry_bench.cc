// How the engine and the registry hold up with many models. One JSON line a measurement.
//
//   registry_bench DIRECTORY [MODELS] [SCHEMAS]      default 1,000,000 models in 100 schemas
//
// Models are written straight through the KV engine, many to a commit, in the registry's own records:
// one audited commit a model would measure fsync, and take hours.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "store/embedded_registry.h"
#include "store/keys.h"
#include "store/kv/lmdb_kv.h"
#include "store/records.h"
#include "tests/store/fake_blob_store.h"

namespace {

using namespace modelfs;         // NOLINT(google-build-using-namespace): a program of one file
using namespace modelfs::store;  // NOLINT(google-build-using-namespace)
using SteadyClock = std::chrono::steady_clock;

template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) {
    fmt::print(stderr, "{}\n", result.error().message());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

double MicrosSince(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

double Quantile(std::vector<double>& samples, double q) {
  const auto at = samples.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(samples.size() - 1));
  std::nth_element(samples.begin(), at, samples.end());
  return *at;
}

template <typename Call>
void Report(const char* what, int count, Call call) {
  std::vector<double> micros;
  for (int i = 0; i < count; ++i) {
    const auto start = SteadyClock::now();
    call();
    micros.push_back(MicrosSince(start));
  }
  fmt::print("{{\"bench\":\"registry\",\"what\":\"{}\",\"calls\":{},\"p50_us\":{:.2f},\"p99_us\":{:.2f}}}\n",
             what, count, Quantile(micros, 0.5), Quantile(micros, 0.99));
}

std::string ModelName(uint64_t i) { return fmt::format("model_{:07}", i); }

// Schema `schema` of the catalog gets `count` models, in commits as large as the engine takes.
void AddModels(Kv& kv, const ObjectInfo& schema, ObjectId first_id, uint64_t count, const Caller& caller) {
  constexpr uint64_t kEachCommit = 60;  // two keys a model
  for (uint64_t done = 0; done < count;) {
    KvTransaction transaction;
    for (uint64_t i = 0; i < kEachCommit && done < count; ++i, ++done) {
      ObjectRecord record;
      record.id = first_id + done;
      record.kind = ObjectKind::kModel;
      record.owner = schema.owner_id;
      record.created = record.updated = {schema.created_at_ms, caller.principal};
      record.aliases = {{"Champion", 3, record.id * 4, 0, schema.created_at_ms}};
      record.next_version = 4;
      record.latest_ready = 3;
      transaction.Put(keys::Object(schema.id, ModelName(done)), record.Encode());
      transaction.Put(keys::Where(record.id), WhereRecord{schema.id, ModelName(done)}.Encode());
    }
    Must(kv.Commit(transaction));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: registry_bench DIRECTORY [MODELS] [SCHEMAS]\n");
    return 2;
  }
  const uint64_t models = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  const uint64_t schemas = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 100;
  const uint64_t each = models / schemas;
  LmdbOptions options;
  options.directory = argv[1];
  options.mode = LmdbOptions::Mode::kCreate;
  options.unsafe_no_sync = true;  // filling is not what is measured
  Caller caller;
  caller.principal = "bench";
  caller.uid = ::getuid();
  std::vector<ObjectInfo> made;
  {
    const auto kv = Must(OpenLmdbKv(options));
    testing::FakeBlobStore blobs;
    Must(InitializeRegistry(*kv, SystemClock(), caller, RegistrySettings::SignaturePolicy::kIfMlmodel));
    const auto registry = Must(EmbeddedRegistry::Open(*kv, blobs, SystemClock()));
    const ObjectInfo catalog = Must(registry->Create(caller, kMetastoreId, "bench", ""));
    for (uint64_t s = 0; s < schemas; ++s) {
      made.push_back(Must(registry->Create(caller, catalog.id, fmt::format("schema_{:03}", s), "")));
    }
    const auto start = SteadyClock::now();
    for (uint64_t s = 0; s < schemas; ++s) AddModels(*kv, made[s], 1'000'000 + s * each, each, caller);
    const double seconds = MicrosSince(start) / 1e6;
    fmt::print(
        "{{\"bench\":\"registry\",\"what\":\"fill\",\"models\":{},\"schemas\":{},\"seconds\":{:.2f}}}\n",
        models, schemas, seconds);
  }
  options.unsafe_no_sync = false;
  options.mode = LmdbOptions::Mode::kOpenExisting;
  const auto opened = SteadyClock::now();
  const auto kv = Must(OpenLmdbKv(options));
  testing::FakeBlobStore blobs;
  const auto registry = Must(EmbeddedRegistry::Open(*kv, blobs, SystemClock()));
  fmt::print("{{\"bench\":\"registry\",\"what\":\"open\",\"us\":{:.0f}}}\n", MicrosSince(opened));

  std::mt19937_64 random(1);
  constexpr int kCalls = 200'000;
  const auto any_schema = [&]() -> const ObjectInfo& { return made[random() % schemas]; };
  Report("engine get", kCalls, [&] {
    const auto snapshot = Must(kv->Read());
    Must(snapshot->Get(keys::Object(any_schema().id, ModelName(random() % each))));
  });
  Report("lookup child", kCalls,
         [&] { Must(registry->LookupChild(caller, any_schema().id, ModelName(random() % each))); });
  Report("lookup full name", kCalls, [&] {
    FullName name = any_schema().full_name;
    name.parts.push_back(ModelName(random() % each));
    Must(registry->Lookup(caller, name));
  });
  Report("get by id", kCalls, [&] { Must(registry->Get(caller, 1'000'000 + random() % models)); });
  Report("durable tag", 200, [&] {
    Must(registry->SetTag(caller, {1'000'000 + random() % models, std::nullopt}, "k",
                          std::to_string(random())));
  });

  const auto listing = SteadyClock::now();
  PageRequest page;
  page.limit = 10'000;
  uint64_t listed = 0;
  double first_page_us = 0;
  do {
    const auto answer = Must(registry->List(caller, made[0].id, page));
    if (listed == 0) first_page_us = MicrosSince(listing);
    listed += answer.items.size();
    page.token = answer.next_token;
  } while (!page.token.empty());
  const double list_us = MicrosSince(listing);
  fmt::print(
      "{{\"bench\":\"registry\",\"what\":\"list a "
      "schema\",\"models\":{},\"ms\":{:.2f},\"us_each\":{:.3f},\"first_page_ms\":{:.2f}}}\n",
      listed, list_us / 1e3, list_us / static_cast<double>(std::max<uint64_t>(1, listed)),
      first_page_us / 1e3);

  const auto bytes = std::filesystem::file_size(options.directory + "/data.mdb");
  fmt::print("{{\"bench\":\"registry\",\"what\":\"file size\",\"bytes\":{},\"bytes_each\":{:.1f}}}\n", bytes,
             static_cast<double>(bytes) / static_cast<double>(models));
  return 0;
}
