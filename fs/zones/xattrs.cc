#include "fs/zones/xattrs.h"

#include <fmt/core.h>
#include <sys/xattr.h>

#include <cerrno>
#include <map>
#include <utility>

#include "fs/sharing/permit.h"

namespace modelfs::fs {
namespace {

constexpr std::string_view kFactPrefix = "user.modelfs.";
constexpr std::string_view kTagPrefix = "user.tag.";
constexpr std::string_view kDescription = "user.description";
constexpr std::string_view kOwner = "user.modelfs.owner";

using Facts = std::map<std::string, std::string>;  // by the name after kFactPrefix

tl::unexpected<Refusal> NoSuchXattr(std::string_view name) {
  return Refuse(ENODATA, fmt::format("{}: no such attribute here", name));
}

// The value of an attribute in the three readable namespaces, for one object or version. The caller has been
// permitted to read it.
Outcome<std::string> GetFrom(const Context& context, const store::Target& target, const Facts& facts,
                             const std::string& comment, std::string_view name) {
  if (name == kDescription) {
    if (comment.empty()) return NoSuchXattr(name);
    return comment;
  }
  if (name.starts_with(kFactPrefix)) {
    const auto fact = facts.find(std::string(name.substr(kFactPrefix.size())));
    if (fact == facts.end()) return NoSuchXattr(name);
    return fact->second;
  }
  const auto tags = context.registry->Tags(context.daemon, target);
  if (!tags.ok()) return Refuse(tags.error());
  const auto tag = tags->find(std::string(name.substr(kTagPrefix.size())));
  if (tag == tags->end()) return NoSuchXattr(name);
  return tag->second;
}

Outcome<std::vector<std::string>> ListFrom(const Context& context, const store::Target& target,
                                           const Facts& facts, const std::string& comment) {
  const auto tags = context.registry->Tags(context.daemon, target);
  if (!tags.ok()) return Refuse(tags.error());
  std::vector<std::string> names;
  names.reserve(facts.size() + tags->size() + 1);
  if (!comment.empty()) names.emplace_back(kDescription);
  for (const auto& fact : facts) names.push_back(std::string(kFactPrefix) + fact.first);
  for (const auto& tag : *tags) names.push_back(std::string(kTagPrefix) + tag.first);
  return names;
}

Facts ObjectFacts(const store::ObjectInfo& object) {
  Facts facts{{"owner", object.owner}};
  if (object.kind != store::ObjectKind::kMetastore) facts["name"] = object.full_name.ToString();
  return facts;
}

std::string CachedOf(uint64_t local_bytes, uint64_t total_bytes) {
  return fmt::format("{}/{}", local_bytes, total_bytes);
}

// Each blob counts as often as it is listed, so that both numbers are equal when all bytes are local.
std::string CachedOfVersion(const Context& context, const cas::Tree& tree) {
  std::map<Digest, uint64_t> local;
  uint64_t local_bytes = 0;
  for (const cas::TreeEntry& entry : tree.entries()) {
    if (entry.kind != cas::EntryKind::kFile) continue;
    auto found = local.find(entry.blob);
    if (found == local.end()) found = local.emplace(entry.blob, context.blobs->LocalBytes(entry.blob)).first;
    local_bytes += found->second;
  }
  return CachedOf(local_bytes, tree.total_bytes());
}

Facts VersionFacts(const store::VersionInfo& info) {
  Facts facts{
      {"name", info.model_name.ToString()},
      {"version", std::to_string(info.number)},
      {"status", std::string(store::StatusName(info.status))},
      {"sha256", info.tree.Hex()},
      {"size", std::to_string(info.total_bytes)},
      {"signature", info.signature == store::Signature::kPresent ? "present" : "none"},
  };
  if (!info.source.empty()) facts["source"] = info.source;
  if (!info.run_id.empty()) facts["run_id"] = info.run_id;
  return facts;
}

// Why a name outside the registry's own namespaces is refused.
tl::unexpected<Refusal> RefuseForeign(std::string_view subject, std::string_view name) {
  if (name.starts_with("system.posix_acl_")) {
    return Refuse(EPERM, fmt::format("{}: access is a matter of the registry's grants, which an ACL cannot "
                                     "change; use `modelfs grant`",
                                     subject));
  }
  if (name.starts_with("user.")) {
    return Refuse(
        EPERM, fmt::format("{}: {} cannot be set; use user.tag.<key> for a tag, or user.description", subject,
                           name));
  }
  return Refuse(
      ENOTSUP, fmt::format("{}: only attributes of the user namespace are kept here, not {}", subject, name));
}

tl::unexpected<Refusal> RefuseFact(std::string_view subject, std::string_view name) {
  return Refuse(EPERM, fmt::format("{}: {} is a fact and cannot be set or removed; user.tag.<key> and "
                                   "user.description can",
                                   subject, name));
}

Outcome<std::string> CommentOf(const Context& context, const store::Target& target) {
  if (target.version) {
    auto version = context.registry->GetVersion(context.daemon, target.object, *target.version);
    if (!version.ok()) return Refuse(version.error());
    return std::move(version->comment);
  }
  auto object = context.registry->Get(context.daemon, target.object);
  if (!object.ok()) return Refuse(object.error());
  return std::move(object->comment);
}

// The operation table has no row for the root: everybody may read the registry's owner.
Outcome<void> PermitSee(const Context& context, const Request& request, store::ObjectId object) {
  if (object == store::kMetastoreId) return {};
  return Permit(context, request, store::Operation::kSee, object);
}

Outcome<void> SetOwner(const Context& context, const Request& request, const store::Target& target,
                       std::string_view subject, std::string_view principal, int flags) {
  if (target.version) {
    return Refuse(EPERM,
                  fmt::format("{}: a version has no owner of its own; set {} on its model", subject, kOwner));
  }
  if ((flags & XATTR_CREATE) != 0) return Refuse(EEXIST, fmt::format("{}: it has an owner already", subject));
  const auto set = context.registry->SetOwner(request.caller, target.object, principal);
  if (set.ok()) return {};
  // The object exists, so the missing one is the principal.
  if (set.error().code() == Code::kNotFound &&
      May(context, request, store::Operation::kSetOwner, target.object)) {
    return Refuse(EINVAL, set.error().message());
  }
  return RefuseCaller(context, target, set.error());
}

Outcome<void> SetDescription(const Context& context, const Request& request, const store::Target& target,
                             std::string_view subject, std::string_view text, int flags) {
  if (flags != 0) {
    if (auto may = Permit(context, request, store::Operation::kDescribe, target.object); !may) return may;
    const auto comment = CommentOf(context, target);
    if (!comment) return tl::unexpected(comment.error());
    if ((flags & XATTR_CREATE) != 0 && !comment->empty()) {
      return Refuse(EEXIST, fmt::format("{}: it has a description already", subject));
    }
    if ((flags & XATTR_REPLACE) != 0 && comment->empty()) return NoSuchXattr(kDescription);
  }
  const Status set = context.registry->SetDescription(request.caller, target, text);
  if (!set.ok()) return RefuseCaller(context, target, set.error());
  return {};
}

}  // namespace

bool IsRegistryXattr(std::string_view name) {
  return name == kDescription || name.starts_with(kFactPrefix) || name.starts_with(kTagPrefix);
}

Outcome<std::string> GetObjectXattr(const Context& context, const Request& request, store::ObjectId object,
                                    std::string_view name) {
  if (!IsRegistryXattr(name)) return NoSuchXattr(name);
  if (auto may = PermitSee(context, request, object); !may) return tl::unexpected(may.error());
  const auto info = context.registry->Get(context.daemon, object);
  if (!info.ok()) return Refuse(info.error());
  return GetFrom(context, {object, std::nullopt}, ObjectFacts(*info), info->comment, name);
}

Outcome<std::vector<std::string>> ListObjectXattrs(const Context& context, const Request& request,
                                                   store::ObjectId object) {
  if (auto may = PermitSee(context, request, object); !may) return tl::unexpected(may.error());
  const auto info = context.registry->Get(context.daemon, object);
  if (!info.ok()) return Refuse(info.error());
  return ListFrom(context, {object, std::nullopt}, ObjectFacts(*info), info->comment);
}

Outcome<std::string> GetVersionXattr(const Context& context, const Request& request,
                                     const CachedVersion& version, std::string_view name) {
  if (!IsRegistryXattr(name)) return NoSuchXattr(name);
  if (auto may = Permit(context, request, store::Operation::kGet, version.info.model,
                        {{"version_arg", std::to_string(version.info.number)}});
      !may) {
    return tl::unexpected(may.error());
  }
  if (name == "user.modelfs.cached") return CachedOfVersion(context, version.tree->tree());
  const auto info = context.registry->GetVersionById(request.caller, version.info.id);
  if (!info.ok()) return RefuseCaller(context, {version.info.model, version.info.number}, info.error());
  return GetFrom(context, {info->model, info->number}, VersionFacts(*info), info->comment, name);
}

Outcome<std::vector<std::string>> ListVersionXattrs(const Context& context, const Request& request,
                                                    const CachedVersion& version) {
  if (auto may = Permit(context, request, store::Operation::kGet, version.info.model,
                        {{"version_arg", std::to_string(version.info.number)}});
      !may) {
    return tl::unexpected(may.error());
  }
  const auto info = context.registry->GetVersionById(request.caller, version.info.id);
  if (!info.ok()) return RefuseCaller(context, {version.info.model, version.info.number}, info.error());
  Facts facts = VersionFacts(*info);
  facts["cached"];  // only its name is wanted here
  return ListFrom(context, {info->model, info->number}, facts, info->comment);
}

Outcome<std::string> GetFileXattr(const Context& context, const Request& request,
                                  const CachedVersion& version, const cas::TreeEntry& file,
                                  std::string_view name) {
  if (auto may = Permit(context, request, store::Operation::kGet, version.info.model,
                        {{"version_arg", std::to_string(version.info.number)}});
      !may) {
    return tl::unexpected(may.error());
  }
  if (name == "user.modelfs.sha256") return file.blob.Hex();
  if (name == "user.modelfs.size") return std::to_string(file.blob.size_bytes);
  if (name == "user.modelfs.cached") {
    return CachedOf(context.blobs->LocalBytes(file.blob), file.blob.size_bytes);
  }
  return NoSuchXattr(name);
}

Outcome<std::vector<std::string>> ListFileXattrs(const Context& context, const Request& request,
                                                 const CachedVersion& version) {
  if (auto may = Permit(context, request, store::Operation::kGet, version.info.model,
                        {{"version_arg", std::to_string(version.info.number)}});
      !may) {
    return tl::unexpected(may.error());
  }
  return std::vector<std::string>{"user.modelfs.cached", "user.modelfs.sha256", "user.modelfs.size"};
}

Outcome<void> SetXattrOf(const Context& context, const Request& request, const store::Target& target,
                         std::string_view subject, std::string_view name, std::string_view value, int flags) {
  if (!IsRegistryXattr(name)) return RefuseForeign(subject, name);
  if (name == kDescription) return SetDescription(context, request, target, subject, value, flags);
  if (name == kOwner) return SetOwner(context, request, target, subject, value, flags);
  if (name.starts_with(kFactPrefix)) return RefuseFact(subject, name);

  store::Registry::TagMode mode = store::Registry::TagMode::kSet;
  if ((flags & XATTR_CREATE) != 0) mode = store::Registry::TagMode::kCreateOnly;
  if ((flags & XATTR_REPLACE) != 0) mode = store::Registry::TagMode::kReplaceOnly;
  const Status set =
      context.registry->SetTag(request.caller, target, name.substr(kTagPrefix.size()), value, mode);
  if (set.ok()) return {};
  // setxattr(2) reports a missing tag as ENODATA; ENOENT would be about the file.
  if (mode == store::Registry::TagMode::kReplaceOnly && set.error().code() == Code::kNotFound) {
    if (May(context, request, store::Operation::kTag, target.object)) {
      return NoSuchXattr(name);
    }
  }
  return RefuseCaller(context, target, set.error());
}

Outcome<void> RemoveXattrOf(const Context& context, const Request& request, const store::Target& target,
                            std::string_view subject, std::string_view name) {
  if (!IsRegistryXattr(name)) return RefuseForeign(subject, name);
  if (name == kDescription) {
    if (auto may = Permit(context, request, store::Operation::kDescribe, target.object); !may) return may;
    const auto comment = CommentOf(context, target);
    if (!comment) return tl::unexpected(comment.error());
    if (comment->empty()) return NoSuchXattr(name);
    const Status set = context.registry->SetDescription(request.caller, target, "");
    if (!set.ok()) return RefuseCaller(context, target, set.error());
    return {};
  }
  if (name.starts_with(kFactPrefix)) return RefuseFact(subject, name);
  const Status removed = context.registry->DeleteTag(request.caller, target, name.substr(kTagPrefix.size()));
  if (removed.ok()) return {};
  if (removed.error().code() == Code::kNotFound &&
      May(context, request, store::Operation::kTag, target.object)) {
    return NoSuchXattr(name);
  }
  return RefuseCaller(context, target, removed.error());
}

}  // namespace modelfs::fs
