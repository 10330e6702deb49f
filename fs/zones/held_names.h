// The names in aliases/ that are not aliases. Programs make some on the way to one (the temporary link of `ln
// -sfn` or rsync, tar's empty placeholder); others are backups that `mv -b` keeps. They live in this mount's
// memory and go with it, with their model, or by age; see "Held names" in docs/mount.md.
//
// Users share a mount, so names that one user piles up must never stand in another's way: each user has a
// share in each model and altogether.
//
// Thread-safe; waits for nothing.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/thread.h"
#include "fs/base/zone.h"
#include "store/types.h"

namespace modelfs::fs {

class HeldNames {
 public:
  // A program holds one name at a time; tar holds one for each alias that it unpacks.
  static constexpr size_t kMostInModel = 64;   // of one user, in one model
  static constexpr size_t kMostOfUser = 1024;  // in all models
  static constexpr size_t kMost = 65'536;      // of all users; some 200 bytes each
  // A program's step takes milliseconds; a person that keeps an alias by `mv -b` may want it back.
  static constexpr int64_t kLinkLifetimeMs = 10 * 60 * 1000;
  // tar comes back after it has unpacked everything else, and silently drops the link if its file is gone.
  static constexpr int64_t kFileLifetimeMs = 24 * 60 * 60 * 1000;

  struct Held {
    uint64_t serial = 0;  // for HeldNode
    store::ObjectId model = 0;
    uid_t maker = 0;
    std::optional<store::VersionNumber> version;  // that a link points to; nothing: an empty file
    mode_t mode = 0;
    int64_t made_at_ms = 0;
    int64_t made_since_boot_ms = 0;  // setting a clock ends no name
  };
  enum class IfTaken : uint8_t { kRefuse, kReplace };

  explicit HeldNames(const Clock& clock) : clock_(clock) {}

  // Stores `held`; sets its serial, model and times. EEXIST if the name is taken; EDQUOT if the maker's share
  // is used up, and then a name that was to be replaced stays.
  Outcome<Held> Hold(store::ObjectId model, std::string_view name, Held held, IfTaken if_taken) EXCLUDES(mu_);
  std::optional<Held> Find(store::ObjectId model, std::string_view name) EXCLUDES(mu_);
  std::optional<Held> Find(uint64_t serial) EXCLUDES(mu_);
  // By name.
  std::vector<std::pair<std::string, Held>> MadeBy(uid_t maker, store::ObjectId model) EXCLUDES(mu_);
  // Renames within the model and replaces the target; `flags` as renameat2(2). ENOENT, EEXIST.
  Outcome<void> Move(store::ObjectId model, std::string_view from, std::string_view to, unsigned flags)
      EXCLUDES(mu_);
  // Returns whether the name existed.
  bool Drop(store::ObjectId model, std::string_view name) EXCLUDES(mu_);
  // The model is gone.
  void DropModel(store::ObjectId model) EXCLUDES(mu_);

 private:
  using Key = std::pair<store::ObjectId, std::string>;
  using Names = std::map<Key, Held>;

  bool Expired(const Held& held) const;
  // The name, unless it has expired; an expired one is removed.
  Names::iterator Fresh(const Key& key) REQUIRES(mu_);
  Names::iterator Erase(Names::iterator it) REQUIRES(mu_);
  void Insert(const Key& key, const Held& held) REQUIRES(mu_);
  void DropExpired() REQUIRES(mu_);
  size_t CountInModel(uid_t maker, store::ObjectId model) const REQUIRES(mu_);
  // The bound that is reached, as a sentence; empty if there is room.
  std::string WhyNoRoom(uid_t maker, store::ObjectId model) const REQUIRES(mu_);

  const Clock& clock_;

  Mutex mu_;
  uint64_t next_serial_ GUARDED_BY(mu_) = 1;
  Names names_ GUARDED_BY(mu_);
  std::unordered_map<uint64_t, Key> by_serial_ GUARDED_BY(mu_);
  std::unordered_map<uid_t, size_t> counts_ GUARDED_BY(mu_);  // of names_, by maker; none is 0
};

}  // namespace modelfs::fs
