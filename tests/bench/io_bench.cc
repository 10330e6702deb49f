// Reads two copies of the same data in turn, A B A B …, and prints the time of each round, one JSON object
// per line. tests/bench/bench.py runs it on a file of the mount and on the blob file behind it.
//
//   io_bench sequential A B ROUNDS        read(2) through the file, 1 MiB at a time
//   io_bench random A B ROUNDS COUNT      pread(2) of 4 KiB at COUNT random offsets, the same for both
//   io_bench mmap A B ROUNDS              mmap(2), then every byte summed
//   io_bench small DIR_A DIR_B ROUNDS     open, read, close of every file in a directory
//   io_bench rename LINK_A LINK_B ROUNDS  moves a symlink between two targets: temporary name, then rename(2)
#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/fd.h"

namespace {

using modelfs::Fd;

constexpr size_t kReadBytes = size_t{1} << 20U;
constexpr size_t kPageBytes = 4096;
constexpr uint64_t kSeed = 20261122;

uint64_t g_sink = 0;  // a use of each result, so that the compiler keeps the reads

[[noreturn]] void Die(std::string_view what) {
  std::perror(std::string(what).c_str());
  std::exit(1);
}

Fd OpenOrDie(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) Die(path);
  return fd;
}

uint64_t SizeOf(const Fd& fd) {
  struct stat info = {};
  if (::fstat(fd.get(), &info) != 0) Die("fstat");
  return static_cast<uint64_t>(info.st_size);
}

// Returns the number of bytes read.
uint64_t Sequential(const std::string& path) {
  const Fd fd = OpenOrDie(path);
  std::vector<char> buffer(kReadBytes);
  uint64_t total = 0;
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0) Die(path);
    if (count == 0) return total;
    g_sink += static_cast<unsigned char>(buffer[0]);
    total += static_cast<uint64_t>(count);
  }
}

uint64_t Random(const std::string& path, size_t reads) {
  const Fd fd = OpenOrDie(path);
  const uint64_t pages = SizeOf(fd) / kPageBytes;
  std::mt19937_64 random(kSeed);
  std::vector<char> buffer(kPageBytes);
  for (size_t i = 0; i < reads; ++i) {
    const auto offset = static_cast<off_t>((random() % pages) * kPageBytes);
    if (::pread(fd.get(), buffer.data(), buffer.size(), offset) != static_cast<ssize_t>(kPageBytes))
      Die(path);
    g_sink += static_cast<unsigned char>(buffer[0]);
  }
  return reads;
}

uint64_t Mapped(const std::string& path) {
  const Fd fd = OpenOrDie(path);
  const uint64_t size_bytes = SizeOf(fd);
  void* mapping = ::mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (mapping == MAP_FAILED) Die(path);
  uint64_t sum = 0;
  for (const uint64_t word : std::span(static_cast<const uint64_t*>(mapping), size_bytes / sizeof(uint64_t)))
    sum += word;
  g_sink += sum;
  ::munmap(mapping, size_bytes);
  return size_bytes;
}

uint64_t SmallFiles(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(directory.c_str()), ::closedir);
  if (listing == nullptr) Die(directory);
  std::vector<char> buffer(kReadBytes);
  uint64_t files = 0;
  while (const dirent* entry = ::readdir(listing.get())) {
    if (entry->d_type != DT_REG) continue;
    const Fd fd(::openat(::dirfd(listing.get()), entry->d_name, O_RDONLY | O_CLOEXEC));
    if (!fd.valid() || ::read(fd.get(), buffer.data(), buffer.size()) < 0) Die(entry->d_name);
    ++files;
  }
  return files;
}

// Points `link` at `target` as `ln -sfn` does: a temporary name, then rename.
uint64_t MoveLink(const std::string& link, const std::string& target) {
  const std::string temporary = link.substr(0, link.rfind('/')) + "/.bench";
  if (::symlink(target.c_str(), temporary.c_str()) != 0) Die(temporary);
  if (::rename(temporary.c_str(), link.c_str()) != 0) Die(link);
  return 1;
}

void Time(std::string_view work, std::string_view side, const std::function<uint64_t()>& run) {
  const auto start = std::chrono::steady_clock::now();
  const uint64_t units = run();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("{{\"work\": \"{}\", \"side\": \"{}\", \"units\": {}, \"seconds\": {:.9f}}}\n", work, side,
             units, took.count());
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.size() < 4) {
    fmt::print(stderr, "usage: io_bench sequential|random|mmap|small|rename A B ROUNDS [COUNT]\n");
    return 2;
  }
  const std::string& work = args[0];
  const int rounds = std::atoi(args[3].c_str());
  std::function<uint64_t(const std::string&)> run;
  if (work == "sequential") {
    run = Sequential;
  } else if (work == "random") {
    const size_t reads = args.size() > 4 ? static_cast<size_t>(std::atoll(args[4].c_str())) : 100000;
    run = [reads](const std::string& path) { return Random(path, reads); };
  } else if (work == "mmap") {
    run = Mapped;
  } else if (work == "small") {
    run = SmallFiles;
  } else if (work == "rename") {
    for (int i = 0; i < rounds; ++i) {
      const std::string target = i % 2 == 0 ? "../versions/1" : "../versions/2";
      Time(work, "A", [&] { return MoveLink(args[1], target); });
      Time(work, "B", [&] { return MoveLink(args[2], target); });
    }
    return 0;
  } else {
    fmt::print(stderr, "io_bench: unknown work {}\n", work);
    return 2;
  }
  run(args[1]);  // warm both before the first measured round
  run(args[2]);
  for (int i = 0; i < rounds; ++i) {
    Time(work, "A", [&] { return run(args[1]); });
    Time(work, "B", [&] { return run(args[2]); });
  }
  return g_sink == 1 ? 3 : 0;
}
