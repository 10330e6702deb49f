#include <fmt/core.h>
#include <linux/fs.h>

#include <algorithm>
#include <utility>

#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "fs/base/rename_refusal.h"
#include "fs/sharing/permit.h"
#include "fs/zones/attrs.h"
#include "fs/zones/held_names.h"
#include "fs/zones/recent_reads.h"
#include "fs/zones/zones.h"
#include "store/names.h"

namespace modelfs::fs {
namespace {

using store::AliasInfo;
using store::ObjectId;
using store::ObjectInfo;
using store::VersionNumber;

// A link's nodeid determines its attributes, except for the time of its last move.
constexpr double kLinkAttrTtlS = 1;

std::string LinkTarget(VersionNumber version) { return fmt::format("../versions/{}", version); }

const AliasInfo* FindAlias(const ObjectInfo& model, std::string_view name) {
  const auto it = std::find_if(model.aliases.begin(), model.aliases.end(),
                               [&](const AliasInfo& alias) { return alias.name == name; });
  return it == model.aliases.end() ? nullptr : &*it;
}

std::vector<std::string_view> SplitPath(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.push_back(part);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

// "3" or "../versions/3", which need no name of a model. A trailing slash is what completion adds.
std::optional<VersionNumber> VersionOfShortTarget(std::string_view target) {
  const std::vector<std::string_view> parts = SplitPath(target);
  if (target.starts_with('/') || parts.empty()) return std::nullopt;
  const bool below = parts.size() == 3 && parts[0] == ".." && parts[1] == "versions";
  return parts.size() == 1 || below ? store::ParseVersionNumber(parts.back()) : std::nullopt;
}

// The version that the target of a link in aliases/ names: "3", "../versions/3", or any path, absolute or
// not, that ends in this model's own "<catalog>/<schema>/<model>/versions/3". Completion adds a trailing
// slash.
std::optional<VersionNumber> VersionOfTarget(const ObjectInfo& model, std::string_view target) {
  if (const std::optional<VersionNumber> number = VersionOfShortTarget(target)) return number;
  const std::vector<std::string_view> parts = SplitPath(target);
  const std::vector<std::string>& name = model.full_name.parts;
  if (parts.size() < name.size() + 2 || parts[parts.size() - 2] != "versions") return std::nullopt;
  const size_t start = parts.size() - 2 - name.size();
  if (!std::equal(name.begin(), name.end(), parts.begin() + static_cast<ptrdiff_t>(start))) {
    return std::nullopt;
  }
  return store::ParseVersionNumber(parts.back());
}

// An open placeholder of tar's.
class PlaceholderHandle : public FileHandle {
 public:
  Outcome<size_t> Read(uint64_t /*offset_bytes*/, std::span<std::byte> /*out*/) override { return 0; }
  Outcome<size_t> Write(uint64_t /*offset_bytes*/, std::span<const std::byte> /*bytes*/) override {
    return Refuse(EPERM, "aliases/ holds links, no files: ln -s ../versions/N aliases/NAME");
  }
  Outcome<void> Sync() override { return {}; }
};

class AliasesZone : public Zone {
 public:
  explicit AliasesZone(Context& context) : context_(context), held_names_(*context.held_names) {}

  Outcome<Entry> Lookup(const Request& /*request*/, NodeId parent, std::string_view name) override {
    const ObjectId model_id = Parse(parent).object;
    const std::optional<Held> held = held_names_.Find(model_id, name);
    // No alias has such a name, so the registry need not be asked.
    if (store::IsHeldName(name)) {
      if (held.has_value()) return HeldEntry(*held);
      return Refuse(ENOENT, fmt::format("no link has the temporary name {}", Printable(name)));
    }
    const Result<ObjectInfo> model = context_.registry->Get(context_.daemon, model_id);
    if (!model.ok()) return RefuseNode(model.error());
    if (const AliasInfo* alias = FindAlias(*model, name); alias != nullptr) return LinkEntry(*alias);
    if (!held.has_value()) {
      return Refuse(ENOENT, fmt::format("{} has no alias {}", model->full_name.ToString(), Printable(name)));
    }
    return HeldEntry(*held);
  }

  Outcome<Attr> GetAttr(const Request& /*request*/, NodeId node) override {
    const NodeParts parts = Parse(node);
    if (parts.kind == NodeKind::kHeld) {
      const std::optional<Held> held = held_names_.Find(parts.serial);
      if (!held.has_value()) return Refuse(ENOENT, "this temporary name is gone");
      return Attr{HeldStat(*held), 0};
    }
    if (parts.kind == NodeKind::kAliases) return DirectoryAttr(node, parts.object);
    const Result<store::VersionInfo> version =
        context_.registry->GetVersionById(context_.daemon, parts.version);
    if (!version.ok()) return RefuseNode(version.error());
    if (parts.slot == kLatestSlot) {
      const size_t length = std::to_string(version->number).size();
      return Attr{SymlinkStat(context_, length, version->committed_at_ms), kLinkAttrTtlS};
    }
    int64_t moved_at_ms = version->committed_at_ms;
    const Result<ObjectInfo> model = context_.registry->Get(context_.daemon, version->model);
    if (!model.ok()) return RefuseNode(model.error());
    for (const AliasInfo& alias : model->aliases) {
      if (alias.slot == parts.slot && alias.version_id == parts.version) moved_at_ms = alias.updated_at_ms;
    }
    return Attr{SymlinkStat(context_, LinkTarget(version->number).size(), moved_at_ms), kLinkAttrTtlS};
  }

  Outcome<NodeId> ParentOf(NodeId directory) override { return ObjectNode(Parse(directory).object); }

  Outcome<Place> PlaceOf(NodeId node) override {
    const NodeParts parts = Parse(node);
    if (parts.kind == NodeKind::kAliases) return Place{ObjectNode(parts.object), "aliases"};
    if (parts.kind != NodeKind::kAliasLink) return Zone::PlaceOf(node);
    const Result<store::VersionInfo> version =
        context_.registry->GetVersionById(context_.daemon, parts.version);
    if (!version.ok()) return Refuse(version.error());
    if (parts.slot == kLatestSlot) return Place{VersionsNode(version->model), "latest"};
    const Result<ObjectInfo> model = context_.registry->Get(context_.daemon, version->model);
    if (!model.ok()) return Refuse(model.error());
    for (const AliasInfo& alias : model->aliases) {
      if (alias.slot == parts.slot) return Place{AliasesNode(model->id), alias.name};
    }
    return Zone::PlaceOf(node);
  }

  // rsync and tar finish a link or directory by setting its times and owner: that succeeds and changes
  // nothing.
  Outcome<Attr> SetAttr(const Request& request, NodeId node, const AttrChange& change) override {
    Outcome<Attr> attr = GetAttr(request, node);
    if (!attr.has_value()) return attr;
    if (change.size_bytes.value_or(0) != 0) {
      return Refuse(EPERM, "aliases/ holds links, no files: ln -s ../versions/N aliases/NAME");
    }
    AttrChange checked = change;
    if (Parse(node).kind == NodeKind::kHeld)
      checked.mode.reset();  // a held name's mode is its maker's affair
    const Outcome<void> kept = CheckOwnerAndMode(checked, attr->attr);
    if (!kept.has_value()) return tl::unexpected(kept.error());
    return attr;
  }

  Outcome<std::string> ReadLink(const Request& request, NodeId node) override {
    const NodeParts parts = Parse(node);
    if (parts.kind == NodeKind::kHeld) {
      const Outcome<Held> held = HeldToRead(request, node);
      if (!held) return tl::unexpected(held.error());
      if (!held->version.has_value()) return Refuse(EINVAL, "this is an empty file, not a link");
      return LinkTarget(*held->version);
    }
    const Result<store::VersionInfo> version =
        context_.registry->GetVersionById(context_.daemon, parts.version);
    if (!version.ok()) return RefuseNode(version.error());
    if (auto may = Permit(context_, request, store::Operation::kGet, version->model,
                          {{"version_arg", std::to_string(version->number)}});
        !may) {
      return tl::unexpected(may.error());
    }
    return parts.slot == kLatestSlot ? std::to_string(version->number) : LinkTarget(version->number);
  }

  Outcome<Entry> MakeDirectory(const Request& /*request*/, NodeId /*parent*/, std::string_view name,
                               mode_t /*mode*/) override {
    return tl::unexpected(OnlyLinks(name));
  }

  // tar makes a new, empty file in place of a link until it has unpacked everything.
  Outcome<CreatedFile> Create(const Request& request, NodeId parent, std::string_view name, mode_t mode,
                              int flags) override {
    if ((flags & O_EXCL) == 0) return tl::unexpected(OnlyLinks(name));
    const Outcome<ObjectInfo> model = ModelToChange(request, parent);
    if (!model) return tl::unexpected(model.error());
    if (const Status valid = CheckPathComponent(name); !valid.ok()) return Refuse(valid.error());
    if (FindAlias(*model, name) != nullptr) return tl::unexpected(Exists(name));
    const Outcome<Held> held =
        Hold(request, model->id, name, std::nullopt, mode, HeldNames::IfTaken::kRefuse);
    if (!held.has_value()) return tl::unexpected(held.error());
    return CreatedFile{HeldEntry(*held), OpenedFile{std::make_shared<PlaceholderHandle>(), PageCache::kDrop}};
  }

  Outcome<OpenedFile> Open(const Request& request, NodeId node, int flags) override {
    if (Parse(node).kind != NodeKind::kHeld) return Refuse(ELOOP, "this is a link");
    if ((flags & O_ACCMODE) != O_RDONLY) return tl::unexpected(OnlyLinks("NAME"));
    if (const Outcome<Held> held = HeldToRead(request, node); !held) return tl::unexpected(held.error());
    return OpenedFile{std::make_shared<PlaceholderHandle>(), PageCache::kDrop};
  }

  Outcome<Entry> MakeSymlink(const Request& request, NodeId parent, std::string_view name,
                             std::string_view target) override {
    const ObjectId model_id = Parse(parent).object;
    if (const auto version = VersionOfShortTarget(target); version && MayBeNewAlias(model_id, name)) {
      const auto set = SetAlias(request, model_id, name, *version, RENAME_NOREPLACE);
      if (set.ok()) return LinkEntry(set->alias);
      if (set.error().code() != Code::kAlreadyExists) return RefuseChange(model_id, set.error());
    }
    const Outcome<ObjectInfo> model = ModelToChange(request, parent);
    if (!model) return tl::unexpected(model.error());
    if (FindAlias(*model, name) != nullptr) return tl::unexpected(Exists(name));
    const bool to_hold = store::IsHeldName(name);
    if (!to_hold && held_names_.Find(model->id, name).has_value()) return tl::unexpected(Exists(name));
    const Status valid = to_hold ? CheckPathComponent(name) : store::CheckAliasName(name);
    if (!valid.ok()) return Refuse(valid.error());
    const std::optional<VersionNumber> version = VersionOfTarget(*model, target);
    if (!version.has_value()) return tl::unexpected(BadTarget(*model, target));
    if (to_hold) {
      const Outcome<Held> held =
          Hold(request, model->id, name, version, ACCESSPERMS, HeldNames::IfTaken::kRefuse);
      if (!held.has_value()) return tl::unexpected(held.error());
      return HeldEntry(*held);
    }
    const auto set = SetAlias(request, model->id, name, *version, RENAME_NOREPLACE);
    if (!set.ok()) return RefuseChange(model->id, set.error());
    return LinkEntry(set->alias);
  }

  Outcome<void> Unlink(const Request& request, NodeId parent, std::string_view name) override {
    const ObjectId model_id = Parse(parent).object;
    if (held_names_.Find(model_id, name).has_value()) {
      const Outcome<ObjectInfo> model = ModelToChange(request, parent);
      if (!model) return tl::unexpected(model.error());
      if (FindAlias(*model, name) == nullptr && held_names_.Drop(model_id, name)) return {};
    }
    const Status gone = context_.registry->DeleteAlias(request.caller, model_id, name);
    if (!gone.ok()) return RefuseChange(model_id, gone.error());
    return {};
  }

  Outcome<void> Rename(const Request& request, NodeId parent, std::string_view name, NodeId new_parent,
                       std::string_view new_name, unsigned flags) override {
    const NodeParts to = Parse(new_parent);
    if (to.kind == NodeKind::kTree || to.kind == NodeKind::kAliasTree) {
      return Refuse(EROFS,
                    "this would move a link into a READY version, which never changes; to move an alias: "
                    "ln -sfn ../versions/N aliases/NAME, or mv -T");
    }
    if (new_parent != parent) {
      return Refuse(EPERM,
                    "an alias belongs to its model: make one there with ln -s ../versions/N aliases/NAME");
    }
    Outcome<void> done = RenameWithin(request, parent, name, new_name, flags);
    if (!done.has_value()) {
      // The VFS returns EEXIST for NOREPLACE itself if it knows the name.
      const bool exists = done.error().errno_value == EEXIST && (flags & RENAME_NOREPLACE) != 0;
      if (!exists) return tl::unexpected(ForRename(std::move(done).error()));
    }
    return done;
  }

  Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node) override {
    if (auto may = Permit(context_, request, store::Operation::kGet, Parse(node).object); !may) {
      return tl::unexpected(may.error());
    }
    const Result<ObjectInfo> model = context_.registry->Get(context_.daemon, Parse(node).object);
    if (!model.ok()) return RefuseNode(model.error());
    std::vector<DirectoryEntry> entries;
    for (const AliasInfo& alias : model->aliases) {
      const Entry entry = LinkEntry(alias);
      entries.push_back(
          DirectoryEntry{.name = alias.name, .node = entry.node, .type = S_IFLNK, .entry = entry});
    }
    for (const auto& [name, held] : held_names_.MadeBy(request.caller.uid, model->id)) {
      if (FindAlias(*model, name) != nullptr) continue;
      entries.push_back(DirectoryEntry{.name = name,
                                       .node = HeldNode(held.serial),
                                       .type = HeldStat(held).st_mode & S_IFMT,
                                       .entry = std::nullopt});
    }
    return OpenedDirectory{MakeDirectoryHandle(std::move(entries)), false};
  }

  Outcome<std::string> GetXattr(const Request& /*request*/, NodeId /*node*/, std::string_view name) override {
    return Refuse(ENODATA, fmt::format("no attribute {} here", Printable(name)));
  }

  Outcome<std::vector<std::string>> ListXattr(const Request& /*request*/, NodeId /*node*/) override {
    return std::vector<std::string>{};
  }

 protected:
  Refusal Unsupported(std::string_view operation) const override {
    return {EPERM,
            fmt::format("{} is not possible in aliases/: it holds links: ln -s ../versions/N aliases/NAME",
                        operation)};
  }

 private:
  using Held = HeldNames::Held;

  // Of aliases/. The kernel drops its copy whenever it makes a name there, also a held one.
  Outcome<Attr> DirectoryAttr(NodeId node, ObjectId model_id) {
    RecentReads* const recent = context_.recent_reads;
    const std::optional<uint64_t> revision = recent != nullptr ? recent->Revision() : std::nullopt;
    if (revision) {
      if (const auto attr = recent->FindAttr(*revision, node)) return Attr{*attr, kLinkAttrTtlS};
    }
    const Result<ObjectInfo> model = context_.registry->Get(context_.daemon, model_id);
    if (!model.ok()) return RefuseNode(model.error());
    const struct stat attr = ModelPartStat(context_, *model);
    if (revision) recent->KeepAttr(*revision, node, attr);
    return Attr{attr, kLinkAttrTtlS};
  }

  // Whether nothing but the registry can have a say about making an alias of that name.
  bool MayBeNewAlias(ObjectId model, std::string_view name) const {
    return store::CheckAliasName(name).ok() && !held_names_.Find(model, name).has_value();
  }

  Result<store::MovedAlias> SetAlias(const Request& request, ObjectId model, std::string_view name,
                                     VersionNumber version, unsigned flags) {
    const auto mode = (flags & RENAME_NOREPLACE) != 0 ? store::Registry::AliasMode::kCreateOnly
                                                      : store::Registry::AliasMode::kSet;
    return context_.registry->SetAlias(request.caller, model, name, version, mode);
  }

  // For the error of a change in the caller's name. ESTALE if the model is gone.
  tl::unexpected<Refusal> RefuseChange(ObjectId model, const Error& error) const {
    if (error.code() != Code::kNotFound) return Refuse(error);
    const Result<ObjectInfo> there = context_.registry->Get(context_.daemon, model);
    return there.ok() ? Refuse(error) : RefuseNode(there.error());
  }

  // The registry decides in the call that changes: no question comes before it.
  Outcome<void> RenameWithin(const Request& request, NodeId parent, std::string_view name,
                             std::string_view new_name, unsigned flags) {
    const ObjectId model_id = Parse(parent).object;
    const bool exchange = (flags & RENAME_EXCHANGE) != 0;
    const bool to_alias = store::CheckAliasName(new_name).ok();
    const std::optional<Held> held = held_names_.Find(model_id, name);
    if (held && held->version && store::IsHeldName(name) && to_alias && !exchange) {
      return PointHeld(request, model_id, name, *held->version, new_name, flags);
    }
    const Outcome<ObjectInfo> model = ModelToChange(request, parent);
    if (!model) return tl::unexpected(model.error());
    const AliasInfo* from = FindAlias(*model, name);
    return from != nullptr ? RenameAlias(request, *model, *from, new_name, flags)
                           : RenameHeld(request, *model, name, new_name, flags);
  }

  // A link under the temporary name `name` becomes the alias `new_name`.
  Outcome<void> PointHeld(const Request& request, ObjectId model, std::string_view name,
                          VersionNumber version, std::string_view new_name, unsigned flags) {
    const auto set = SetAlias(request, model, new_name, version, flags);
    if (!set.ok()) return RefuseChange(model, set.error());
    held_names_.Drop(model, name);
    held_names_.Drop(model, new_name);
    return {};
  }

  // The model of a kAliases node, if the caller may set its aliases: making a held name is half a way to
  // that.
  Outcome<ObjectInfo> ModelToChange(const Request& request, NodeId aliases) {
    const ObjectId model = Parse(aliases).object;
    RecentReads* const recent = context_.recent_reads;
    const std::optional<uint64_t> revision = recent != nullptr ? recent->Revision() : std::nullopt;
    Result<store::Description> described =
        context_.registry->Describe(request.caller, {.object = model, .to_do = store::Operation::kSetAlias});
    if (!described.ok()) return RefuseCaller(context_, model, described.error());
    if (revision) recent->KeepAttr(*revision, aliases, ModelPartStat(context_, described->object));
    return std::move(described->object);
  }

  // A held link leads where an alias would, so its readers need the same permission.
  Outcome<Held> HeldToRead(const Request& request, NodeId node) {
    const std::optional<Held> held = held_names_.Find(Parse(node).serial);
    if (!held.has_value()) return Refuse(ENOENT, "this temporary name is gone");
    if (auto may = Permit(context_, request, store::Operation::kGet, held->model); !may) {
      return tl::unexpected(may.error());
    }
    return *held;
  }

  Entry LinkEntry(const AliasInfo& alias) const {
    Entry entry;
    entry.node = AliasLinkNode(alias.slot, alias.version_id);
    entry.attr = SymlinkStat(context_, LinkTarget(alias.version).size(), alias.updated_at_ms);
    entry.attr_ttl_s = kLinkAttrTtlS;
    entry.entry_ttl_s = 0;  // each open finds the alias's present target
    return entry;
  }

  // Shows its maker as the owner, so that no user takes it for an alias of the registry.
  struct stat HeldStat(const Held& held) const {
    struct stat attr = {};
    if (held.version.has_value()) {
      attr = SymlinkStat(context_, LinkTarget(*held.version).size(), held.made_at_ms);
    } else {
      attr = FileStat(context_, 0, false, held.made_at_ms);
      attr.st_mode = S_IFREG | (held.mode & ACCESSPERMS);
    }
    if (context_.shared) attr.st_uid = held.maker;
    return attr;
  }

  Entry HeldEntry(const Held& held) const {
    Entry entry;
    entry.node = HeldNode(held.serial);
    entry.attr = HeldStat(held);
    return entry;
  }

  Outcome<Held> Hold(const Request& request, ObjectId model, std::string_view name,
                     std::optional<VersionNumber> version, mode_t mode, HeldNames::IfTaken if_taken) {
    Held held;
    held.maker = request.caller.uid;
    held.version = version;
    held.mode = mode;
    return held_names_.Hold(model, name, held, if_taken);
  }

  static Refusal Exists(std::string_view name) {
    return {EEXIST,
            fmt::format("alias {} exists already; to move it: {}", Printable(name),
                        ShellCommand({"ln", "-sfn", "../versions/N"}, {fmt::format("aliases/{}", name)}))};
  }
  static Refusal OnlyLinks(std::string_view name) {
    return {EPERM,
            fmt::format("aliases/ holds links to versions only: {}",
                        ShellCommand({"ln", "-s", "../versions/N"}, {fmt::format("aliases/{}", name)}))};
  }
  static std::string PathOf(const ObjectInfo& model) {
    std::string path;
    for (const std::string& part : model.full_name.parts) path += (path.empty() ? "" : "/") + part;
    return path;
  }
  static Refusal BadTarget(const ObjectInfo& model, std::string_view target) {
    return {EINVAL,
            fmt::format("an alias of {0} points to one of its versions: write ../versions/N (or N, or a "
                        "path ending in {1}/versions/N), not {2}",
                        model.full_name.ToString(), PathOf(model), Printable(target))};
  }

  Outcome<void> RenameAlias(const Request& request, const ObjectInfo& model, const AliasInfo& from,
                            std::string_view new_name, unsigned flags) {
    store::Registry& registry = *context_.registry;
    if ((flags & RENAME_EXCHANGE) != 0) {
      if (FindAlias(model, new_name) == nullptr) {
        // The order of the two names does not matter.
        if (held_names_.Find(model.id, new_name).has_value()) {
          return RenameHeld(request, model, new_name, from.name, flags);
        }
        return Refuse(EPERM, "an alias can change places with an alias or a held link only");
      }
      if (const Status done = registry.SwapAliases(request.caller, model.id, from.name, new_name);
          !done.ok()) {
        return Refuse(done.error());
      }
      return {};
    }
    if (store::IsHeldName(new_name)) {
      if (const Status valid = CheckPathComponent(new_name); !valid.ok()) return Refuse(valid.error());
      // mv -b, or an editor: the alias is deleted, and its old target is kept under a held name.
      const Outcome<Held> held =
          Hold(request, model.id, new_name, from.version, ACCESSPERMS, HeldNames::IfTaken::kReplace);
      if (!held.has_value()) return tl::unexpected(held.error());
      if (const Status gone = registry.DeleteAlias(request.caller, model.id, from.name); !gone.ok()) {
        held_names_.Drop(model.id, new_name);
        return Refuse(gone.error());
      }
      return {};
    }
    if (const Status valid = store::CheckAliasName(new_name); !valid.ok()) return Refuse(valid.error());
    const auto mode = (flags & RENAME_NOREPLACE) != 0 ? store::Registry::AliasMode::kCreateOnly
                                                      : store::Registry::AliasMode::kSet;
    if (const Status done = registry.RenameAlias(request.caller, model.id, from.name, new_name, mode);
        !done.ok()) {
      return Refuse(done.error());
    }
    held_names_.Drop(model.id, new_name);
    return {};
  }

  Outcome<void> RenameHeld(const Request& request, const ObjectInfo& model, std::string_view name,
                           std::string_view new_name, unsigned flags) {
    const std::optional<Held> held = held_names_.Find(model.id, name);
    if (!held.has_value()) {
      return Refuse(ENOENT, fmt::format("{} has no alias {}", model.full_name.ToString(), Printable(name)));
    }
    const AliasInfo* replaced = FindAlias(model, new_name);
    if (replaced == nullptr && store::IsHeldName(new_name)) {
      if (const Status valid = CheckPathComponent(new_name); !valid.ok()) return Refuse(valid.error());
      return held_names_.Move(model.id, name, new_name, flags);
    }
    if (!held->version.has_value()) return tl::unexpected(OnlyLinks(new_name));
    if (const Status valid = store::CheckAliasName(new_name); !valid.ok()) return Refuse(valid.error());
    if ((flags & RENAME_EXCHANGE) != 0 && replaced == nullptr) {
      return Refuse(EPERM, "a link can change places with an alias only");
    }
    Outcome<void> pointed = PointHeld(request, model.id, name, *held->version, new_name, flags);
    if (!pointed) return pointed;
    if ((flags & RENAME_EXCHANGE) != 0) {
      Held old = *held;  // keeps its maker
      old.version = replaced->version;
      const Outcome<Held> kept = held_names_.Hold(model.id, name, old, HeldNames::IfTaken::kRefuse);
      if (!kept.has_value()) return tl::unexpected(kept.error());
    }
    return {};
  }

  Context& context_;
  HeldNames& held_names_;
};

}  // namespace

std::unique_ptr<Zone> MakeAliasesZone(Context& context) { return std::make_unique<AliasesZone>(context); }

}  // namespace modelfs::fs
