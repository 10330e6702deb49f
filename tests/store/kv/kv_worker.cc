// A separate process for the tests of the engine that need several, or one that ends in the middle.
//
//   kv_worker put HOME KEY VALUE        one commit
//   kv_worker put-cut HOME KEY VALUE    one commit, killed once LMDB has written it, before readers see it
//   kv_worker put-stop HOME KEY VALUE   one commit, stopped there
//   kv_worker stop-opening HOME         stopped while it has the lock of those that open the environment
//   kv_worker get HOME KEY              prints the value, if any
//   kv_worker storm HOME COUNT          that many commits, as fast as possible
//   kv_worker read-many HOME COUNT      that many snapshots at once, each read; says "read"
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "store/kv/lmdb_kv.h"
#include "store/kv/lock_file.h"
#include "tests/store/kv/meta_signal.h"
#include "tests/store/kv/must.h"

namespace {

using namespace modelfs;         // NOLINT(google-build-using-namespace): a program of one file
using namespace modelfs::store;  // NOLINT(google-build-using-namespace)

void Say(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

void Put(Kv& kv, const std::string& key, const std::string& value) {
  KvTransaction transaction;
  transaction.Put(key, value);
  transaction.log_entry = "put";
  Must(kv.Commit(transaction));
}

int Run(const std::vector<const char*>& args) {
  const std::string command = args.at(1);
  if (command == "stop-opening") {
    const auto locks = Must(LockFile::Open(fmt::format("{}/writer.lock", args.at(2))));
    const auto held = Must(locks->Take(LockFile::Lock::kOpening, Deadline::Never()));
    ::raise(SIGSTOP);
    return 0;
  }
  LmdbOptions options;
  options.directory = args.at(2);
  options.unsafe_no_sync = command == "storm";  // the disk does not matter here, and more commits collide
  const auto kv = Must(OpenLmdbKv(options));
  if (command == "get") {
    const auto entry = Must(Must(kv->Read())->Get(args.at(3)));
    if (entry) Say(entry->value);
  } else if (command == "storm") {
    for (int i = 0; i < std::atoi(args.at(3)); ++i) Put(*kv, std::to_string(::getpid()), std::to_string(i));
  } else if (command == "read-many") {
    std::vector<std::unique_ptr<Snapshot>> snapshots;
    for (int i = 0; i < std::atoi(args.at(3)); ++i) {
      snapshots.push_back(Must(kv->Read()));
      Must(snapshots.back()->Get("a"));
    }
    Say("read");
  } else {
    if (command == "put-cut") testing::signal_at_meta = SIGKILL;
    if (command == "put-stop") testing::signal_at_meta = SIGSTOP;
    Put(*kv, args.at(3), args.at(4));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return Run({argv, argv + argc}); }
