// The mount of a ZoneWorld, served by threads of the test's own process, with a store that trusts nothing
// yet.
#pragma once

#include <gtest/gtest.h>

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
    store::Registry* registry = nullptr;      // instead of the world's
    store::Governance* governance = nullptr;  // likewise
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

}  // namespace modelfs::fs
