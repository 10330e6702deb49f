// A separate process for the tests that need several, or one that is killed. Prints a line for each
// acknowledged operation.
//
//   store_worker script HOME SEED STEPS       "t<n>" before and "a<n>" after each step
//   store_worker versions HOME MODEL COUNT    the number of each version it made
//   store_worker aliases HOME MODEL PREFIX COUNT   the outcome of each alias, set from threads of their own
//   store_worker lease HOME                   takes a lease and exits with it
//   store_worker fill HOME COUNT              writes that many values of 100 KB, past what the map held
//   store_worker init HOME                    makes a registry
//   store_worker rotate HOME AUDIT KEEP       moves all but KEEP audit records to files below AUDIT
//   store_worker hold HOME                    says "open" and has it open until it is killed
//   store_worker compact HOME                 makes data.mdb small
#include <fmt/core.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "store/embedded/embedded_registry.h"
#include "store/kv/lmdb_kv.h"
#include "tests/store/embedded/script.h"
#include "tests/store/kv/must.h"

namespace {

using namespace modelfs;         // NOLINT(google-build-using-namespace): a program of one file
using namespace modelfs::store;  // NOLINT(google-build-using-namespace)

Caller Ann() {
  Caller caller;
  caller.principal = "ann";
  caller.uid = 1000;
  caller.door = "worker";
  return caller;
}

void Say(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

ObjectId ModelAt(Registry& registry, const char* name) {
  return Must(registry.Lookup(Ann(), Must(FullName::Parse(name)))).id;
}

int Run(const std::vector<const char*>& args) {
  const std::string command = args.at(1);
  LmdbOptions options;
  options.directory = args.at(2);
  if (command == "init") options.mode = LmdbOptions::Mode::kCreate;
  options.initial_map_bytes = uint64_t{1} << 20U;
  if (command == "compact") {
    Say(std::to_string(Must(CompactLmdb(options, Compact::kDo)).bytes_after));
    return 0;
  }
  const auto kv = Must(OpenLmdbKv(options));
  if (command == "hold") {
    Say("open");
    while (true) ::pause();
  }
  if (command == "fill") {
    for (int i = 0; i < std::atoi(args.at(3)); ++i) {
      KvTransaction transaction;
      transaction.Put(fmt::format("fill{}", i), std::string(100'000, 'f'));
      Must(kv->Commit(transaction));
    }
    return 0;
  }
  if (command == "init") {
    Must(InitializeRegistry(*kv, SystemClock(), Ann(), RegistrySettings::SignaturePolicy::kIfMlmodel));
    Say("made");
    return 0;
  }
  testing::FakeBlobStore blobs;
  EmbeddedRegistryOptions registry_options;
  if (command == "rotate") registry_options.audit_directory = args.at(3);
  const auto registry =
      Must(EmbeddedRegistry::Open(*kv, blobs, SystemClock(), nullptr, std::move(registry_options)));
  if (command == "script") {
    const uint64_t seed = std::strtoull(args.at(3), nullptr, 10);
    for (int step = 0; step < std::atoi(args.at(4)); ++step) {
      Say(fmt::format("t{}", step));
      testing::PlayStep(*registry, blobs, Ann(), seed, step);
      Say(fmt::format("a{}", step));
    }
  } else if (command == "versions") {
    const ObjectId model = ModelAt(*registry, args.at(3));
    for (int i = 0; i < std::atoi(args.at(4)); ++i) {
      const Lease lease = Must(registry->AcquireLease(Ann(), "worker"));
      const Digest tree = blobs.PutTree({{"w", std::to_string(i)}}, lease.epoch);
      Say(std::to_string(Must(registry->CommitVersion(Ann(), model, tree, lease, {}, std::nullopt)).number));
      Must(registry->ReleaseLease(Ann(), lease));
    }
  } else if (command == "aliases") {
    const ObjectId model = ModelAt(*registry, args.at(3));
    std::vector<std::thread> threads;
    for (int i = 0; i < std::atoi(args.at(5)); ++i) {
      threads.emplace_back([&, i] {
        const auto set = registry->SetAlias(Ann(), model, fmt::format("{}{}", args.at(4), i), 1);
        Say(set.ok() ? "ok" : std::string(CodeName(set.error().code())));
      });
    }
    for (std::thread& thread : threads) thread.join();
  } else if (command == "rotate") {
    Say(std::to_string(
        Must(registry->RotateAudit(Ann(), {.keep = std::strtoull(args.at(4), nullptr, 10)})).records));
  } else if (command == "lease") {
    Say(Must(registry->AcquireLease(Ann(), "worker")).id);
  } else if (command == "remote-lease") {
    Say(Must(registry->AcquireLease(Ann(), "worker", LeaseHolder::kRemote)).id);
    ::raise(SIGKILL);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return Run({argv, argv + argc}); }
