#include <fmt/core.h>
#include <linux/fs.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <stop_token>
#include <utility>

#include "cas/base/fail_point.h"
#include "cas/base/shell_word.h"
#include "cas/base/slots.h"
#include "cas/base/text.h"
#include "fs/base/rename_refusal.h"
#include "fs/base/tree_cache.h"
#include "fs/sharing/permit.h"
#include "fs/zones/attrs.h"
#include "fs/zones/drafts.h"
#include "fs/zones/zones.h"
#include "store/names.h"
#include "store/publish.h"

namespace modelfs::fs {
namespace {

using RecordPtr = DraftTable::RecordPtr;
using store::VersionNumber;

constexpr std::string_view kLatest = "latest";
constexpr std::string_view kNext = "next";
constexpr std::string_view kNextVersionAttribute = "user.modelfs.next_version";
constexpr double kDirectoryAttrTtlS = 1;

// How long a commit waits for files that were just closed: the kernel sends RELEASE after close(2) returned.
constexpr auto kWaitForWriters = std::chrono::milliseconds(100);

bool IsAllDigits(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// A draft of this mount on its way to a version.
class CommittingDraft : public store::PublishableDraft {
 public:
  CommittingDraft(Context& context, DraftTable& drafts, DraftTable::Record& record,
                  const store::ObjectInfo& model, std::stop_token stop)
      : context_(context), drafts_(drafts), record_(record), model_(model), stop_(std::move(stop)) {}

  Result<Sealed> Seal(cas::Epoch epoch) override {
    seal_failed_ = true;
    ASSIGN_OR_RETURN(cas::SealedDraft sealed, record_.draft->Seal(epoch, {}, stop_));
    FAIL_POINT("fs.commit.sealed");
    if (stop_.stop_requested()) {
      record_.draft->Unseal();
      return Error(Code::kCancelled, "stopped after its files were hashed");
    }
    seal_failed_ = false;
    directories_ = std::move(sealed.directories);
    return Sealed{sealed.tree, std::move(sealed.times)};
  }
  void Unseal() override { record_.draft->Unseal(); }

  store::NewVersion Fields() override {
    store::DraftFields fields = drafts_.FieldsOf(record_);
    store::NewVersion version;
    version.comment = std::move(fields.description);
    version.tags = std::move(fields.tags);
    return version;
  }
  std::optional<store::VersionId> CopiedFrom() override { return drafts_.FirstCopiedFrom(record_); }
  // In the daemon's name: the user may be allowed to make versions and not to read their numbers.
  VersionNumber NextNumber() override {
    const Result<store::ObjectInfo> now = context_.registry->Get(context_.daemon, model_.id);
    return now.ok() ? now->next_version : model_.next_version;
  }
  Status Note(VersionNumber number, const Digest& tree) override {
    return drafts_.NoteSealed(record_, number, tree);
  }

  bool seal_failed() const { return seal_failed_; }
  std::vector<cas::SealedDraft::Directory> TakeDirectories() { return std::move(directories_); }

 private:
  Context& context_;
  DraftTable& drafts_;
  DraftTable::Record& record_;
  const store::ObjectInfo& model_;
  const std::stop_token stop_;
  bool seal_failed_ = false;
  std::vector<cas::SealedDraft::Directory> directories_;
};

class VersionsZone : public Zone {
 public:
  VersionsZone(Context& context, DraftTable& drafts, store::LeasePool& leases)
      : context_(context), drafts_(drafts), leases_(leases) {}

  Outcome<Entry> Lookup(const Request& /*request*/, NodeId parent, std::string_view name) override {
    const store::ObjectId model = Parse(parent).object;
    if (name == kLatest) return LookupLatest(model);
    if (const auto number = store::ParseVersionNumber(name); number.has_value()) {
      const Result<store::VersionInfo> version =
          context_.registry->GetVersion(context_.daemon, model, *number);
      if (!version.ok()) return Refuse(version.error());
      if (version->status != store::VersionStatus::kReady) {
        return Refuse(ENOENT,
                      fmt::format("version {} of {} is {}: only READY versions have a directory", *number,
                                  version->model_name.ToString(), store::StatusName(version->status)));
      }
      return VersionEntry(context_, *version);
    }
    const RecordPtr record = drafts_.Find(model, name);
    if (record == nullptr) {
      return Refuse(ENOENT, fmt::format("no version or draft is named {}", Printable(name)));
    }
    return DraftRootEntry(context_, *record);
  }

  Outcome<Attr> GetAttr(const Request& /*request*/, NodeId node) override {
    const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, Parse(node).object);
    if (!model.ok()) return RefuseNode(model.error());
    return Attr{ModelPartStat(context_, *model), kDirectoryAttrTtlS};
  }

  Outcome<NodeId> ParentOf(NodeId directory) override { return ObjectNode(Parse(directory).object); }
  Outcome<Place> PlaceOf(NodeId node) override { return Place{ObjectNode(Parse(node).object), "versions"}; }

  // rsync and tar finish a directory by setting its times: that changes nothing here.
  Outcome<Attr> SetAttr(const Request& request, NodeId node, const AttrChange& change) override {
    Outcome<Attr> attr = GetAttr(request, node);
    if (!attr.has_value()) return attr;
    const Outcome<void> kept = CheckOwnerAndMode(change, attr->attr);
    if (!kept.has_value()) return tl::unexpected(kept.error());
    return attr;
  }

  Outcome<Entry> MakeDirectory(const Request& request, NodeId parent, std::string_view name,
                               mode_t /*mode*/) override {
    const store::ObjectId model_id = Parse(parent).object;
    if (auto may = Permit(context_, request, store::Operation::kCreateVersion, model_id); !may) {
      return tl::unexpected(may.error());
    }
    const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, model_id);
    if (!model.ok()) return RefuseNode(model.error());
    if (const Outcome<void> valid = CheckDraftName(*model, name); !valid.has_value()) {
      return tl::unexpected(valid.error());
    }
    const Result<RecordPtr> record = drafts_.Create(model_id, std::string(name), request.caller.uid);
    if (!record.ok()) {
      const RecordPtr other = drafts_.Find(model_id, name);
      if (other != nullptr && other->creator != request.caller.uid) return tl::unexpected(TakenByOther(name));
      return Refuse(record.error());
    }
    return DraftRootEntry(context_, **record);
  }

  Outcome<CreatedFile> Create(const Request& request, NodeId parent, std::string_view /*name*/,
                              mode_t /*mode*/, int /*flags*/) override {
    return tl::unexpected(NoFilesHere(request, parent));
  }

  Outcome<Entry> MakeSymlink(const Request& request, NodeId parent, std::string_view /*name*/,
                             std::string_view /*target*/) override {
    return tl::unexpected(NoFilesHere(request, parent));
  }

  Outcome<void> Unlink(const Request& /*request*/, NodeId /*parent*/, std::string_view name) override {
    return Refuse(EPERM,
                  fmt::format("versions/{} is not a file to remove; `rmdir versions/N` deletes a version, "
                              "`rm -r versions/DRAFT` a draft",
                              Printable(name)));
  }

  Outcome<void> RemoveDirectory(const Request& request, NodeId parent, std::string_view name) override {
    const store::ObjectId model = Parse(parent).object;
    if (const auto number = store::ParseVersionNumber(name); number.has_value()) {
      return DeleteVersion(request, model, *number);
    }
    const RecordPtr record = drafts_.Find(model, name);
    if (record == nullptr) return Refuse(ENOENT, fmt::format("no draft is named {}", Printable(name)));
    if (auto own = PermitToChange(request, *record); !own) return own;
    if (Outcome<void> empty = CheckEmpty(*record, name); !empty.has_value()) return empty;
    if (const Status removed = drafts_.Remove(record); !removed.ok()) return Refuse(removed.error());
    return {};
  }

  Outcome<void> Rename(const Request& request, NodeId parent, std::string_view name, NodeId new_parent,
                       std::string_view new_name, unsigned flags) override {
    const store::ObjectId model_id = Parse(parent).object;
    if (store::ParseVersionNumber(name).has_value()) {
      return Refuse(EPERM,
                    fmt::format("version {} keeps its number: versions cannot be renamed; copy it (cp -r) "
                                "or set an alias on it (ln -s ../versions/{} aliases/NAME)",
                                name, name));
    }
    if (name == kLatest) return Refuse(EPERM, "`latest` is computed: it always names the newest version");
    const RecordPtr record = drafts_.Find(model_id, name);
    if (record == nullptr) return Refuse(ENOENT, fmt::format("no draft is named {}", Printable(name)));
    if (auto own = PermitToChange(request, *record); !own) return own;
    // Before anything is said of the model, or hashed; and again in the commit.
    if (auto may = Permit(context_, request, store::Operation::kCreateVersion, model_id); !may) return may;

    const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, model_id);
    if (!model.ok()) return RefuseRename(model.error());
    const NodeParts to = Parse(new_parent);
    if (to.kind == NodeKind::kTree || to.kind == NodeKind::kAliasTree) {
      return Refuse(EROFS,
                    fmt::format("this would move draft {} into a READY version, which never changes; the "
                                "next version is {}: {}",
                                Printable(name), model->next_version, CommitBy(name, model->next_version)));
    }
    if (new_parent != parent) {
      return Refuse(EPERM, fmt::format("a draft stays among the versions of its model, {}; to use its files "
                                       "elsewhere, copy it (cp -r)",
                                       model->full_name.ToString()));
    }
    if ((flags & RENAME_EXCHANGE) != 0) return Exchange(request, model_id, record, new_name);
    if (new_name == kNext || IsAllDigits(new_name)) return Commit(request, *model, record, name, new_name);
    return Relabel(request, *model, record, new_name, flags);
  }

  Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node) override {
    const store::ObjectId model = Parse(node).object;
    std::vector<std::pair<std::string, cas::DraftNumber>> drafts = drafts_.List(model, request.caller.uid);
    // A caller that may not see the versions may still create one, and has drafts of its own.
    const bool versions_too = May(context_, request, store::Operation::kGet, model);
    if (!versions_too && drafts.empty() && !May(context_, request, store::Operation::kCreateVersion, model)) {
      if (auto may = Permit(context_, request, store::Operation::kGet, model); !may) {
        return tl::unexpected(may.error());
      }
    }
    std::vector<DirectoryEntry> entries;
    store::PageRequest page;
    while (versions_too) {
      Result<store::Page<store::VersionInfo>> versions =
          context_.registry->ListVersions(context_.daemon, model, page);
      if (!versions.ok()) return RefuseNode(versions.error());
      for (const store::VersionInfo& version : versions->items) {
        if (version.status != store::VersionStatus::kReady) continue;
        entries.push_back(DirectoryEntry{.name = std::to_string(version.number),
                                         .node = TreeNode(version.id, 0, Flavour::kCached),
                                         .type = S_IFDIR,
                                         .entry = VersionEntry(context_, version)});
      }
      page.token = std::move(versions->next_token);
      if (page.token.empty()) break;
    }
    for (auto& [name, number] : drafts) {
      entries.push_back(DirectoryEntry{.name = std::move(name),
                                       .node = DraftNodeId(number, cas::kDraftRoot),
                                       .type = S_IFDIR,
                                       .entry = std::nullopt});
    }
    return OpenedDirectory{MakeDirectoryHandle(std::move(entries)), false};
  }

  Outcome<std::string> GetXattr(const Request& request, NodeId node, std::string_view name) override {
    if (name != kNextVersionAttribute) {
      return Refuse(ENODATA, fmt::format("no attribute {} here", Printable(name)));
    }
    const store::ObjectId id = Parse(node).object;
    if (auto may = PermitNumbers(context_, request, id); !may) return tl::unexpected(may.error());
    const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, id);
    if (!model.ok()) return RefuseNode(model.error());
    return std::to_string(model->next_version);
  }

  Outcome<std::vector<std::string>> ListXattr(const Request& /*request*/, NodeId /*node*/) override {
    return std::vector<std::string>{std::string(kNextVersionAttribute)};
  }

 protected:
  Refusal Unsupported(std::string_view operation) const override {
    return {EPERM,
            fmt::format("{} is not possible on versions/: it holds versions and drafts only", operation)};
  }

 private:
  Outcome<Entry> LookupLatest(store::ObjectId model_id) {
    const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, model_id);
    if (!model.ok()) return RefuseNode(model.error());
    if (model->latest_ready == 0) {
      return Refuse(ENOENT, fmt::format("{} has no READY version", model->full_name.ToString()));
    }
    const Result<store::VersionInfo> version =
        context_.registry->GetVersion(context_.daemon, model_id, model->latest_ready);
    if (!version.ok()) return Refuse(version.error());
    Entry entry;
    entry.node = AliasLinkNode(kLatestSlot, version->id);
    entry.attr = SymlinkStat(context_, std::to_string(version->number).size(), version->committed_at_ms);
    return entry;
  }

  Outcome<void> PermitToChange(const Request& request, const DraftTable::Record& draft) {
    return PermitDraft(context_, request, drafts_, draft, store::Operation::kCreateVersion);
  }

  static std::string HowToCommit(const store::ObjectInfo& model) {
    return fmt::format("cp -r SOURCE versions/draft && mv versions/draft versions/{}, or: {}",
                       model.next_version,
                       ShellCommand({"modelfs", "register", "SOURCE"}, {model.full_name.ToString()}));
  }
  static std::string CommitBy(std::string_view draft, VersionNumber number) {
    return ShellCommand({"mv"}, {fmt::format("versions/{}", draft), fmt::format("versions/{}", number)});
  }

  Refusal NoFilesHere(const Request& request, NodeId parent) {
    if (auto may = Permit(context_, request, store::Operation::kCreateVersion, Parse(parent).object); !may) {
      return std::move(may).error();
    }
    const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, Parse(parent).object);
    if (!model.ok()) return Refuse(model.error()).value();
    return {EPERM, "versions/ holds versions and drafts, no files; make a draft and put files into it: " +
                       HowToCommit(*model)};
  }

  static Refusal TakenByOther(std::string_view name) {
    return {EEXIST,
            fmt::format("versions/{} is the name of another user's draft, which only that user sees: choose "
                        "another name",
                        Printable(name))};
  }

  static Outcome<void> CheckDraftName(const store::ObjectInfo& model, std::string_view name) {
    if (IsAllDigits(name)) {
      return Refuse(
          EPERM, fmt::format("a version appears complete or not at all, so versions/{} cannot be made "
                             "empty; write a draft and rename it: {}; or, of what is a version or model here "
                             "already: {}",
                             name, HowToCommit(model), HowToCopy("SOURCE", model.full_name.ToString())));
    }
    if (name == kNext || name == kLatest) {
      return Refuse(EPERM, fmt::format("`{}` is reserved; choose another name for the draft: {}", name,
                                       HowToCommit(model)));
    }
    if (const Status valid = CheckPathComponent(name); !valid.ok()) return Refuse(valid.error());
    return {};
  }

  static Outcome<void> CheckEmpty(const DraftTable::Record& record, std::string_view name) {
    const Result<std::vector<cas::DraftEntry>> children = record.draft->List(cas::kDraftRoot);
    if (!children.ok()) return Refuse(children.error());
    if (!children->empty()) {
      return Refuse(ENOTEMPTY, fmt::format("draft {} still holds files", Printable(name)));
    }
    return {};
  }

  Outcome<void> DeleteVersion(const Request& request, store::ObjectId model, VersionNumber number) {
    const Result<store::VersionInfo> version = context_.registry->GetVersion(context_.daemon, model, number);
    if (!version.ok()) {
      // Only a caller that might delete it learns that the version does not exist, and of which model.
      if (auto may = Permit(context_, request, store::Operation::kDeleteVersion, model,
                            {{"version_arg", std::to_string(number)}});
          !may) {
        return may;
      }
      return Refuse(version.error());
    }
    if (const Status deleted = context_.registry->DeleteVersion(request.caller, model, number);
        !deleted.ok()) {
      return RefuseCaller(context_, model, deleted.error());
    }
    if (context_.trees != nullptr) context_.trees->Drop(version->id);
    return {};
  }

  Outcome<void> Exchange(const Request& request, store::ObjectId model, const RecordPtr& record,
                         std::string_view new_name) {
    const RecordPtr other = drafts_.Find(model, new_name);
    if (other == nullptr) {
      return Refuse(EPERM,
                    "only two drafts can change names: versions keep their numbers, and a draft becomes a "
                    "version by mv versions/DRAFT versions/next");
    }
    if (other == record) return {};
    if (auto own = PermitToChange(request, *other); !own) return own;
    if (const Status swapped = drafts_.Swap(*record, *other); !swapped.ok())
      return RefuseRename(swapped.error());
    return {};
  }

  Outcome<void> Relabel(const Request& request, const store::ObjectInfo& model, const RecordPtr& record,
                        std::string_view new_name, unsigned flags) {
    if (const Outcome<void> valid = CheckDraftName(model, new_name); !valid.has_value()) {
      return tl::unexpected(ForRename(valid.error()));
    }
    if (const RecordPtr replaced = drafts_.Find(model.id, new_name);
        replaced != nullptr && replaced != record) {
      if (replaced->creator != request.caller.uid) return tl::unexpected(ForRename(TakenByOther(new_name)));
      if ((flags & RENAME_NOREPLACE) != 0) return Refuse(EEXIST, "a draft of that name exists");
      if (const Outcome<void> empty = CheckEmpty(*replaced, new_name); !empty.has_value()) {
        return tl::unexpected(ForRename(empty.error()));
      }
      if (const Status removed = drafts_.Remove(replaced); !removed.ok())
        return RefuseRename(removed.error());
    }
    if (const Status done = drafts_.Relabel(*record, std::string(new_name)); !done.ok()) {
      return RefuseRename(done.error());
    }
    return {};
  }

  Outcome<void> Commit(const Request& request, const store::ObjectInfo& model, const RecordPtr& record,
                       std::string_view name, std::string_view new_name) {
    // Before the bytes are hashed, and again in the commit.
    std::optional<VersionNumber> expected;
    if (new_name != kNext) {
      expected = store::ParseVersionNumber(new_name);
      if (!expected.has_value() || *expected != model.next_version) {
        return Refuse(ERANGE, fmt::format("the next version of {} is {}, not {}; to versions/next, or: {}",
                                          model.full_name.ToString(), model.next_version, new_name,
                                          CommitBy(name, model.next_version)));
      }
    }
    // Until its turn comes the draft is as it was, and may be written to.
    const std::optional<Slots::Slot> slot = slots_.Take(request.caller.stop);
    if (!slot) {
      return Refuse(
          EINTR, fmt::format("the commit of draft {} was given up while it waited for others on this mount, "
                             "of which {} hash at a time; rename it again",
                             Printable(name), kCommitsAtOnce));
    }
    if (!drafts_.WaitForWriters(*record, Deadline::After(kWaitForWriters))) {
      return tl::unexpected(StillWritten(*record, name));
    }
    if (!drafts_.BeginCommit(*record)) {
      return Refuse(EBUSY, fmt::format("draft {} is being committed already", Printable(name)));
    }
    std::vector<cas::SealedDraft::Directory> directories;
    Outcome<store::VersionInfo> version = SealAndCommit(request, model, record, name, expected, directories);
    if (!version.has_value()) {
      drafts_.CommitFailed(*record);
      return tl::unexpected(ForRename(version.error()));
    }
    FAIL_POINT("fs.commit.committed");
    drafts_.Committed(record, {.model = version->model,
                               .version = version->number,
                               .id = version->id,
                               .directories = WhatBecameOf(directories, *version, name)});
    FAIL_POINT("fs.commit.ended");
    return {};
  }

  // The directories of a draft, as those of the version. Null where the version cannot be looked at.
  std::shared_ptr<const DraftTable::Directories> WhatBecameOf(
      const std::vector<cas::SealedDraft::Directory>& directories, const store::VersionInfo& version,
      std::string_view name) {
    if (context_.trees == nullptr) return nullptr;
    const Result<std::shared_ptr<const CachedVersion>> found = context_.trees->Get(version.id);
    if (!found.ok()) return nullptr;
    const CachedVersion* cached = found->get();
    for (const std::string& path : cas::Leftovers(cached->tree->tree())) {
      if (context_.log == nullptr) break;
      context_.log->info("commit_leftover model={} version={} draft={} path={}",
                         version.model_name.ToString(), version.number, Printable(name), Printable(path));
    }
    auto became = std::make_shared<DraftTable::Directories>();
    for (const cas::SealedDraft::Directory& directory : directories) {
      const std::optional<uint32_t> node = cached->tree->At(directory.path);
      if (node.has_value()) became->emplace(directory.node, *node);
    }
    return became;
  }

  // Names the file and the process, which may be one of many that hold it.
  Refusal StillWritten(DraftTable::Record& record, std::string_view name) {
    const std::optional<DraftTable::Writer> writer = drafts_.WriterOf(record);
    if (!writer.has_value()) {
      return {EBUSY, fmt::format("a file in draft {} was still open or mapped for writing; rename it again",
                                 Printable(name))};
    }
    const std::string file = PathIn(*record.draft, cas::kDraftRoot, writer->node, "");
    return {EBUSY, fmt::format(
                       "{}/{} is still open or mapped for writing by {}; close it and rename the draft again",
                       Printable(name), Printable(file), ProcessName(writer->pid))};
  }

  // The path of a file of a draft; "?" where it has lost its name meanwhile.
  static std::string PathIn(cas::Draft& draft, cas::DraftNode directory, cas::DraftNode file,
                            const std::string& prefix) {
    const Result<std::vector<cas::DraftEntry>> entries = draft.List(directory);
    if (!entries.ok()) return "?";
    for (const cas::DraftEntry& entry : *entries) {
      if (entry.node == file) return prefix + entry.name;
    }
    for (const cas::DraftEntry& entry : *entries) {
      if (entry.kind != cas::DraftKind::kDirectory) continue;
      std::string found = PathIn(draft, entry.node, file, prefix + entry.name + "/");
      if (found != "?") return found;
    }
    return "?";
  }

  static std::string ProcessName(pid_t pid) {
    if (pid == 0) return "a process of another pid namespace";
    std::ifstream file(fmt::format("/proc/{}/comm", pid));
    std::string command;
    if (!std::getline(file, command)) {
      return fmt::format("a process that was given it by pid {}, which is gone", pid);
    }
    return fmt::format("{} (pid {})", Printable(command), pid);
  }

  static Refusal Interrupted(std::string_view name) {
    return {EINTR,
            fmt::format(
                "the commit of draft {} was given up while its files were hashed, as a signal came or the "
                "mount ended: nothing was committed, the draft is as it was; rename it again",
                Printable(name))};
  }

  Outcome<store::VersionInfo> SealAndCommit(const Request& request, const store::ObjectInfo& model,
                                            const RecordPtr& record, std::string_view name,
                                            std::optional<VersionNumber> expected,
                                            std::vector<cas::SealedDraft::Directory>& directories) {
    CommittingDraft draft(context_, drafts_, *record, model, request.caller.stop);
    Result<store::VersionInfo> version = store::PublishDraft(*context_.registry, *context_.blobs, leases_,
                                                             request.caller, model.id, draft, expected);
    if (version.ok()) {
      directories = draft.TakeDirectories();
      return *std::move(version);
    }
    if (draft.seal_failed()) return tl::unexpected(SealRefusal(version.error(), *record, name));
    return RefuseCaller(context_, model.id, version.error());
  }

  Refusal SealRefusal(const Error& error, DraftTable::Record& record, std::string_view name) {
    switch (error.code()) {
      case Code::kNotFound:
        return {ENODATA, fmt::format("draft {} holds no file: a version has at least one", Printable(name))};
      case Code::kFailedPrecondition:
        return StillWritten(record, name);
      case Code::kCancelled:
        return Interrupted(name);
      default:
        return Refuse(error).value();
    }
  }

  Context& context_;
  Slots slots_{kCommitsAtOnce};
  DraftTable& drafts_;
  store::LeasePool& leases_;
};

}  // namespace

std::unique_ptr<Zone> MakeVersionsZone(Context& context, DraftTable& drafts, store::LeasePool& leases) {
  return std::make_unique<VersionsZone>(context, drafts, leases);
}

}  // namespace modelfs::fs
