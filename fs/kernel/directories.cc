#include <sys/stat.h>

#include <vector>

#include "fs/kernel/call.h"

namespace modelfs::fs {
void Dispatcher::OpenDir(Call& call, NodeId node, const fuse_file_info& info) {
  const Outcome<OpenedDirectory> opened = ZoneOf(node).OpenDirectory(call.request(), node);
  if (!opened) return Answer(call, opened.error());
  auto directory = std::make_shared<OpenDirectory>();
  directory->node = node;
  directory->handle = opened->handle;
  directory->epoch = call.epoch();
  fuse_file_info answer = info;
  answer.fh = next_serial_.fetch_add(1, std::memory_order_relaxed);
  answer.cache_readdir = opened->kernel_may_keep ? 1 : 0;
  answer.keep_cache = answer.cache_readdir;
  {
    MutexLock lock(directories_mu_);
    directories_.emplace(answer.fh, std::move(directory));
  }
  if (call.reply.Opened(answer)) return;
  MutexLock lock(directories_mu_);
  directories_.erase(answer.fh);
}

Outcome<std::shared_ptr<Dispatcher::OpenDirectory>> Dispatcher::DirectoryOf(const Request& request,
                                                                            NodeId node, uint64_t serial) {
  {
    MutexLock lock(directories_mu_);
    if (const auto found = directories_.find(serial); found != directories_.end()) return found->second;
  }
  Request who = request;
  NameCaller(who);
  const uint64_t epoch = options_.acls != nullptr ? options_.acls->epoch() : 0;
  Outcome<OpenedDirectory> opened = ZoneOf(node).OpenDirectory(who, node);
  if (!opened) return tl::unexpected(opened.error());
  auto directory = std::make_shared<OpenDirectory>();
  directory->node = node;
  directory->handle = std::move(opened->handle);
  directory->epoch = epoch;
  MutexLock lock(directories_mu_);
  return directories_.emplace(serial, std::move(directory)).first->second;
}

// Offsets: 1 is after ".", 2 after "..", 3 + i after the entry at index i.
void Dispatcher::ReadDir(Call& call, NodeId node, size_t size_bytes, uint64_t offset, uint64_t serial,
                         bool plus) {
  const Outcome<std::shared_ptr<OpenDirectory>> directory = DirectoryOf(call.request(), node, serial);
  if (!directory) return Answer(call, directory.error());
  // A listing is as old as its open, and a reader may hold the directory open and read it again. The kernel
  // would take an owner from that time for the present one and cache it. So an old listing leaves out the
  // attributes, and the kernel looks up those that it needs.
  const bool with_attrs = plus && !IsOld((*directory)->epoch);

  thread_local std::vector<char> buffer;
  if (buffer.size() < size_bytes) buffer.resize(size_bytes);
  size_t used = 0;
  // The nodes that the kernel counts as looked up once it has the reply.
  std::vector<NodeId> counted;
  std::vector<NodeId> told;  // the kernel has their attributes now
  const auto add = [&](const char* name, const fuse_entry_param& entry, uint64_t next_offset) {
    char* const at = buffer.data() + used;
    const size_t room = size_bytes - used;
    const auto next = static_cast<off_t>(next_offset);
    const size_t need = plus ? fuse_add_direntry_plus(call.reply.request(), at, room, name, &entry, next)
                             : fuse_add_direntry(call.reply.request(), at, room, name, &entry.attr, next);
    if (need > room) return false;
    used += need;
    return true;
  };

  bool room_left = true;
  while (room_left) {
    if (offset < 2) {
      // These two show only inode number and type; nodeid 0 does not count as a lookup.
      fuse_entry_param entry = {};
      NodeId shown = node;
      if (offset == 1) shown = ZoneOf(node).ParentOf(node).value_or(node);
      entry.attr.st_ino = InodeNumber(shown);
      entry.attr.st_mode = S_IFDIR;
      room_left = add(offset == 0 ? "." : "..", entry, offset + 1);
      ++offset;
      continue;
    }
    const uint64_t index = offset - 2;
    Outcome<std::optional<DirectoryEntry>> found = (*directory)->handle->At(index, with_attrs);
    if (!found) {
      // The entries listed so far are returned; the next call meets the failure again.
      if (used == 0) return Answer(call, found.error());
      break;
    }
    if (!*found) break;
    const DirectoryEntry& listed = **found;
    fuse_entry_param entry = {};
    if (with_attrs && listed.entry) {
      entry = ParamOf(*listed.entry);
    } else {
      entry.attr.st_ino = InodeNumber(listed.node);
      entry.attr.st_mode = listed.type;
    }
    room_left = add(listed.name.c_str(), entry, offset + 1);
    if (!room_left) break;
    if (with_attrs && listed.entry) {
      if (options_.acls != nullptr) told.push_back(entry.ino);
      if (IsCounted(entry.ino)) {
        names_.Remember(entry.ino, node, listed.name);
        CountLookup(entry.ino);
        counted.push_back(entry.ino);
      }
    }
    ++offset;
  }
  if (fuse_reply_buf(call.reply.Take(), buffer.data(), used) != 0) {
    for (const NodeId looked_up : counted) Forgotten(looked_up, 1);
    return;
  }
  GaveAttrs(call, told);
}

}  // namespace modelfs::fs
