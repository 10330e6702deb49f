// A registry's home on this host, opened: the one place that names the concrete classes.
//
//   HOME/registry/   LMDB: names, versions, aliases, tags, events, audit
//   HOME/audit/      the part of the audit log that was moved out (store/audit/files.h)
//   HOME/objects/ …  the artifacts (cas/local/local_store.h)
//   HOME/drafts/     versions that are still being written (cas/drafts/draft_store.h)
//   HOME/mounts/     one file for each mount that is up (tools/mounts.h)
//   HOME/gc.lock     held during a sweep (tools/gc.h); made early: a full disk may have no room for it
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "cas/drafts/draft_store.h"
#include "cas/local/local_store.h"
#include "store/embedded/embedded_registry.h"
#include "store/identity/host_identities.h"
#include "store/kv/kv.h"
#include "tools/place.h"
#include "tools/session.h"

namespace spdlog {
class logger;
}

namespace modelfs::tools {

// Below HOME.
inline constexpr std::string_view kSweepsLock = "/gc.lock";

// A registry in a directory of this host. Members are destroyed before those that they use.
struct LocalHome : Session {
  Fd held;            // the directory that was checked
  std::string files;  // the path for opening files in it: `path`, or `held` if other users could replace that
  std::shared_ptr<spdlog::logger> log;
  std::unique_ptr<store::Kv> kv;
  std::unique_ptr<cas::LocalStore> local_blobs;
  std::unique_ptr<cas::DraftStore> drafts;
  std::unique_ptr<store::HostIdentities> identities;
  std::unique_ptr<store::EmbeddedRegistry> embedded;
};

struct HomeOptions {
  std::string
      identity_map;  // a mapping file of the host's users; may be empty (store/identity/host_identities.h)
  unsigned lock_wait_s = 10;  // how long a change waits for other writers (store/kv/lmdb_kv.h)
};
inline constexpr unsigned kMostLockWaitS = 3600;

// The path of the registry: `option` (from -r), else $MODELFS_REGISTRY, made absolute.
//   kInvalidArgument   neither is given
//   kUnimplemented     a URL: this version has no remote registries
Result<std::string> HomePath(std::string_view option);

// The same for a command with names: a path under a mount determines its registry by itself.
//   kInvalidArgument   the names, or a name and the option, are of different registries
Result<std::string> HomePath(std::string_view option, const std::vector<const Place*>& places);

// The error for a home without a registry/data.mdb: kNotFound (run init) if nothing is there, kDataLoss
// (restore it) if the rest of a registry is.
Error NoRegistry(const std::string& home);

// Root may mount another user's home. This process then continues as that user, with CAP_SYS_ADMIN alone: it
// parses none of the user's files as root, and leaves no file that the user cannot use. Call it before any
// thread is started. It changes nothing for other users, nor for root in a home of its own.
Status BecomeOwnerOf(const std::string& home);
// Whether that would change anything.
bool WouldBecomeOwnerOf(const std::string& home);

// Makes the folders and the registry's first record. It also completes an init that was killed half-way.
//   kAlreadyExists        a registry is there
//   kPermissionDenied     the directory belongs to another user
//   kFailedPrecondition   the directory holds something else, or would lie on a file system that cannot
//                         hold a registry (a network's, a mount of modelfs); nothing was made
//   kDataLoss             it holds the artifacts of a registry whose data.mdb is gone: a new one would let
//                         the next sweep take them
Status MakeHome(const std::string& path, store::RegistrySettings::SignaturePolicy signature,
                const HomeOptions& options);

// A home that was checked and is held open, so that it stays the same even if others replace its path.
struct HeldHome {
  std::string path;  // the members are as in LocalHome
  Fd directory;
  std::string files;
};
// Checks, as far as the directory shows it, that this process may open the registry there.
//   kNotFound, kDataLoss  no registry is there (NoRegistry)
//   kPermissionDenied     it, or a part of it, belongs to another user; the message names the user. Root,
//   too,
//                         works in its own homes only: other users could not use the files that root leaves,
//                         and could choose the files that root opens
//   kFailedPrecondition   others can write in it, a part of it is a symlink or a FIFO, or its file system is
//                         read-only
Result<HeldHome> HoldHome(const std::string& path);

// Opens, and checks that the caller (this process) may use it. `door` is for the audit record.
//   kNotFound           no registry is there; the message says to run init
//   kDataLoss           its data.mdb is missing or damaged; the message says to restore it
//   and as HoldHome
Result<std::unique_ptr<LocalHome>> OpenHome(const std::string& path, std::string door,
                                            std::shared_ptr<spdlog::logger> log, const HomeOptions& options);
Result<std::unique_ptr<LocalHome>> OpenHome(HeldHome held, std::string door,
                                            std::shared_ptr<spdlog::logger> log, const HomeOptions& options);

// Moves old audit records to files if that is due (EmbeddedRegistry::TendAudit), and returns how many. A
// failure is logged: the audit log is whole then, and the next call tries again.
uint64_t TendAuditLog(LocalHome& home, store::EmbeddedRegistry::Tending when);

}  // namespace modelfs::tools
