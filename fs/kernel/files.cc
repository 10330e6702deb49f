#include <fcntl.h>

#include <span>
#include <utility>
#include <vector>

#include "fs/kernel/call.h"

namespace modelfs::fs {
namespace {

// Below this, copying a reply costs less than the system calls of splicing it.
constexpr size_t kMinSpliceBytes = size_t{32} << 10U;

}  // namespace

uint64_t Dispatcher::Keep(std::shared_ptr<OpenFile> file) {
  const uint64_t serial = next_serial_.fetch_add(1, std::memory_order_relaxed);
  MutexLock lock(files_mu_);
  files_.emplace(serial, std::move(file));
  return serial;
}

Outcome<std::shared_ptr<Dispatcher::OpenFile>> Dispatcher::FileOf(const Request& request, NodeId node,
                                                                  const fuse_file_info& info) {
  {
    MutexLock lock(files_mu_);
    if (const auto found = files_.find(info.fh); found != files_.end()) return found->second;
  }
  Request who = request;
  NameCaller(who);
  Outcome<OpenedFile> opened = ZoneOf(node).Open(who, node, info.flags & ~O_TRUNC);
  if (!opened) return tl::unexpected(opened.error());
  auto file = std::make_shared<OpenFile>();
  file->node = node;
  file->handle = std::move(opened->handle);
  MutexLock lock(files_mu_);
  return files_.emplace(info.fh, std::move(file)).first->second;
}

void Dispatcher::FinishOpen(Call& call, NodeId node, const OpenedFile& opened, const fuse_file_info& asked) {
  auto file = std::make_shared<OpenFile>();
  file->node = node;
  file->handle = opened.handle;

  OpenModes::Backing backing;
  const std::optional<int> fd = opened.handle->NativeFd();
  // Of either flavour: a small file is verified by the open itself, of the nodeid by which it was looked up.
  if (Parse(node).kind == NodeKind::kTree && fd && channel_->passthrough()) {
    backing.open = [this, &fd] { return channel_->OpenBacking(*fd); };
    backing.close = [this](int32_t id) { channel_->CloseBacking(id); };
  }
  const Result<OpenModes::Mode> mode = modes_.Opened(node, opened.handle->File(), backing);
  if (!mode.ok()) return Answer(call, {EIO, mode.error().message()});
  file->counted = true;

  fuse_file_info info = asked;
  info.fh = Keep(file);
  info.direct_io = opened.page_cache == PageCache::kDirect ? 1 : 0;
  info.keep_cache = opened.page_cache == PageCache::kKeep && mode->keep_pages ? 1 : 0;
  // Reading leaves nothing to flush; for writers the kernel writes back what is mapped.
  info.noflush = (asked.flags & O_ACCMODE) == O_RDONLY ? 1 : 0;
  const bool known = mode->backing_id ? channel_->ReplyOpenNative(call.reply.Take(), info, *mode->backing_id)
                                      : call.reply.Opened(info);
  if (!known) Release(info.fh);
}

void Dispatcher::Open(Call& call, NodeId node, const fuse_file_info& info) {
  const Outcome<OpenedFile> opened = ZoneOf(node).Open(call.request(), node, info.flags);
  if (!opened) return Answer(call, opened.error());
  FinishOpen(call, node, *opened, info);
}

void Dispatcher::Create(Call& call, NodeId parent, std::string_view name, mode_t mode,
                        const fuse_file_info& info) {
  const Outcome<CreatedFile> created = ZoneOf(parent).Create(call.request(), parent, name, mode, info.flags);
  if (!created) return Answer(call, created.error());
  const NodeId node = created->entry.node;
  if (IsCounted(node)) names_.Remember(node, parent, name);
  auto file = std::make_shared<OpenFile>();
  file->node = node;
  file->handle = created->file.handle;
  file->counted = modes_.Opened(node, std::nullopt, {}).ok();  // what can be written is never passed through
  fuse_file_info answer = info;
  answer.fh = Keep(file);
  answer.keep_cache = created->file.page_cache == PageCache::kKeep ? 1 : 0;
  answer.direct_io = created->file.page_cache == PageCache::kDirect ? 1 : 0;
  CountLookup(node);
  if (call.reply.Created(ParamOf(created->entry), answer)) return;
  Release(answer.fh);
  Forgotten(node, 1);
}

void Dispatcher::Read(Call& call, NodeId node, size_t size_bytes, uint64_t offset_bytes,
                      const fuse_file_info& info) {
  const Outcome<std::shared_ptr<OpenFile>> file = FileOf(call.request(), node, info);
  if (!file) return Answer(call, file.error());
  if (size_bytes >= kMinSpliceBytes) {
    if (const std::optional<int> fd = (*file)->handle->NativeFd()) {
      return call.reply.File(*fd, size_bytes, offset_bytes);
    }
  }
  // A session thread's own: as large as the largest read it met, max_write at the most.
  thread_local std::vector<std::byte> buffer;
  if (buffer.size() < size_bytes) buffer.resize(size_bytes);
  const Outcome<size_t> count =
      (*file)->handle->Read(offset_bytes, std::span<std::byte>(buffer.data(), size_bytes));
  if (!count) return Answer(call, count.error());
  call.reply.Bytes(buffer.data(), *count);
}

Outcome<size_t> Dispatcher::Store(const Request& request, NodeId node, std::span<const std::byte> bytes,
                                  uint64_t offset_bytes, const fuse_file_info& info) {
  const Outcome<std::shared_ptr<OpenFile>> file = FileOf(request, node, info);
  if (!file) return tl::unexpected(file.error());
  Outcome<size_t> count = (*file)->handle->Write(offset_bytes, bytes);
  // The kernel looks at no count of what it writes back (Linux fs/fuse/file.c, fuse_writepage_end): what
  // there was no room for is tried again, which tells why.
  while (info.writepage != 0 && count && *count < bytes.size()) {
    Outcome<size_t> more = (*file)->handle->Write(offset_bytes + *count, bytes.subspan(*count));
    if (!more) return more;
    *count += *more;
  }
  return count;
}

void Dispatcher::Write(Call& call, NodeId node, std::span<const std::byte> bytes, uint64_t offset_bytes,
                       const fuse_file_info& info) {
  const Outcome<size_t> count = Store(call.request(), node, bytes, offset_bytes, info);
  if (count) return call.reply.Written(*count);
  // write(2) answers its caller; these come from a mapping, and only an msync(2) would hear of it.
  if (info.writepage != 0) ZoneOf(node).LostBytes(node);
  Answer(call, count.error());
}

void Dispatcher::Release(uint64_t serial) {
  std::shared_ptr<OpenFile> file;
  {
    MutexLock lock(files_mu_);
    const auto found = files_.find(serial);
    if (found == files_.end()) return;  // of an earlier process, and never used in this one
    file = std::move(found->second);
    files_.erase(found);
  }
  if (file->counted) modes_.Closed(file->node, [this](int32_t id) { channel_->CloseBacking(id); });
}

}  // namespace modelfs::fs
