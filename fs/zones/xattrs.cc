#include "fs/zones/xattrs.h"

#include <fmt/core.h>
#include <sys/xattr.h>

#include <cerrno>
#include <map>
#include <memory>
#include <utility>

#include "fs/sharing/permit.h"
#include "fs/zones/recent_reads.h"

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

// The registry's description of one object or version, as far as the caller may know it. ESTALE if it is
// gone.
Outcome<RecentReads::Ptr> DescriptionFor(const Context& context, const Request& request,
                                         const store::Target& target) {
  RecentReads* const kept = context.recent_reads;
  const std::optional<uint64_t> revision = kept != nullptr ? kept->Revision() : std::nullopt;
  if (revision) {
    if (RecentReads::Ptr found = kept->Find(*revision, request, target)) return found;
  }
  Result<store::Description> described =
      context.registry->Describe(request.caller, {target.object, target.version});
  if (!described.ok()) return RefuseCaller(context, target, described.error());
  auto found = std::make_shared<const store::Description>(*std::move(described));
  if (revision) kept->Keep(*revision, request, target, found);
  return found;
}

const std::string& CommentIn(const store::Description& described) {
  return described.version ? described.version->comment : described.object.comment;
}

// The value of a name in the three readable namespaces.
Outcome<std::string> GetFrom(const store::Description& described, const Facts& facts, std::string_view name) {
  if (name == kDescription) {
    if (CommentIn(described).empty()) return NoSuchXattr(name);
    return CommentIn(described);
  }
  if (name.starts_with(kFactPrefix)) {
    const auto fact = facts.find(std::string(name.substr(kFactPrefix.size())));
    if (fact == facts.end()) return NoSuchXattr(name);
    return fact->second;
  }
  const auto tag = described.tags.find(std::string(name.substr(kTagPrefix.size())));
  if (tag == described.tags.end()) return NoSuchXattr(name);
  return tag->second;
}

std::vector<std::string> ListFrom(const store::Description& described, const Facts& facts) {
  std::vector<std::string> names;
  names.reserve(facts.size() + described.tags.size() + 1);
  if (!CommentIn(described).empty()) names.emplace_back(kDescription);
  for (const auto& fact : facts) names.push_back(std::string(kFactPrefix) + fact.first);
  for (const auto& tag : described.tags) names.push_back(std::string(kTagPrefix) + tag.first);
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
  std::map<Digest, uint64_t> listed;  // how often
  for (const cas::TreeEntry& entry : tree.entries()) {
    if (entry.kind == cas::EntryKind::kFile) ++listed[entry.blob];
  }
  std::vector<Digest> blobs;
  for (const auto& blob : listed) blobs.push_back(blob.first);
  const std::vector<uint64_t> local = context.blobs->LocalBytesOf(blobs);
  uint64_t local_bytes = 0;
  size_t at = 0;
  for (const auto& blob : listed) local_bytes += blob.second * local[at++];
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
  const Result<store::Description> described =
      context.registry->Describe(context.daemon, {target.object, target.version});
  if (!described.ok()) return Refuse(described.error());
  return CommentIn(*described);
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
  const auto described = DescriptionFor(context, request, {object, std::nullopt});
  if (!described) return tl::unexpected(described.error());
  return GetFrom(**described, ObjectFacts((*described)->object), name);
}

Outcome<std::vector<std::string>> ListObjectXattrs(const Context& context, const Request& request,
                                                   store::ObjectId object) {
  const auto described = DescriptionFor(context, request, {object, std::nullopt});
  if (!described) return tl::unexpected(described.error());
  return ListFrom(**described, ObjectFacts((*described)->object));
}

Outcome<std::string> GetVersionXattr(const Context& context, const Request& request,
                                     const CachedVersion& version, std::string_view name) {
  if (!IsRegistryXattr(name)) return NoSuchXattr(name);
  const auto described = DescriptionFor(context, request, {version.info.model, version.info.number});
  if (!described) return tl::unexpected(described.error());
  if (name == "user.modelfs.cached") return CachedOfVersion(context, version.tree->tree());
  return GetFrom(**described, VersionFacts(*(*described)->version), name);
}

Outcome<std::vector<std::string>> ListVersionXattrs(const Context& context, const Request& request,
                                                    const CachedVersion& version) {
  const auto described = DescriptionFor(context, request, {version.info.model, version.info.number});
  if (!described) return tl::unexpected(described.error());
  Facts facts = VersionFacts(*(*described)->version);
  facts["cached"];  // only its name is wanted here
  return ListFrom(**described, facts);
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
