#include "cas/drafts/links.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "cas/base/text.h"

namespace modelfs::cas {
namespace {

class Unfolder {
 public:
  explicit Unfolder(const DraftNames& names) : names_(names) {
    for (const auto& [node, directory] : names.directories) entries_ += directory.entries.size();
  }

  Result<UnfoldedNames> Run() {
    RETURN_IF_ERROR(Measure(kDraftRoot, "", Depth{}));
    Emit(kDraftRoot, "", true);
    return std::move(out_);
  }

 private:
  // The final target of a link.
  struct Target {
    DraftNode node = 0;
    bool directory = false;
    int followed = 0;  // links on the way, this one included
  };
  // The depth of an entry, or the greatest depth below it.
  struct Depth {
    size_t levels = 0;
    int links = 0;     // links to directories
    size_t bytes = 0;  // of the path
  };
  // The number of files and directories, and the bytes in their paths.
  struct Size {
    uint64_t entries = 0;
    uint64_t path_bytes = 0;
  };
  struct Measured {
    Size all;  // including the targets of links
    Size own;  // without them
    Depth depth;
  };

  static void Add(Size& sum, size_t name_bytes, const Size& below) {
    sum.entries += 1 + below.entries;
    sum.path_bytes += name_bytes + below.path_bytes + below.entries * (name_bytes + 1);
  }

  static Error Refuse(std::string_view path, std::string_view why) {
    return {Code::kInvalidArgument, fmt::format("{}: {}", Printable(path), why)};
  }

  const DraftEntry* Find(DraftNode directory, std::string_view name) const {
    const std::vector<DraftEntry>& entries = names_.directories.at(directory).entries;
    const auto at =
        std::lower_bound(entries.begin(), entries.end(), name,
                         [](const DraftEntry& entry, std::string_view want) { return entry.name < want; });
    return at != entries.end() && at->name == name ? &*at : nullptr;
  }

  // `path` is the path of the link for messages; `depth` is the number of links that led here.
  Result<Target> Follow(DraftNode directory, DraftNode link, const std::string& path, int depth) {
    const uint64_t key = (uint64_t{directory} << 32U) | link;
    if (const auto known = followed_.find(key); known != followed_.end()) return known->second;
    const std::string& text = names_.link_texts.at(link);
    if (depth > kMostLinksFollowed) {
      return Refuse(path,
                    fmt::format("is a symbolic link that leads in a circle, or over more than {} others; "
                                "remove it",
                                kMostLinksFollowed));
    }
    if (text.starts_with('/')) {
      return Refuse(path, fmt::format("is a symbolic link to the absolute path {}; a version can be mounted "
                                      "anywhere, so make the link relative (ln -sr), or replace it by a copy",
                                      Printable(text)));
    }
    const auto nowhere = [&] {
      return Refuse(path,
                    fmt::format("is a symbolic link to {}, which leads nowhere; put there what it should "
                                "lead to, or remove the link",
                                Printable(text)));
    };
    Target at = {.node = directory, .directory = true, .followed = 1};
    for (std::string_view rest = text; !rest.empty();) {
      const size_t slash = rest.find('/');
      const std::string_view name = rest.substr(0, slash);
      rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
      // Also if only a slash follows a file's name.
      if (!at.directory) return nowhere();
      if (!name.empty() && name != ".") {
        RETURN_IF_ERROR(Step(at, name, path, text, depth));
        if (!at.directory && slash != std::string_view::npos) return nowhere();
      }
    }
    if (at.followed > kMostLinksFollowed) {
      return Refuse(path, fmt::format("is a symbolic link that leads over more than {} others; make it lead "
                                      "there directly",
                                      kMostLinksFollowed));
    }
    followed_.emplace(key, at);
    return at;
  }

  // Goes one component further.
  Status Step(Target& at, std::string_view name, const std::string& path, const std::string& text,
              int depth) {
    if (name == "..") {
      if (at.node == kDraftRoot) {
        return Refuse(path,
                      fmt::format("is a symbolic link to {}, which leads out of the draft; replace it by a "
                                  "copy of what it leads to",
                                  Printable(text)));
      }
      at.node = names_.directories.at(at.node).parent;
      return OkStatus();
    }
    const DraftEntry* entry = Find(at.node, name);
    if (entry == nullptr) {
      return Refuse(
          path,
          fmt::format("is a symbolic link to {}, which leads nowhere, because {} does not exist on the way; "
                      "put it there, or remove the link",
                      Printable(text), Printable(name)));
    }
    if (entry->kind != DraftKind::kLink) {
      at.node = entry->node;
      at.directory = entry->kind == DraftKind::kDirectory;
      return OkStatus();
    }
    ASSIGN_OR_RETURN(const Target next, Follow(at.node, entry->node, path, depth + 1));
    at.node = next.node;
    at.directory = next.directory;
    at.followed += next.followed;
    return OkStatus();
  }

  // Measures a directory with all to which its links unfold; looks at each directory once. So too large an
  // unfolding is refused before any of it exists.
  Result<Measured> Measure(DraftNode directory, const std::string& path, Depth at) {
    if (const auto known = measured_.find(directory); known != measured_.end()) {
      if (!known->second.has_value()) {
        return Refuse(path, "is a symbolic link to a directory that it lies in; remove it");
      }
      const Measured& measured = *known->second;
      RETURN_IF_ERROR(CheckDepth(path, {.levels = at.levels + measured.depth.levels,
                                        .links = at.links + measured.depth.links,
                                        .bytes = at.bytes + measured.depth.bytes}));
      return measured;
    }
    RETURN_IF_ERROR(CheckDepth(path, at));
    measured_.emplace(directory, std::nullopt);
    Measured sum;
    for (const DraftEntry& entry : names_.directories.at(directory).entries) {
      const std::string entry_path = path.empty() ? entry.name : path + "/" + entry.name;
      const size_t name_bytes = entry.name.size() + (path.empty() ? 0 : 1);  // with the slash before it
      Measured below;
      below.depth.levels = 1;
      DraftNode node = entry.node;
      bool is_directory = entry.kind == DraftKind::kDirectory;
      const bool is_link = entry.kind == DraftKind::kLink;
      if (is_link) {
        ASSIGN_OR_RETURN(const Target target, Follow(directory, entry.node, entry_path, 1));
        node = target.node;
        is_directory = target.directory;
      }
      if (is_directory) {
        const int links = is_link ? 1 : 0;
        ASSIGN_OR_RETURN(
            below,
            Measure(node, entry_path,
                    {.levels = at.levels + 1, .links = at.links + links, .bytes = at.bytes + name_bytes}));
        ++below.depth.levels;
        below.depth.links += links;
      } else {
        RETURN_IF_ERROR(CheckDepth(
            entry_path, {.levels = at.levels + 1, .links = at.links, .bytes = at.bytes + name_bytes}));
      }
      Add(sum.all, entry.name.size(), below.all);
      Add(sum.own, entry.name.size(), is_link ? Size{} : below.own);
      sum.depth.levels = std::max(sum.depth.levels, below.depth.levels);
      sum.depth.links = std::max(sum.depth.links, below.depth.links);
      sum.depth.bytes = std::max(sum.depth.bytes, below.depth.bytes + name_bytes);
      if (sum.all.path_bytes > sum.own.path_bytes + kMostUnfoldedBytes) {
        return Refuse(entry_path,
                      fmt::format("with it, the paths that the symbolic links of the draft unfold to are "
                                  "longer than {} MiB together; remove links to directories",
                                  kMostUnfoldedBytes >> 20U));
      }
      if (sum.all.entries > entries_ + kMostUnfolded) {
        return Refuse(entry_path,
                      fmt::format("with it, the symbolic links of the draft unfold to more than {} files "
                                  "and directories; remove links to directories",
                                  kMostUnfolded));
      }
    }
    measured_[directory] = sum;
    return sum;
  }

  static Status CheckDepth(std::string_view path, Depth depth) {
    if (depth.levels > kTreeMaxDepth) {
      return Refuse(path, fmt::format("lies more than {} levels deep", kTreeMaxDepth));
    }
    if (depth.bytes > kPathMaxBytes) {
      return Refuse(path, fmt::format("with what is in it, its path is longer than {} bytes", kPathMaxBytes));
    }
    if (depth.links > kMostLinksFollowed) {
      return Refuse(
          path, fmt::format("symbolic links to directories lie more than {} deep within each other; remove "
                            "some",
                            kMostLinksFollowed));
    }
    return OkStatus();
  }

  // Call after Measure, so that every link leads somewhere and the recursion ends. `own`: no link led here.
  void Emit(DraftNode directory, const std::string& path, bool own) {
    const std::vector<DraftEntry>& entries = names_.directories.at(directory).entries;
    if (own) out_.directories.push_back({.path = path, .node = directory, .directory = true});
    if (entries.empty() && !path.empty()) {
      out_.leaves.push_back({.path = path, .node = directory, .directory = true});
    }
    for (const DraftEntry& entry : entries) {
      std::string entry_path = path.empty() ? entry.name : path + "/" + entry.name;
      Target target = {.node = entry.node, .directory = entry.kind == DraftKind::kDirectory};
      const bool is_link = entry.kind == DraftKind::kLink;
      if (is_link) target = followed_.at((uint64_t{directory} << 32U) | entry.node);
      if (target.directory) {
        Emit(target.node, entry_path, own && !is_link);
      } else {
        out_.leaves.push_back({.path = std::move(entry_path), .node = target.node, .directory = false});
      }
    }
  }

  const DraftNames& names_;
  uint64_t entries_ = 0;                           // in all directories; each directory counts once
  std::unordered_map<uint64_t, Target> followed_;  // by directory and link
  // Nothing: the directory is being measured.
  std::unordered_map<DraftNode, std::optional<Measured>> measured_;
  UnfoldedNames out_;
};

}  // namespace

Result<UnfoldedNames> Unfold(const DraftNames& names) { return Unfolder(names).Run(); }

}  // namespace modelfs::cas
