#include "cas/local/export_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/fd.h"
#include "cas/local/target_directory.h"

namespace modelfs::cas {
namespace {

constexpr size_t kCopyBytes = size_t{1} << 20U;

Status CopyBlob(OpenBlob& blob, int out, const std::string& path) {
  const uint64_t size_bytes = blob.digest().size_bytes;
  uint64_t done = 0;
  // The kernel shares or copies the bytes itself if it can; the loop below copies the rest.
  if (const std::optional<int> native = blob.NativeFd(); native.has_value()) {
    off64_t from = 0;
    while (done < size_bytes) {
      const ssize_t count = ::copy_file_range(*native, &from, out, nullptr, size_bytes - done, 0);
      if (count == 0) break;
      if (count < 0) {
        if (errno == EINTR) continue;
        if (errno == ENOSPC || errno == EDQUOT || errno == EIO) return ErrnoError(errno, "write " + path);
        break;
      }
      done += static_cast<uint64_t>(count);
    }
  }
  std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBytes, size_bytes - done));
  while (done < size_bytes) {
    ASSIGN_OR_RETURN(const size_t count, blob.Read(done, buffer, Deadline::After(kPatience)));
    if (count == 0) return Error(Code::kDataLoss, blob.digest().ToString() + " is shorter than its size");
    for (size_t written = 0; written < count;) {
      const ssize_t n = ::write(out, buffer.data() + written, count - written);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "write " + path);
      written += static_cast<size_t>(n);
    }
    done += count;
  }
  return OkStatus();
}

Status SetMtime(int file, const FileTime& time, const std::string& path) {
  const std::array<timespec, 2> times = {timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                                         timespec{.tv_sec = time.s, .tv_nsec = time.ns}};
  if (::futimens(file, times.data()) != 0) return ErrnoError(errno, "set the time of " + path);
  return OkStatus();
}

}  // namespace

Status ExportTree(BlobStore& store, const Tree& tree, const TreeTimes& times, const std::string& directory,
                  const std::function<void(uint64_t bytes_done)>& progress) {
  CHECK(times.times().size() == tree.file_count());
  ASSIGN_OR_RETURN(TargetDirectory target, TargetDirectory::Open(directory));
  uint64_t done = 0;
  size_t file = 0;
  for (const TreeEntry& entry : tree.entries()) {
    if (entry.kind != EntryKind::kFile) {
      RETURN_IF_ERROR(target.MakeDirectory(entry.path));
      continue;
    }
    ASSIGN_OR_RETURN(const std::shared_ptr<OpenBlob> blob, store.Open(entry.blob));
    ASSIGN_OR_RETURN(const Fd out, target.CreateFile(entry.path, entry.executable ? 0777 : 0666));
    const std::string path = directory + "/" + entry.path;
    RETURN_IF_ERROR(CopyBlob(*blob, out.get(), path));
    RETURN_IF_ERROR(SetMtime(out.get(), times.times()[file++], path));
    done += entry.blob.size_bytes;
    if (progress) progress(done);
  }
  return target.Finish();
}

}  // namespace modelfs::cas
