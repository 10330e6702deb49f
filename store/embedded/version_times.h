// The mtimes that the files of a new version get. They are those that the files had, except that
//
//   - no time is later than the commit, and a file without a time of its own gets the commit's;
//     mtime in whole seconds: rsync, nginx's ETag, `wget -N` and Python's bytecode compare just these. The
//     new file gets the next second that none of the others has, which may be after the commit.
//
// A deleted version does not count. Neither does one with a tree or times that cannot be read: no one can
// read its files.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "cas/tree.h"
#include "cas/tree_times.h"
#include "store/records/records.h"

namespace modelfs::store {

// The time at which a READY version was committed; if an older program made it, the time at which it was
// begun.
int64_t CommittedAtMs(const VersionRecord& version);
// The greatest second that a file of a READY version shows.
int64_t NewestSecond(const VersionRecord& version);

// Decides the times of one new version, any number of times. It caches the files of other versions, so that a
// decision in the transaction reads only versions that were committed since the decision before. One thread.
class VersionTimes {
 public:
  // kCopy: the times are those of another version, which may be after the commit.
  enum class Origin { kNew, kCopy };
  // `wanted`: the times that the tree's files had; nullopt if they have none.
  VersionTimes(cas::BlobStore& blobs, cas::Tree tree, std::optional<cas::TreeTimes> wanted, Origin origin);

  // The model's READY versions, from the newest on; nullopt at the end.
  using NextVersion = std::function<Result<std::optional<VersionRecord>>()>;
  struct Decided {
    std::optional<cas::TreeTimes> times;  // nullopt: all files show the commit's time
    int64_t newest_s = 0;                 // the greatest second among them
    int64_t newest_of_model_s = 0;        // and no READY version shows a greater second than this one
  };
  // `newest_of_model_s`: no READY version shows a greater second; nullopt if it is unknown. Versions are read
  // only as far as they matter. Errors are those of `next`, and of a store that cannot be read now.
  Result<Decided> Decide(int64_t commit_ms, std::optional<int64_t> newest_of_model_s,
                         const NextVersion& next);

 private:
  struct Ours {
    uint32_t number = 0;  // the index of its time
    const Digest* blob = nullptr;
  };
  // A file of another version with the same name and size as one of this version.
  struct Namesake {
    uint32_t file = 0;  // the index of this version's file
    bool same = false;  // it has the same content
    int64_t s = 0;
  };

  std::vector<cas::FileTime> WantedAt(int64_t commit_ms) const;
  // Reads each version once, because versions never change.
  Result<const std::vector<Namesake>*> NamesakesIn(const VersionRecord& version);
  Result<std::vector<Namesake>> ReadNamesakes(const VersionRecord& version);

  cas::BlobStore* blobs_;
  cas::Tree tree_;
  std::optional<cas::TreeTimes> wanted_;
  Origin origin_;
  std::unordered_map<std::string_view, Ours> ours_;  // the files of tree_, by path
  std::unordered_map<VersionId, std::vector<Namesake>> namesakes_;
};

// A version's times on the way into its record.
struct TimesPlan {
  TimesPlan(VersionTimes the_rule, std::optional<cas::TreeTimes> stored_times, std::optional<Digest> blob)
      : rule(std::move(the_rule)), stored(std::move(stored_times)), digest(std::move(blob)) {}
  VersionTimes rule;
  // Times that are stored already, and the blob that they are in: first the wanted times, later the decided
  // ones.
  std::optional<cas::TreeTimes> stored;
  std::optional<Digest> digest;
};

}  // namespace modelfs::store
