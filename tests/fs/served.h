// The mount of a ZoneWorld, served by threads of the test's own process, with a store that trusts nothing
// yet.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "cas/drafts/draft_store.h"
#include "cas/local/local_store.h"
#include "fs/mount_daemon.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {

// The reason why no mount is possible here; empty if it is.
std::string WhyNoMount();
#define SKIP_WITHOUT_MOUNT() \
  if (const std::string why = ::modelfs::fs::WhyNoMount(); !why.empty()) GTEST_SKIP() << why

class Served {
 public:
  struct Options {
    bool passthrough = true;
    uint64_t small_file_bytes = 0;        // small files are passed through, too: most tests have no others
    store::Registry* registry = nullptr;  // instead of the world's
    store::Governance* governance = nullptr;  // likewise
    // What stands on the store of this host; empty: that store itself.
    std::function<cas::BlobStore*(cas::LocalStore& host)> tier = {};
  };
  explicit Served(ZoneWorld& world) : Served(world, Options{}) {}
  Served(ZoneWorld& world, const Options& options);
  ~Served();
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  std::string path(std::string_view below) const;

 private:
  const std::string mount_;
  std::unique_ptr<cas::LocalStore> blobs_;
  std::unique_ptr<cas::DraftStore> drafts_;
  std::unique_ptr<MountDaemon> daemon_;
  std::thread thread_;
};

// Small system calls: 0 or the positive errno.
int Errno(int result);
int OpenErrno(const std::string& path, int flags);
std::string ReadFd(int fd);  // from its beginning; "<errno 2>" if it cannot be read
std::string ReadPath(const std::string& path);
// Waits for it, for a generous while.
bool Eventually(const std::function<bool()>& condition);

}  // namespace modelfs::fs
