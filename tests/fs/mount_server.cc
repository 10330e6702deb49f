// A mount for tests, as a process of its own that can be killed:
//   mount_server DIRECTORY MOUNT_POINT [DRAFT_LIFETIME_S [private|shared [IDENTITY_MAP]]]
// Makes a registry in DIRECTORY if it has none, and writes "ready" to its standard output once the mount
// answers. SIGTERM unmounts.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "cas/drafts/draft_store.h"
#include "cas/local/local_store.h"
#include "fs/mount_daemon.h"
#include "store/embedded/embedded_registry.h"
#include "store/identity/host_identities.h"
#include "store/kv/lmdb_kv.h"
#include "tests/store/kv/meta_signal.h"

namespace {

modelfs::fs::MountDaemon* running = nullptr;
void StopRunning(int /*signal*/) { running->Stop(); }

modelfs::Status Serve(const std::string& directory, const std::string& mount_point, int64_t draft_lifetime_s,
                      bool shared, const std::string& identity_map, std::chrono::milliseconds lock_wait) {
  using namespace modelfs;  // NOLINT(google-build-using-namespace)
  const bool is_new = !std::filesystem::exists(directory + "/kv");
  std::filesystem::create_directories(directory + "/kv");
  using Mode = store::LmdbOptions::Mode;
  ASSIGN_OR_RETURN(const auto kv, store::OpenLmdbKv({.directory = directory + "/kv",
                                                     .mode = is_new ? Mode::kCreate : Mode::kOpenExisting,
                                                     .lock_wait = lock_wait,
                                                     .initial_map_bytes = uint64_t{1} << 20U,
                                                     .unsafe_no_sync = false}));
  ASSIGN_OR_RETURN(const auto blobs,
                   cas::LocalStore::Open(cas::RealFiles(),
                                         {.root = directory + "/store", .hash_threads = 0, .log = nullptr}));
  const auto log = spdlog::stderr_logger_mt("mount");
  log->set_level(spdlog::level::warn);
  ASSIGN_OR_RETURN(const auto identities,
                   store::HostIdentities::Open(
                       {.map_file = identity_map, .database = nullptr, .clock = nullptr, .log = log}));
  const store::Caller owner = identities->ProcessCaller("test");
  if (is_new) {
    RETURN_IF_ERROR(store::InitializeRegistry(*kv, SystemClock(), owner,
                                              store::RegistrySettings::SignaturePolicy::kIfMlmodel));
  }
  ASSIGN_OR_RETURN(const auto registry,
                   store::EmbeddedRegistry::Open(*kv, *blobs, SystemClock(), identities.get()));
  ASSIGN_OR_RETURN(const auto drafts, cas::DraftStore::Open(cas::RealFiles(), {.root = directory + "/drafts",
                                                                               .blobs = blobs.get()}));

  fs::MountParts parts;
  parts.registry = registry.get();
  parts.governance = registry.get();
  parts.journal = registry.get();
  parts.leases = registry.get();
  ASSIGN_OR_RETURN(parts.speaker, registry->AdmitMount(owner, mount_point,
                                                       shared ? store::Speaker::For::kLocalUsers
                                                              : store::Speaker::For::kOwner));
  // Always this process's first commit, so that the count of a fail point is certain.
  RETURN_IF_ERROR(registry->FlushAudit());
  parts.daemon = registry->ForUpkeep(owner);
  parts.blobs = blobs.get();
  parts.drafts = drafts.get();
  parts.identities = identities.get();
  parts.log = log;
  fs::MountOptions options;
  options.mount_point = mount_point;
  options.source = directory;
  options.draft_lifetime_s = draft_lifetime_s;
  options.allow_other = shared;
  ASSIGN_OR_RETURN(const auto daemon, fs::MountDaemon::Mount(parts, options));
  running = daemon.get();
  std::signal(SIGTERM, StopRunning);
  const Status served = daemon->Serve([] {
    std::puts("ready");
    std::fflush(stdout);
  });
  std::signal(SIGTERM, SIG_DFL);
  return served;
}

}  // namespace

int main(int argc, char** argv) {
  struct sigaction cut_off = {};
  cut_off.sa_flags = SA_SIGINFO | SA_RESTART;
  cut_off.sa_sigaction = [](int, siginfo_t* info, void*) {
    modelfs::testing::metas_to_go = info->si_value.sival_int;
    modelfs::testing::signal_at_meta = SIGKILL;
  };
  ::sigaction(SIGUSR1, &cut_off, nullptr);
  if (argc < 3) return 2;
  constexpr int64_t kWeek = int64_t{7} * 24 * 60 * 60;
  const bool shared = argc > 4 && std::string(argv[4]) == "shared";
  const modelfs::Status served =
      Serve(argv[1], argv[2], argc > 3 ? std::atoll(argv[3]) : kWeek, shared, argc > 5 ? argv[5] : "",
            std::chrono::milliseconds(argc > 6 ? std::atoll(argv[6]) : 10'000));
  if (served.ok()) return 0;
  std::fprintf(stderr, "mount_server: %s\n", served.error().message().c_str());
  return 1;
}
