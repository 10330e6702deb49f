#include "fs/zones/held_names.h"

#include <fmt/core.h>
#include <linux/fs.h>

#include <cerrno>

#include "cas/base/text.h"

namespace modelfs::fs {
namespace {

tl::unexpected<Refusal> Taken(std::string_view name) {
  return Refuse(EEXIST, fmt::format("a program holds the name {} here already", Printable(name)));
}

}  // namespace

bool HeldNames::Expired(const Held& held) const {
  return clock_.SinceBootMs() - held.made_since_boot_ms >=
         (held.version.has_value() ? kLinkLifetimeMs : kFileLifetimeMs);
}

HeldNames::Names::iterator HeldNames::Fresh(const Key& key) {
  const auto it = names_.find(key);
  if (it == names_.end() || !Expired(it->second)) return it;
  Erase(it);
  return names_.end();
}

HeldNames::Names::iterator HeldNames::Erase(Names::iterator it) {
  by_serial_.erase(it->second.serial);
  const auto count = counts_.find(it->second.maker);
  if (--count->second == 0) counts_.erase(count);
  return names_.erase(it);
}

void HeldNames::Insert(const Key& key, const Held& held) {
  names_[key] = held;
  by_serial_[held.serial] = key;
  ++counts_[held.maker];
}

void HeldNames::DropExpired() {
  for (auto it = names_.begin(); it != names_.end();) it = Expired(it->second) ? Erase(it) : std::next(it);
}

size_t HeldNames::CountInModel(uid_t maker, store::ObjectId model) const {
  size_t count = 0;
  for (auto it = names_.lower_bound(Key(model, "")); it != names_.end() && it->first.first == model; ++it) {
    if (it->second.maker == maker) ++count;
  }
  return count;
}

std::string HeldNames::WhyNoRoom(uid_t maker, store::ObjectId model) const {
  const auto own = counts_.find(maker);
  if (own != counts_.end() && own->second >= kMostOfUser) {
    return fmt::format("you have {} temporary names in aliases/ directories of this mount already",
                       kMostOfUser);
  }
  if (own != counts_.end() && own->second >= kMostInModel && CountInModel(maker, model) >= kMostInModel) {
    return fmt::format("you have {} temporary names in this aliases/ already", kMostInModel);
  }
  if (names_.size() >= kMost) return fmt::format("this mount holds {} temporary names already", kMost);
  return {};
}

Outcome<HeldNames::Held> HeldNames::Hold(store::ObjectId model, std::string_view name, Held held,
                                         IfTaken if_taken) {
  const Key key(model, name);
  const MutexLock lock(mu_);
  const auto taken = Fresh(key);
  std::optional<Held> replaced;
  if (taken != names_.end()) {
    if (if_taken == IfTaken::kRefuse) return Taken(name);
    replaced = taken->second;
    Erase(taken);
  }
  std::string full = WhyNoRoom(held.maker, model);
  if (!full.empty()) {
    DropExpired();
    full = WhyNoRoom(held.maker, model);
  }
  if (!full.empty()) {
    if (replaced) Insert(key, *replaced);
    return Refuse(EDQUOT,
                  fmt::format("{}: remove some (ls -A shows them), or try again later, as a link goes "
                              "by itself after {} minutes",
                              full, kLinkLifetimeMs / 60'000));
  }
  held.serial = next_serial_++;
  held.model = model;
  held.made_at_ms = clock_.NowMs();
  held.made_since_boot_ms = clock_.SinceBootMs();
  Insert(key, held);
  return held;
}

std::optional<HeldNames::Held> HeldNames::Find(store::ObjectId model, std::string_view name) {
  const MutexLock lock(mu_);
  const auto it = Fresh(Key(model, name));
  if (it == names_.end()) return std::nullopt;
  return it->second;
}

std::optional<HeldNames::Held> HeldNames::Find(uint64_t serial) {
  const MutexLock lock(mu_);
  const auto key = by_serial_.find(serial);
  if (key == by_serial_.end()) return std::nullopt;
  const auto it = Fresh(Key(key->second));
  if (it == names_.end()) return std::nullopt;
  return it->second;
}

std::vector<std::pair<std::string, HeldNames::Held>> HeldNames::MadeBy(uid_t maker, store::ObjectId model) {
  std::vector<std::pair<std::string, Held>> made;
  const MutexLock lock(mu_);
  for (auto it = names_.lower_bound(Key(model, "")); it != names_.end() && it->first.first == model; ++it) {
    if (it->second.maker == maker && !Expired(it->second)) made.emplace_back(it->first.second, it->second);
  }
  return made;
}

Outcome<void> HeldNames::Move(store::ObjectId model, std::string_view from, std::string_view to,
                              unsigned flags) {
  const Key old_key(model, from);
  const Key new_key(model, to);
  const MutexLock lock(mu_);
  const auto source = Fresh(old_key);
  if (source == names_.end()) return Refuse(ENOENT, "this temporary name is gone");
  if (old_key == new_key) return {};
  const Held moved = source->second;
  const auto target = Fresh(new_key);
  if ((flags & RENAME_EXCHANGE) != 0) {
    if (target == names_.end()) return Refuse(ENOENT, "the name to change places with does not exist");
    const Held other = target->second;
    Erase(source);
    Erase(target);
    Insert(new_key, moved);
    Insert(old_key, other);
    return {};
  }
  if (target != names_.end()) {
    if ((flags & RENAME_NOREPLACE) != 0) return Taken(to);
    Erase(target);
  }
  Erase(source);
  Insert(new_key, moved);
  return {};
}

bool HeldNames::Drop(store::ObjectId model, std::string_view name) {
  const MutexLock lock(mu_);
  const auto it = Fresh(Key(model, name));
  if (it == names_.end()) return false;
  Erase(it);
  return true;
}

void HeldNames::DropModel(store::ObjectId model) {
  const MutexLock lock(mu_);
  for (auto it = names_.lower_bound(Key(model, "")); it != names_.end() && it->first.first == model;) {
    it = Erase(it);
  }
}

}  // namespace modelfs::fs
