// The engine and the registry with many models. Prints one JSON line for each measurement.
//
//   registry_bench DIRECTORY [MODELS] [SCHEMAS]      default 1,000,000 models in 100 schemas
//   registry_bench --audit DIRECTORY [RECORDS]       default 1,000,000 audit records about 10,000 models
//   registry_bench --times DIRECTORY [VERSIONS] [FILES]   default one model with 1,000 versions of 1,000
//   files
//
// Models are written directly through the KV engine, many per commit, as the registry's own records: one
// audited commit per model would measure fsync, and take hours.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "cas/local/local_store.h"
#include "cas/tree_store.h"
#include "cas/tree_times.h"
#include "store/embedded/embedded_registry.h"
#include "store/kv/lmdb_kv.h"
#include "store/records/change.h"
#include "store/records/keys.h"
#include "store/records/records.h"
#include "tests/bench/timing.h"
#include "tests/store/fake_blob_store.h"
#include "tests/store/kv/must.h"

namespace {

using namespace modelfs;         // NOLINT(google-build-using-namespace): a program of one file
using namespace modelfs::store;  // NOLINT(google-build-using-namespace)
using bench::MicrosSince;
using bench::SteadyClock;

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

// Adds `count` models to `schema`, in commits as large as the engine takes.
void AddModels(Kv& kv, const ObjectInfo& schema, ObjectId first_id, uint64_t count, const Caller& caller) {
  constexpr uint64_t kEachCommit = 60;  // two keys per model
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

void ReportAudit(const char* what, uint64_t records, uint64_t found, double micros) {
  fmt::print(
      "{{\"bench\":\"audit\",\"what\":\"{}\",\"records\":{},\"found\":{},\"ms\":{:.2f},\"found_per_s\":{:.0f}"
      "}}\n",
      what, records, found, micros / 1e3, static_cast<double>(found) / micros * 1e6);
}

// Counts the records of a query, read in pages as the command reads them.
uint64_t CountAudit(Journal& journal, const Caller& caller, AuditQuery query) {
  query.limit = 1000;
  for (uint64_t found = 0;;) {
    const auto records = Must(journal.Audit(caller, query));
    found += records.size();
    if (records.size() < query.limit) return found;
    query.after_sequence = records.back().sequence;
  }
}

// Fills a log with `count` records about 10,000 models in 100 schemas of one catalog, in turn, and about one
// more model with ten records spread over the log. Then it measures queries.
int BenchAudit(const std::string& directory, uint64_t count) {
  constexpr uint64_t kSchemas = 100;
  constexpr uint64_t kModels = 10'000;
  constexpr uint64_t kRare = 10;
  constexpr size_t kEachCommit = 30;  // a record about a model is four keys
  Caller caller;
  caller.principal = "bench";
  caller.uid = ::getuid();
  LmdbOptions options;
  options.directory = directory;
  options.mode = LmdbOptions::Mode::kCreate;
  options.unsafe_no_sync = true;  // filling is not measured
  {
    const auto kv = Must(OpenLmdbKv(options));
    testing::FakeBlobStore blobs;
    Must(InitializeRegistry(*kv, SystemClock(), caller, RegistrySettings::SignaturePolicy::kIfMlmodel));
    const auto registry = Must(EmbeddedRegistry::Open(*kv, blobs, SystemClock()));
    const ObjectId catalog = Must(registry->Create(caller, kMetastoreId, "bench", "")).id;
    std::vector<ObjectInfo> models;
    for (uint64_t i = 0; i < kModels + 1; ++i) {
      const std::string schema = fmt::format("s{:02}", i % kSchemas);
      const ObjectId parent = i < kSchemas ? Must(registry->Create(caller, catalog, schema, "")).id
                                           : Must(registry->LookupChild(caller, catalog, schema)).id;
      models.push_back(Must(registry->Create(caller, parent, i < kModels ? ModelName(i) : "rare", "")));
    }
    const auto start = SteadyClock::now();
    for (uint64_t done = 0; done < count;) {
      auto snapshot = Must(kv->Read());
      Change change(*snapshot, SystemClock().NowMs(), caller);
      for (size_t i = 0; i < kEachCommit && done < count; ++i, ++done) {
        const ObjectInfo& model = done % (count / kRare) == 0 ? models.back() : models[done % kModels];
        change.Audit(
            "setRegisteredModelAlias", model.full_name, model.id,
            {{"full_name_arg", model.full_name.ToString()}, {"alias_arg", "Champion"}, {"version_num", "7"}});
      }
      const KvTransaction transaction = Must(change.Finish());
      snapshot.reset();  // never held across a commit
      Must(kv->Commit(transaction));
    }
    ReportAudit("fill", count, count, MicrosSince(start));
  }
  options.unsafe_no_sync = false;
  options.mode = LmdbOptions::Mode::kOpenExisting;
  const auto kv = Must(OpenLmdbKv(options));
  testing::FakeBlobStore blobs;
  EmbeddedRegistryOptions files;
  files.audit_directory = directory + "/audit";
  const auto registry = Must(EmbeddedRegistry::Open(*kv, blobs, SystemClock(), nullptr, files));
  const auto time = [&](const char* what, const AuditQuery& query) {
    const auto start = SteadyClock::now();
    const uint64_t found = CountAudit(*registry, caller, query);
    ReportAudit(what, count, found, MicrosSince(start));
  };
  time("a model with ten", {.full_name = "bench.s00.rare"});
  time("one of the models", {.full_name = "bench.s42." + ModelName(4242)});
  time("a schema", {.full_name = "bench.s42"});
  time("a name that is gone", {.full_name = "bench.s42.never"});
  time("a model's refusals",
       {.full_name = "bench.s42." + ModelName(4242), .outcome = AuditQuery::Outcome::kRefused});
  time("a principal who is not there", {.principal = "nobody"});
  time("the catalog, all of it", {.full_name = "bench"});
  time("everything", {});
  {
    const auto start = SteadyClock::now();
    AuditQuery query;
    query.full_name = "bench";
    query.order = AuditQuery::Order::kNewestFirst;
    query.limit = 20;
    const uint64_t found = Must(registry->Audit(caller, query)).size();
    ReportAudit("the catalog's newest 20", count, found, MicrosSince(start));
  }
  {
    const auto start = SteadyClock::now();
    const uint64_t proved = Must(registry->VerifyAudit(caller));
    ReportAudit("verify", count, proved, MicrosSince(start));
  }
  {
    // Opens, each of another file: how many per second become durable, and the cost of recording one for its
    // caller.
    Must(registry->SetAuditSettings(caller, {.opens = AuditSettings::Opens::kEach}));
    constexpr uint64_t kOpens = 20'000;
    const FullName name = Must(FullName::Parse("bench.s42." + ModelName(4242)));
    const ObjectId model = Must(registry->Lookup(caller, name)).id;
    const auto start = SteadyClock::now();
    std::vector<double> micros;
    for (uint64_t i = 0; i < kOpens; ++i) {
      std::map<std::string, std::string> params = {{"version_arg", "7"},
                                                   {"file", fmt::format("weights/part-{}.bin", i)}};
      const auto added = SteadyClock::now();
      registry->RecordAudit(caller, Operation::kReadFiles, model, OkStatus(), std::move(params));
      micros.push_back(MicrosSince(added));
    }
    Must(registry->FlushAudit());
    ReportAudit("opens recorded and durable", kOpens, kOpens, MicrosSince(start));
    fmt::print(
        "{{\"bench\":\"audit\",\"what\":\"recording an "
        "open\",\"calls\":{},\"p50_us\":{:.2f},\"p99_us\":{:.2f}}}\n",
        kOpens, Quantile(micros, 0.5), Quantile(micros, 0.99));
  }
  {
    // Moves all records to files, in constant memory.
    const auto start = SteadyClock::now();
    const uint64_t moved = Must(registry->RotateAudit(caller, {})).records;
    ReportAudit("rotate", count, moved, MicrosSince(start));
  }
  const auto bytes = std::filesystem::file_size(directory + "/data.mdb");
  fmt::print("{{\"bench\":\"audit\",\"what\":\"file size\",\"bytes\":{},\"bytes_each\":{:.1f}}}\n", bytes,
             static_cast<double>(bytes) / static_cast<double>(count));
  return 0;
}

// A model of many versions. Only trees and times are stored; file contents are never read.
class TimesBench {
 public:
  TimesBench(const std::string& directory, uint64_t files) : directory_(directory), files_(files) {
    caller_.principal = "bench";
    caller_.uid = ::getuid();
    std::filesystem::create_directories(directory + "/registry");
    options_.directory = directory + "/registry";
    options_.mode = LmdbOptions::Mode::kCreate;
    Open(Fresh::kYes);
    ObjectId id = kMetastoreId;
    for (const char* name : {"bench", "times", "model"})
      id = Must(registry_->Create(caller_, id, name, "")).id;
    model_ = id;
  }

  // Behaves as a new process, which has not verified any blob yet.
  void Reopen() {
    registry_.reset();
    blobs_.reset();
    kv_.reset();
    options_.mode = LmdbOptions::Mode::kOpenExisting;
    Open(Fresh::kNo);
  }

  // Commits a version. Files from `first_new` on have new contents and the time `s`; the others are as in the
  // previous version. Returns the duration of the commit in microseconds.
  double Commit(uint64_t first_new, int64_t s) {
    const Lease lease = Must(registry_->AcquireLease(caller_, "bench"));
    ++serial_;
    std::vector<cas::TreeEntry> entries(files_);
    if (times_.empty()) times_.resize(files_);
    if (contents_.empty()) contents_.resize(files_);
    for (uint64_t i = 0; i < files_; ++i) {
      if (i >= first_new) {
        contents_[i] = DigestOf(fmt::format("file {:06} of {:09}", i, serial_));
        times_[i] = {s, 0};
      }
      entries[i].path = fmt::format("folder-{:02}/file-{:06}.bin", i / 100, i);
      entries[i].blob = contents_[i];
    }
    const cas::Tree tree = Must(cas::Tree::Make(std::move(entries)));
    const StoredTree content(
        Must(cas::PutTree(*blobs_, tree, lease.epoch)),
        Must(cas::PutTreeTimes(*blobs_, Must(cas::TreeTimes::Make(times_)), lease.epoch)));
    const auto start = SteadyClock::now();
    Must(registry_->CommitVersion(caller_, model_, content, lease, {}, std::nullopt));
    const double micros = MicrosSince(start);
    Must(registry_->ReleaseLease(caller_, lease));
    return micros;
  }

 private:
  enum class Fresh { kYes, kNo };
  void Open(Fresh fresh) {
    kv_ = Must(OpenLmdbKv(options_));
    blobs_ = Must(cas::LocalStore::Open(cas::RealFiles(), {.root = directory_}));
    if (fresh == Fresh::kYes)
      Must(InitializeRegistry(*kv_, SystemClock(), caller_, RegistrySettings::SignaturePolicy::kIfMlmodel));
    registry_ = Must(EmbeddedRegistry::Open(*kv_, *blobs_, SystemClock()));
  }

  const std::string directory_;
  const uint64_t files_;
  Caller caller_;
  LmdbOptions options_;
  std::unique_ptr<Kv> kv_;
  std::unique_ptr<cas::LocalStore> blobs_;
  std::unique_ptr<EmbeddedRegistry> registry_;
  ObjectId model_ = 0;
  uint64_t serial_ = 0;
  std::vector<Digest> contents_;
  std::vector<cas::FileTime> times_;
};

// The cost of the rule that no two versions show a file with the same size and second but other bytes
// (store/embedded/version_times.h).
int BenchTimes(const std::string& directory, uint64_t versions, uint64_t files) {
  TimesBench bench(directory, files);
  const auto now_s = [] { return SystemClock().NowMs() / 1000; };
  // Each version has a second of its own, as in a real history.
  const int64_t first_s = now_s() - static_cast<int64_t>(versions) - 1;
  for (uint64_t i = 0; i < versions; ++i) bench.Commit(0, first_s + static_cast<int64_t>(i));
  const auto report = [&](const char* what, uint64_t first_new, auto second_of) {
    constexpr int kCommits = 5;
    std::vector<double> micros;
    for (int i = 0; i < kCommits; ++i) {
      bench.Reopen();
      micros.push_back(bench.Commit(first_new, second_of()));
    }
    const auto [least, most] = std::minmax_element(micros.begin(), micros.end());
    fmt::print(
        "{{\"bench\":\"times\",\"what\":\"{}\",\"versions\":{},\"files\":{},\"p50_ms\":{:.2f},"
        "\"min_ms\":{:.2f},\"max_ms\":{:.2f}}}\n",
        what, versions, files, Quantile(micros, 0.5) / 1e3, *least / 1e3, *most / 1e3);
  };
  report("commit: one file is new", files - 1, now_s);
  report("commit: all files are new", 0, now_s);
  report("commit: all are of the first version's second", 0, [&] { return first_s; });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (argc < 2 || (argc < 3 && mode.starts_with("--"))) {
    fmt::print(stderr,
               "usage: registry_bench DIRECTORY [MODELS] [SCHEMAS]\n"
               "       registry_bench --audit DIRECTORY [RECORDS]\n"
               "       registry_bench --times DIRECTORY [VERSIONS] [FILES]\n");
    return 2;
  }
  if (mode == "--times") {
    return BenchTimes(argv[2], argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1000,
                      argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 1000);
  }
  if (mode == "--audit") {
    return BenchAudit(argv[2], argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1'000'000);
  }
  const uint64_t models = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  const uint64_t schemas = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 100;
  const uint64_t each = models / schemas;
  LmdbOptions options;
  options.directory = argv[1];
  options.mode = LmdbOptions::Mode::kCreate;
  options.unsafe_no_sync = true;  // filling is not measured
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
