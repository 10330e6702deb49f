// status, why, commit: commands that use the files of a mount.
#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <variant>

#include "cas/base/error_table.h"
#include "cas/base/fd.h"
#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "cas/tree_store.h"
#include "fs/kernel/mount_point.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/mounts.h"
#include "tools/print/output.h"
#include "tools/records.h"

namespace modelfs::tools {
namespace {

Error DaemonGone(const std::string& mount_point) {
  return {Code::kUnavailable,
          fmt::format("{}: its daemon is gone; mount it again: {}, or clear it: {}", mount_point,
                      ShellCommand({"modelfs", "mount", "HOME"}, {mount_point}),
                      ShellCommand({"modelfs", "umount"}, {mount_point}))};
}

// Call this before any request to a mount, because a daemon that is dead or hangs would block the request.
Status CheckAnswers(const MountPoint& mount) {
  ASSIGN_OR_RETURN(const bool killed, EndIfKilled(mount));
  if (killed) return DaemonGone(mount.path);
  ASSIGN_OR_RETURN(const fs::Health health, fs::HealthOf(mount.path));
  if (health == fs::Health::kSilent) {
    return Error(Code::kUnavailable,
                 fmt::format("{}: its daemon did not answer within {} s; try again, or, if it keeps hanging, "
                             "detach it: {}",
                             mount.path, fs::kAnswerTime.count(),
                             ShellCommand({"modelfs", "umount", "--lazy"}, {mount.path})));
  }
  return OkStatus();
}

// Reads a whole file of MNT/.modelfs.
Result<std::string> ReadMountFile(const MountPoint& mount, const std::string& name) {
  RETURN_IF_ERROR(CheckAnswers(mount));
  const std::string path = fmt::format("{}/.modelfs/{}", mount.path, name);
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  ssize_t count = file.valid() ? 1 : -1;
  while (count > 0) {
    char block[1 << 16];
    count = ::read(file.get(), block, sizeof block);
    if (count > 0) text.append(block, static_cast<size_t>(count));
  }
  if (count == 0) return text;
  if (errno == ENOTCONN || errno == ECONNABORTED) return DaemonGone(mount.path);
  if (errno == EACCES) {
    return Error(Code::kPermissionDenied,
                 fmt::format("{} is another user's private mount; to make a mount for all users of the host: "
                             "modelfs mount -o allow_other",
                             mount.path));
  }
  return ErrnoError(errno, path);
}

// Leaves out private mounts of other users: the kernel refuses requests to them.
Result<std::vector<MountPoint>> OurMounts() {
  ASSIGN_OR_RETURN(std::vector<MountPoint> mounts, ReadMounts());
  std::erase_if(mounts, [](const MountPoint& mount) { return !IsOurs(mount); });
  return mounts;
}

// The mounts that a command uses: the one at or above `path`, else all on this host that the caller may use.
// A named registry limits these to its own.
Result<std::vector<MountPoint>> MountsFor(const Cli& cli, const std::string& path) {
  if (!path.empty()) {
    ASSIGN_OR_RETURN(const MountedPath found, FindMount(path));
    return std::vector<MountPoint>{found.mount};
  }
  ASSIGN_OR_RETURN(std::vector<MountPoint> mounts, OurMounts());
  const Result<std::string> home = HomePath(cli.globals.registry);
  if (home.ok()) std::erase_if(mounts, [&](const MountPoint& mount) { return mount.source != *home; });
  return mounts;
}

// The message if MountsFor finds none.
std::string NothingMounted(const Cli& cli, std::string_view command) {
  const Result<std::string> home = HomePath(cli.globals.registry);
  if (!home.ok()) return "this host has no mount that you may use";
  const Result<std::vector<MountPoint>> others = OurMounts();
  std::string text = fmt::format("{} is not mounted", Printable(*home));
  if (others.ok() && !others->empty()) {
    text += fmt::format("; {} is a mount of another registry: to ask that one, {}",
                        Printable(others->front().path),
                        ShellCommand({"modelfs", std::string(command)}, {others->front().path}));
  }
  return text;
}

// --- status ---

struct StatusArguments {
  std::string mount;
  bool json = false;
};

// The text output leaves out zeros and empty strings; --json has all fields.
bool WorthShowing(const Json& value) {
  return !(value.is_number() && value == 0) &&
         !(value.is_string() && value.get_ref<const std::string&>().empty());
}

std::string Flat(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void PrintField(const std::string& name, const Json& value) {
  if (WorthShowing(value)) PrintLine(fmt::format("  {}: {}", name, Printable(Flat(value))));
}

void PrintStatus(const MountPoint& mount, const Json& status) {
  PrintLine(fmt::format("{} of {}", Printable(mount.path), Printable(mount.source)));
  for (const auto& field : status.items()) {
    if (field.key() == "kind") continue;
    if (!field.value().is_object()) {
      PrintField(field.key(), field.value());
      continue;
    }
    for (const auto& inner : field.value().items())
      PrintField(field.key() + "." + inner.key(), inner.value());
  }
}

Status RunStatus(const Cli& cli, const StatusArguments& arguments) {
  ASSIGN_OR_RETURN(const std::vector<MountPoint> mounts, MountsFor(cli, arguments.mount));
  JsonList list;
  std::optional<Error> failure;
  for (const MountPoint& mount : mounts) {
    Result<std::string> text = ReadMountFile(mount, "status");
    if (!text.ok()) {
      failure = std::move(text).error();
      continue;
    }
    Json status = Json::parse(*text, nullptr, false);
    if (!status.is_object()) {
      failure = Error(Code::kInternal, fmt::format("{}: its status is not a JSON object", mount.path));
    } else if (arguments.json) {
      status["mount_point"] = mount.path;
      status["home"] = mount.source;
      list.Add(status);
    } else {
      PrintStatus(mount, status);
    }
  }
  if (arguments.json) list.End();
  if (mounts.empty() && !arguments.json) PrintLine(NothingMounted(cli, "status"));
  if (failure) return *failure;
  return OkStatus();
}

// --- why ---

struct WhyArguments {
  std::string path;
  bool json = false;
};

// Replaces an alias in a path below a mount by the version that it points to now. The mount records one path
// for each file of a version, whichever path was used.
std::string ThroughAlias(const MountPoint& mount, const std::string& below) {
  const Result<Place> place = PlaceBelowMount(below);
  if (!place.ok() || std::holds_alternative<std::monostate>(place->version) ||
      std::holds_alternative<store::VersionNumber>(place->version)) {
    return below;
  }
  const std::string model = "/" + fmt::format("{}", fmt::join(place->name.parts, "/"));
  const auto* alias = std::get_if<std::string>(&place->version);
  const std::string link =
      mount.path + model + (alias != nullptr ? "/aliases/" + *alias : std::string("/versions/latest"));
  char target[PATH_MAX];
  const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
  if (size <= 0) return below;
  const std::string_view leads_to(target, static_cast<size_t>(size));
  const std::string_view number = leads_to.substr(leads_to.rfind('/') + 1);
  return fmt::format("{}/versions/{}{}{}", model, number, place->inside.empty() ? "" : "/", place->inside);
}

bool IsWithinBelow(std::string_view path, std::string_view asked) {
  return asked == "/" || path == asked ||
         (path.size() > asked.size() && path[asked.size()] == '/' && path.substr(0, asked.size()) == asked);
}

// Whether a refusal about `path` ("/a/b", or "/a/b -> /a/c" for rename) concerns `asked` or what is in it.
bool Concerns(const MountPoint& mount, const std::string& path, const std::string& asked) {
  if (asked == "/") return true;
  const std::string asked_version = ThroughAlias(mount, asked);
  const auto within = [&](const std::string& one) {
    return IsWithinBelow(one, asked) || IsWithinBelow(ThroughAlias(mount, one), asked_version);
  };
  const size_t arrow = path.find(" -> ");
  if (arrow == std::string::npos) return within(path);
  return within(path) || within(path.substr(0, arrow)) || within(path.substr(arrow + 4));
}

// The first three components of a longer path: "/c/s/m".
std::string ModelOf(const std::string& below) {
  size_t end = 0;
  for (int part = 0; part < 3 && end != std::string::npos; ++part) end = below.find('/', end + 1);
  return below.substr(0, end);
}

// The name in the form that ParsePlace accepts.
std::string NameOf(const Place& place) {
  std::string name = place.name.ToString();
  if (const auto* number = std::get_if<store::VersionNumber>(&place.version))
    name += fmt::format("/{}", *number);
  if (const auto* alias = std::get_if<std::string>(&place.version)) name += "@" + *alias;
  return name;
}

// The path of the named object below a mount.
std::string BelowMount(const Place& place) {
  std::string below;
  for (const std::string& part : place.name.parts) below += "/" + part;
  if (const auto* number = std::get_if<store::VersionNumber>(&place.version))
    below += fmt::format("/versions/{}", *number);
  if (const auto* alias = std::get_if<std::string>(&place.version)) below += "@" + *alias;
  return below;
}

// The refusals of a mount that concern `below`, oldest first.
Result<std::vector<Json>> Refusals(const MountPoint& mount, const std::string& below) {
  ASSIGN_OR_RETURN(const std::string text, ReadMountFile(mount, "errors"));
  std::vector<Json> refusals;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    Json refusal = Json::parse(line, nullptr, false);
    if (refusal.is_object() && Concerns(mount, refusal.value("path", ""), below))
      refusals.push_back(std::move(refusal));
  }
  return refusals;
}

// The operations that the caller may not do on the catalog, schema, model or version at or above `below`. If
// the kernel itself closes a directory, no request reaches the mount, so Refusals has nothing about it. Empty
// if `below` is outside the registry.
std::vector<Json> Lacking(const MountPoint& mount, const std::string& below) {
  std::vector<Json> lacking;
  Result<Place> place = PlaceBelowMount(ThroughAlias(mount, below));
  // For a draft, or a path beside versions/ and aliases/, use the model.
  if (!place.ok()) place = PlaceBelowMount(ModelOf(below));
  if (!place.ok() || place->name.parts.empty()) return lacking;
  std::string text(XATTR_SIZE_MAX, '\0');
  const ssize_t size =
      ::getxattr((mount.path + "/.modelfs").c_str(), ("user.modelfs.access." + NameOf(*place)).c_str(),
                 text.data(), text.size());
  if (size < 0) return lacking;  // a name longer than XATTR_NAME_MAX
  text.resize(static_cast<size_t>(size));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    Json access = Json::parse(line, nullptr, false);
    if (access.is_object() && !access.value("allowed", true)) lacking.push_back(std::move(access));
  }
  return lacking;
}

// The subject of `why`: whole mounts, or a path below one; a name is the same path below each mount.
struct Asked {
  std::vector<MountPoint> mounts;
  std::string below = "/";
};

bool IsThereOrWasRefused(const MountedPath& path, const std::string& text) {
  struct stat info = {};
  if (::lstat(text.c_str(), &info) == 0) return true;
  const Result<std::vector<Json>> refusals = Refusals(path.mount, path.below);
  return refusals.ok() && !refusals->empty();
}

Result<Asked> WhatIsAsked(const Cli& cli, const std::string& text) {
  Asked asked;
  if (text.empty()) {
    ASSIGN_OR_RETURN(asked.mounts, MountsFor(cli, ""));
    return asked;
  }
  const Result<Place> named = ParsePlace(text);
  // "Upper", typed in the directory of the refusal, is not a name and may be a path; "prod.ml.Upper" is meant
  // as a name.
  const bool meant_as_name = std::count(text.begin(), text.end(), '.') >= 2;
  if (!IsPath(text) && !named.ok() && meant_as_name) return named.error();
  if (IsPath(text) || !named.ok() || !named->home.empty()) {
    ASSIGN_OR_RETURN(MountedPath found, FindMount(text));
    asked.mounts = {std::move(found.mount)};
    asked.below = std::move(found.below);
    return asked;
  }
  // Typed in the directory of the refusal, "w.bin" is the file, though a schema could have that name.
  if (named->name.parts.size() < 3 && !named->HasVersion()) {
    Result<MountedPath> found = FindMount(text);
    if (found.ok() && IsOurs(found->mount) && IsThereOrWasRefused(*found, text)) {
      asked.mounts = {std::move(found->mount)};
      asked.below = std::move(found->below);
      return asked;
    }
  }
  asked.below = BelowMount(*named);
  // In a directory of a mount, the name is one of its registry.
  if (const Result<MountedPath> here = FindMount("."); here.ok() && IsOurs(here->mount)) {
    asked.mounts = {here->mount};
  } else {
    ASSIGN_OR_RETURN(asked.mounts, MountsFor(cli, ""));
  }
  return asked;
}

std::string RefusalText(const MountPoint& mount, const Json& refusal) {
  const int64_t last_ms = refusal.value("last_at", int64_t{0});
  const int64_t first_ms = refusal.value("first_at", last_ms);
  const auto count = refusal.value("count", uint64_t{1});
  std::string text =
      fmt::format("{}  {} {}{}: {}: {}", LocalTime(last_ms), refusal.value("operation", "?"), mount.path,
                  refusal.value("path", "?"), refusal.value("errno_name", "?"), refusal.value("message", ""));
  if (count > 1) text += fmt::format(" ({} such refusals since {})", count, LocalTime(first_ms));
  return Printable(text);
}

Status RunWhy(const Cli& cli, const WhyArguments& arguments) {
  ASSIGN_OR_RETURN(const Asked asked, WhatIsAsked(cli, arguments.path));
  JsonList list;
  std::set<std::string> shown;
  const auto show = [&](const MountPoint& mount, Json& answer, std::string text) {
    if (arguments.json) {
      answer["mount_point"] = mount.path;
      list.Add(answer);
    } else if (!shown.contains(text)) {
      PrintLine(text);
    }
    shown.insert(std::move(text));
  };
  size_t answered = 0;  // mounts
  std::optional<Error> failure;
  for (const MountPoint& mount : asked.mounts) {
    Result<std::vector<Json>> refusals = Refusals(mount, asked.below);
    if (!refusals.ok()) {
      failure = std::move(refusals).error();
      continue;
    }
    ++answered;
    std::reverse(refusals->begin(), refusals->end());  // the newest first: the user most likely asks about it
    for (Json& refusal : *refusals) show(mount, refusal, RefusalText(mount, refusal));
    if (arguments.path.empty()) continue;
    for (Json& access : Lacking(mount, asked.below)) {
      show(mount, access, Printable(access.value("message", "?")));
    }
  }
  if (arguments.json) {
    list.End();
  } else if (asked.mounts.empty()) {
    PrintLine(NothingMounted(cli, "why"));
  } else if (shown.empty() && answered > 0) {
    PrintLine(arguments.path.empty()
                  ? "no refusal of yours is recorded; if the kernel itself closes a directory, "
                    "none is: ask modelfs why PATH"
                  : "nothing was refused there");
  }
  if (failure) return *failure;
  return OkStatus();
}

// --- commit ---

struct CommitArguments {
  std::string path;
  bool json = false;
};

// Another commit can take the number between the look at it and the rename; then the loop looks again.
constexpr int kCommitAttempts = 100;

// The code for the errno that the mount returned; EPERM and EACCES mean different things there.
Code CodeOfMountErrno(int errno_value) {
  for (const ErrorRow& row : kErrorRows) {
    if (row.fuse_errno == errno_value && row.code != Code::kUnauthenticated) return row.code;
  }
  // ENODATA: a draft without files. EROFS: a mount that is read-only as a whole.
  if (errno_value == ENODATA || errno_value == EROFS) return Code::kFailedPrecondition;
  return ErrnoError(errno_value, "").code();
}

// The mount's own message for the latest refusal, else the errno's.
Error RefusalOfRename(const MountedPath& draft, int errno_value) {
  const Result<std::vector<Json>> refusals = Refusals(draft.mount, draft.below);
  std::string message;
  if (refusals.ok() && !refusals->empty() && refusals->back().value("errno", 0) == errno_value) {
    message = refusals->back().value("message", "");
  }
  if (message.empty() && errno_value == ENOENT) {
    message = "no such draft exists; mkdir or cp -r makes one there, and ls shows your drafts";
  }
  // The kernel refused this without asking the mount, so a message of the mount would be about something
  // else.
  if (message.empty() && errno_value == EROFS) {
    message = fmt::format("the mount is read-only; mount it without -o ro: {}, {}",
                          ShellCommand({"modelfs", "umount"}, {draft.mount.path}),
                          ShellCommand({"modelfs", "mount"}, {draft.mount.source, draft.mount.path}));
  }
  if (message.empty()) message = ErrnoError(errno_value, "rename").message();
  return Error(CodeOfMountErrno(errno_value),
               fmt::format("commit {}{}: {}", draft.mount.path, draft.below, message));
}

// Best effort: the version exists already.
void HintAtLeftovers(Session& session, const store::VersionInfo& version) {
  const Result<cas::Tree> tree = cas::ReadTree(*session.blobs, version.tree);
  if (!tree.ok()) return;
  PrintLeftovers(cas::Leftovers(*tree), "remove such files from a draft before its commit (rm -r)");
}

Status RunCommit(const Cli& cli, const CommitArguments& arguments) {
  ASSIGN_OR_RETURN(const MountedPath draft, FindMount(arguments.path));
  const auto refuse = [&arguments] {
    return Error(
        Code::kInvalidArgument,
        fmt::format("{} is not a draft; a draft is a directory MODEL/versions/DRAFT in a mount; to store any "
                    "other directory: modelfs register DIR NAME",
                    Printable(arguments.path)));
  };
  const size_t slash = draft.below.rfind('/');
  const std::string versions_below = draft.below.substr(0, slash);
  if (!IsInDraft(draft.below) || !versions_below.ends_with("/versions")) return refuse();
  ASSIGN_OR_RETURN(Place model_place, PlaceBelowMount(versions_below));
  if (model_place.name.parts.size() != 3 || model_place.HasVersion()) return refuse();
  ASSIGN_OR_RETURN(model_place.home, HomeOf(draft.mount));
  RETURN_IF_ERROR(CheckAnswers(draft.mount));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&model_place}));

  // Renames to the number rather than to "next", so that the printed number belongs to this draft.
  const std::string from = draft.mount.path + draft.below;
  for (int attempt = 1;; ++attempt) {
    ASSIGN_OR_RETURN(const store::ObjectInfo model, FindObject(*session, model_place));
    const std::string to = fmt::format("{}{}/{}", draft.mount.path, versions_below, model.next_version);
    if (::rename(from.c_str(), to.c_str()) != 0) {
      const int failure = errno;
      const bool number_taken = failure == ERANGE || failure == EEXIST;
      if (number_taken && attempt < kCommitAttempts) continue;
      return RefusalOfRename(draft, failure);
    }
    const Result<store::VersionInfo> version =
        session->registry->GetVersion(session->caller, model.id, model.next_version);
    if (version.ok()) HintAtLeftovers(*session, *version);
    if (!arguments.json) {
      PrintLine(std::to_string(model.next_version));
      return OkStatus();
    }
    if (!version.ok()) return version.error();
    ASSIGN_OR_RETURN(const Json json, VersionRecord(*session, *version));
    PrintJson(json);
    return OkStatus();
  }
}

}  // namespace

void AddStatusCommands(Cli& cli) {
  {
    auto arguments = std::make_shared<CommitArguments>();
    CLI::App* command = AddCommand(
        *cli.app, "commit", "Turn a draft in a mount into the next version of its model; prints the number",
        "modelfs commit /models/prod/ml_team/iris_model/versions/draft");
    command->add_option("DRAFT-PATH", arguments->path, "The draft's directory: MNT/C/S/M/versions/DRAFT")
        ->required();
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunCommit);
  }
  {
    auto arguments = std::make_shared<StatusArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "status", "Show the state and the counters of the mounts of this host",
                   "modelfs status /models");
    command->add_option("MNT", arguments->mount,
                        "Only this mount (default: all, of the registry if one is named)");
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunStatus);
  }
  {
    auto arguments = std::make_shared<WhyArguments>();
    CLI::App* command = AddCommand(
        *cli.app, "why",
        "Explain a mount's recent refusals to you, and the operations that you may not do at a path",
        "modelfs why /models/prod/ml_team/iris_model/versions");
    command->add_option(
        "PATH", arguments->path,
        "Only refusals at or below this path, or C.S.M, C.S.M/N or C.S.M@ALIAS; also the operations that "
        "you may not do there, the missing privileges, and the principals that can grant them");
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunWhy);
  }
}

}  // namespace modelfs::tools
