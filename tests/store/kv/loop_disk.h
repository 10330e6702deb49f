// A small disk with a real file system, for as long as this lives. Needs root and loop devices.
#pragma once

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "cas/base/fd.h"

namespace modelfs::testing {

class LoopDisk {
 public:
  // `file_system`: tmpfs, ext4, xfs or btrfs. Makes the directory `path`, and an image beside it.
  LoopDisk(const std::string& path, const std::string& file_system) : path_(path) {
    std::filesystem::create_directories(path);
    if (file_system == "tmpfs") {
      failure_ = Mount("tmpfs", file_system, "size=16m");
      return;
    }
    image_ = path + ".img";
    // The smallest size that xfs accepts.
    const Fd image(::open(image_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (::ftruncate(image.get(), 320 << 20) != 0) failure_ = "the image cannot be made";
    if (failure_.empty() && std::system(fmt::format("mkfs.{} {} {} >/dev/null 2>&1", file_system,
                                                    file_system == "ext4" ? "-q -F" : "-q -f", image_)
                                            .c_str()) != 0) {
      failure_ = fmt::format("mkfs.{} failed; scripts/install_deps test installs it", file_system);
    }
    if (failure_.empty()) failure_ = Attach(image.get());
    if (failure_.empty()) failure_ = Mount(device_, file_system, nullptr);
  }
  ~LoopDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    loop_.Reset();  // the device releases the image with its last user
    if (!image_.empty()) ::unlink(image_.c_str());
  }
  LoopDisk(const LoopDisk&) = delete;
  LoopDisk& operator=(const LoopDisk&) = delete;

  const std::string& path() const { return path_; }
  const std::string& device() const { return device_; }
  // The reason why the disk is missing; empty: it is mounted.
  const std::string& failure() const { return failure_; }

  // Takes the very last block, and goes on until all delayed writes of the file system are done.
  void Fill() const {
    for (const size_t bytes : {size_t{1} << 20U, size_t{4096}, size_t{4096}}) {
      const Fd fd(::open((path_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
      const std::string block(bytes, 'f');
      while (fd.valid() && ::write(fd.get(), block.data(), block.size()) > 0) {
      }
      if (fd.valid()) ::syncfs(fd.get());
    }
  }

 private:
  std::string Mount(const std::string& what, const std::string& file_system, const char* options) {
    mounted_ = ::mount(what.c_str(), path_.c_str(), file_system.c_str(), 0, options) == 0;
    return mounted_ ? "" : fmt::format("mount -t {}: {}", file_system, std::strerror(errno));
  }
  std::string Attach(int image) {
    const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    // Another test may take the free one first.
    for (int attempt = 0; attempt < 100 && control.valid(); ++attempt) {
      const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
      if (number < 0) break;
      device_ = fmt::format("/dev/loop{}", number);
      loop_ = Fd(::open(device_.c_str(), O_RDWR | O_CLOEXEC));
      loop_config config = {};
      config.fd = static_cast<uint32_t>(image);
      config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
      if (loop_.valid() && ::ioctl(loop_.get(), LOOP_CONFIGURE, &config) == 0) return "";
    }
    return fmt::format("no loop device: {}", std::strerror(errno));
  }

  std::string path_;
  std::string image_;
  std::string device_;
  Fd loop_;
  bool mounted_ = false;
  std::string failure_;
};

}  // namespace modelfs::testing
