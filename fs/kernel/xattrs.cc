#include <sys/xattr.h>

#include <cerrno>
#include <string>
#include <vector>

#include "fs/kernel/call.h"

namespace modelfs::fs {
namespace {

constexpr std::string_view kAclPrefix = "system.posix_acl_";
constexpr std::string_view kAccessAcl = "system.posix_acl_access";

}  // namespace

void Dispatcher::GetXattr(Call& call, NodeId node, std::string_view name, size_t size_bytes) {
  const bool is_acl = name.starts_with(kAclPrefix);
  if (is_acl && options_.acls != nullptr) return GetAcl(call, node, name, size_bytes);
  // `ls -l` asks for labels and ACLs name by name, unless the first answer is that this file system has none.
  if (name.starts_with("security.") || (is_acl && Parse(node).kind != NodeKind::kDraft)) {
    return Answer(call, {EOPNOTSUPP, "security labels and ACLs are not kept here"});
  }
  const Outcome<std::string> value = ZoneOf(node).GetXattr(call.request(), node, name);
  if (!value) return Answer(call, value.error());
  AnswerXattr(call, *value, size_bytes);
}

// The kernel caches this answer for all users, so it must not depend on the caller. "No ACL" must be ENODATA:
// any other error would be returned to every user that is checked.
void Dispatcher::GetAcl(Call& call, NodeId node, std::string_view name, size_t size_bytes) {
  const bool access = name == kAccessAcl;
  const auto acl = access ? options_.acls->AclOf(node) : Outcome<std::optional<std::string>>(std::nullopt);
  if (!acl) return Answer(call, acl.error());
  if (!*acl) return Answer(call, {ENODATA, "this node has no ACL"});
  AnswerXattr(call, **acl, size_bytes);
}

void Dispatcher::AnswerXattr(Call& call, std::string_view value, size_t size_bytes) {
  if (size_bytes == 0) return call.reply.XattrSize(value.size());
  if (value.size() > size_bytes) return Answer(call, {ERANGE, "the buffer is too small"});
  call.reply.Bytes(value.data(), value.size());
}

void Dispatcher::ListXattr(Call& call, NodeId node, size_t size_bytes) {
  const Outcome<std::vector<std::string>> names = ZoneOf(node).ListXattr(call.request(), node);
  if (!names) return Answer(call, names.error());
  std::string list;
  for (const std::string& name : *names) list.append(name).push_back('\0');
  // listxattr(2) cannot return more: the kernel's E2BIG would hide all names.
  if (list.size() > XATTR_LIST_MAX) list.resize(list.rfind('\0', XATTR_LIST_MAX - 1) + 1);
  if (size_bytes == 0) return call.reply.XattrSize(list.size());
  if (list.size() > size_bytes) return Answer(call, {ERANGE, "the buffer is too small"});
  call.reply.Bytes(list.data(), list.size());
}

void Dispatcher::SetXattr(Call& call, NodeId node, std::string_view name, std::string_view value, int flags) {
  if (name.starts_with(kAclPrefix) && Parse(node).kind != NodeKind::kDraft) {
    return Answer(call, {EPERM, "access is given by grants and not by setfacl: use GRANT (`modelfs grant`)"});
  }
  const Outcome<void> set = Interruptibly(
      call, [&](const Request& request) { return ZoneOf(node).SetXattr(request, node, name, value, flags); });
  if (!set) return Answer(call, set.error());
  call.reply.Ok();
}

void Dispatcher::RemoveXattr(Call& call, NodeId node, std::string_view name) {
  if (name.starts_with(kAclPrefix) && Parse(node).kind != NodeKind::kDraft) {
    return Answer(
        call,
        {EPERM, "access is taken away by revoking grants and not by setfacl: use REVOKE (`modelfs revoke`)"});
  }
  const Outcome<void> removed = Interruptibly(
      call, [&](const Request& request) { return ZoneOf(node).RemoveXattr(request, node, name); });
  if (!removed) return Answer(call, removed.error());
  call.reply.Ok();
}

}  // namespace modelfs::fs
