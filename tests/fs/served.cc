#include "tests/fs/served.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <future>
#include <utility>

#include "cas/base/check.h"
#include "cas/base/clock.h"
#include "cas/base/fd.h"

namespace modelfs::fs {

std::string WhyNoMount() {
  if (::access("/dev/fuse", R_OK | W_OK) != 0) return "no access to /dev/fuse";
  if (::geteuid() != 0) return "mounting in this test needs root";
  return "";
}

Served::Served(ZoneWorld& world, const Options& options) : mount_(world.directory + "/mnt") {
  std::filesystem::create_directories(mount_);
  auto store = cas::LocalStore::Open(cas::RealFiles(),
                                     {.root = world.directory + "/blobs", .hash_threads = 0, .log = nullptr});
  CHECK(store.ok());
  blobs_ = *std::move(store);
  auto drafts =
      cas::DraftStore::Open(cas::RealFiles(), {.root = world.directory + "/drafts", .blobs = blobs_.get()});
  CHECK(drafts.ok());
  drafts_ = *std::move(drafts);
  MountParts parts;
  parts.registry = options.registry != nullptr ? options.registry : world.registry.get();
  parts.governance = options.governance != nullptr ? options.governance : world.registry.get();
  parts.journal = world.registry.get();
  parts.leases = world.registry.get();
  parts.speaker = world.request.caller.speaker;
  parts.daemon = world.context.daemon;
  parts.identities = world.identities.get();
  parts.blobs = options.tier ? options.tier(*blobs_) : blobs_.get();
  parts.drafts = drafts_.get();
  parts.log = std::make_shared<spdlog::logger>("mount", std::make_shared<spdlog::sinks::null_sink_mt>());
  MountOptions mounting;
  mounting.mount_point = mount_;
  mounting.source = world.directory;
  mounting.passthrough = options.passthrough;
  mounting.small_file_bytes = options.small_file_bytes;
  auto daemon = MountDaemon::Mount(parts, mounting);
  if (!daemon.ok()) ADD_FAILURE() << daemon.error().message();
  CHECK(daemon.ok());
  daemon_ = *std::move(daemon);
  std::promise<void> ready;
  thread_ = std::thread([this, &ready] {
    daemon_->Serve([&ready] { ready.set_value(); }).IgnoreError("the test meets what is wrong itself");
  });
  ready.get_future().wait();
}

Served::~Served() {
  daemon_->Stop();
  thread_.join();
  daemon_.reset();
  ::umount2(mount_.c_str(), MNT_DETACH);
}

std::string Served::path(std::string_view below) const { return fmt::format("{}/{}", mount_, below); }

int Errno(int result) { return result < 0 ? errno : 0; }

int OpenErrno(const std::string& path, int flags) {
  const Fd file(::open(path.c_str(), flags | O_CLOEXEC, 0644));
  return file.valid() ? 0 : errno;
}

std::string ReadFd(int fd) {
  std::string content;
  std::array<char, 4096> buffer;
  while (true) {
    const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(content.size()));
    if (count < 0) return fmt::format("<errno {}>", errno);
    if (count == 0) return content;
    content.append(buffer.data(), static_cast<size_t>(count));
  }
}

std::string ReadPath(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file.valid() ? ReadFd(file.get()) : fmt::format("<errno {}>", errno);
}

bool Eventually(const std::function<bool()>& condition) {
  const Deadline deadline = Deadline::After(std::chrono::seconds(30));
  while (!condition()) {
    if (deadline.Passed()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace modelfs::fs
