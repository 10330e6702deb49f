// One kernel request and the single answer it is owed. Move-only. Dropped unanswered it answers EIO, so a
// forgotten path costs the caller an error and never leaves a process hanging.
//
// False from an answer that hands something over (an entry, an open file): the request was interrupted,
// the kernel does not know of it, and what was counted for it is to be undone (fuse_lowlevel.h,
// fuse_reply_entry, -ENOENT).
#pragma once

#include <fuse_lowlevel.h>

#include <cerrno>
#include <span>
#include <string_view>
#include <utility>

namespace modelfs::fs {

class Reply {
 public:
  explicit Reply(fuse_req_t request) : request_(request) {}
  ~Reply() {
    if (request_ != nullptr) Error(EIO);
  }
  Reply(Reply&& other) noexcept : request_(std::exchange(other.request_, nullptr)) {}
  Reply& operator=(Reply&&) = delete;

  // For asking about the request; the answer stays owed.
  fuse_req_t request() const { return request_; }

  void Ok() { Error(0); }
  void Error(int errno_value) { fuse_reply_err(Take(), errno_value); }
  void None() { fuse_reply_none(Take()); }
  bool Entry(const fuse_entry_param& entry) { return fuse_reply_entry(Take(), &entry) == 0; }
  bool Created(const fuse_entry_param& entry, const fuse_file_info& file) {
    return fuse_reply_create(Take(), &entry, &file) == 0;
  }
  bool Opened(const fuse_file_info& file) { return fuse_reply_open(Take(), &file) == 0; }
  void Attr(const struct stat& attr, double ttl_s) { fuse_reply_attr(Take(), &attr, ttl_s); }
  void Link(const char* target) { fuse_reply_readlink(Take(), target); }
  void Written(size_t count) { fuse_reply_write(Take(), count); }
  void Bytes(const void* data, size_t size_bytes) {
    fuse_reply_buf(Take(), static_cast<const char*>(data), size_bytes);
  }
  // `size_bytes` at `offset_bytes` of a descriptor, spliced where the kernel can.
  void File(int fd, size_t size_bytes, uint64_t offset_bytes) {
    fuse_bufvec buffers = {};  // FUSE_BUFVEC_INIT is C: a compound literal
    buffers.count = 1;
    buffers.buf[0].size = size_bytes;
    buffers.buf[0].flags = static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK);
    buffers.buf[0].fd = fd;
    buffers.buf[0].pos = static_cast<off_t>(offset_bytes);
    fuse_reply_data(Take(), &buffers, FUSE_BUF_SPLICE_MOVE);
  }
  void XattrSize(size_t size_bytes) { fuse_reply_xattr(Take(), size_bytes); }
  void FileSystem(const struct statvfs& numbers) { fuse_reply_statfs(Take(), &numbers); }
  void Offset(uint64_t offset_bytes) { fuse_reply_lseek(Take(), static_cast<off_t>(offset_bytes)); }

  // For an answer that is composed elsewhere (FuseChannel::ReplyOpenNative).
  fuse_req_t Take() { return std::exchange(request_, nullptr); }

 private:
  fuse_req_t request_;
};

}  // namespace modelfs::fs
