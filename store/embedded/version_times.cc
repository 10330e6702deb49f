#include "store/embedded/version_times.h"

#include <algorithm>
#include <utility>

#include "cas/base/check.h"
#include "cas/tree_store.h"

namespace modelfs::store {
namespace {

// A file of such a version cannot be read, so its mtime need not differ from any other.
bool CannotBeRead(const Error& error) {
  return error.code() == Code::kNotFound || error.code() == Code::kDataLoss;
}

}  // namespace

int64_t CommittedAtMs(const VersionRecord& version) {
  return version.commit ? version.commit->at_ms : version.created.at_ms;
}

int64_t NewestSecond(const VersionRecord& version) {
  return version.commit ? version.commit->newest_s : cas::FileTimeOfMs(version.created.at_ms).s;
}

VersionTimes::VersionTimes(cas::BlobStore& blobs, cas::Tree tree, std::optional<cas::TreeTimes> wanted,
                           Origin origin)
    : blobs_(&blobs), tree_(std::move(tree)), wanted_(std::move(wanted)), origin_(origin) {
  CHECK(!wanted_ || wanted_->times().size() == tree_.file_count());
  ours_.reserve(tree_.file_count());
  for (const cas::TreeEntry& entry : tree_.entries()) {
    if (entry.kind != cas::EntryKind::kFile) continue;
    ours_.emplace(entry.path, Ours{static_cast<uint32_t>(ours_.size()), &entry.blob});
  }
}

std::vector<cas::FileTime> VersionTimes::WantedAt(int64_t commit_ms) const {
  const cas::FileTime commit = cas::FileTimeOfMs(commit_ms);
  if (!wanted_) return std::vector<cas::FileTime>(tree_.file_count(), commit);
  std::vector<cas::FileTime> times = wanted_->times();
  if (origin_ == Origin::kCopy) return times;
  // Within the commit's millisecond the order of the file's time and the commit is unknown.
  const cas::FileTime after = cas::FileTimeOfMs(commit_ms + 1);
  for (cas::FileTime& time : times) {
    if (time >= after) time = commit;
  }
  return times;
}

Result<std::vector<VersionTimes::Namesake>> VersionTimes::ReadNamesakes(const VersionRecord& version) {
  std::vector<Namesake> namesakes;
  const Result<cas::Tree> tree = cas::ReadTree(*blobs_, version.tree);
  if (!tree.ok()) return CannotBeRead(tree.error()) ? namesakes : Result<std::vector<Namesake>>(tree.error());
  std::optional<cas::TreeTimes> times;
  if (version.commit && version.commit->times) {
    Result<cas::TreeTimes> read = cas::ReadTreeTimes(*blobs_, *version.commit->times, tree->file_count());
    if (!read.ok()) {
      return CannotBeRead(read.error()) ? namesakes : Result<std::vector<Namesake>>(read.error());
    }
    times = *std::move(read);
  }
  const int64_t commit_s = cas::FileTimeOfMs(CommittedAtMs(version)).s;
  size_t file = 0;
  for (const cas::TreeEntry& entry : tree->entries()) {
    if (entry.kind != cas::EntryKind::kFile) continue;
    const int64_t s = times ? times->times()[file].s : commit_s;
    ++file;
    const auto ours = ours_.find(entry.path);
    if (ours == ours_.end() || ours->second.blob->size_bytes != entry.blob.size_bytes) continue;
    namesakes.push_back({ours->second.number, *ours->second.blob == entry.blob, s});
  }
  return namesakes;
}

Result<const std::vector<VersionTimes::Namesake>*> VersionTimes::NamesakesIn(const VersionRecord& version) {
  auto known = namesakes_.find(version.id);
  if (known == namesakes_.end()) {
    ASSIGN_OR_RETURN(std::vector<Namesake> read, ReadNamesakes(version));
    known = namesakes_.emplace(version.id, std::move(read)).first;
  }
  return &known->second;
}

// A file cannot clash if an older version shows it with the same content in the same second. Any file with
// other content in that second would clash with that version already. So for a version that is like the one
// before it, only that one is read, however many there are.
Result<VersionTimes::Decided> VersionTimes::Decide(int64_t commit_ms,
                                                   std::optional<int64_t> newest_of_model_s,
                                                   const NextVersion& next) {
  std::vector<cas::FileTime> times = WantedAt(commit_ms);
  const int64_t newest_shown_s = newest_of_model_s.value_or(INT64_MAX);
  std::vector<bool> open(times.size());
  size_t open_count = 0;
  int64_t oldest_open_s = INT64_MAX;
  for (size_t i = 0; i < times.size(); ++i) {
    open[i] = times[i].s <= newest_shown_s;
    if (!open[i]) continue;
    ++open_count;
    oldest_open_s = std::min(oldest_open_s, times[i].s);
  }

  Decided decided;
  decided.newest_of_model_s = newest_of_model_s.value_or(INT64_MIN);
  std::vector<std::pair<uint32_t, int64_t>> taken;  // seconds of a file
  while (open_count > 0 || !newest_of_model_s) {
    ASSIGN_OR_RETURN(const std::optional<VersionRecord> version, next());
    if (!version) break;
    decided.newest_of_model_s = std::max(decided.newest_of_model_s, NewestSecond(*version));
    if (open_count == 0 || NewestSecond(*version) < oldest_open_s) continue;
    ASSIGN_OR_RETURN(const std::vector<Namesake>* const namesakes, NamesakesIn(*version));
    for (const Namesake& namesake : *namesakes) {
      if (!namesake.same) {
        taken.emplace_back(namesake.file, namesake.s);
      } else if (open[namesake.file] && version->commit && namesake.s == times[namesake.file].s) {
        open[namesake.file] = false;
        --open_count;
      }
    }
  }
  std::sort(taken.begin(), taken.end());
  bool all_at_commit = true;
  const cas::FileTime commit = cas::FileTimeOfMs(commit_ms);
  decided.newest_s = INT64_MIN;
  for (size_t i = 0; i < times.size(); ++i) {
    while (std::binary_search(taken.begin(), taken.end(), std::pair(static_cast<uint32_t>(i), times[i].s))) {
      ++times[i].s;
    }
    all_at_commit = all_at_commit && times[i] == commit;
    decided.newest_s = std::max(decided.newest_s, times[i].s);
  }
  decided.newest_of_model_s = std::max(decided.newest_of_model_s, decided.newest_s);
  if (!all_at_commit) {
    ASSIGN_OR_RETURN(decided.times, cas::TreeTimes::Make(std::move(times)));
  }
  return decided;
}

}  // namespace modelfs::store
