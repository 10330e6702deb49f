// The hidden, generated files:
//
//   /.modelfs/status    this mount, as one JSON object
//   /.modelfs/metrics   its counters, in Prometheus' text format
//   /.modelfs/errors    the reader's own last refusals, one JSON object a line (`modelfs why`)
//   <model>/.info/model.json, versions/<N>.json, lineage/<N>.json, activity.jsonl
//
// and an attribute of /.modelfs, user.modelfs.access.<name>: what the reader may do with the catalog, schema,
// model or version of that name and, of the rest, why not. An attribute, because a name's lookup may not
// depend on who asks.
//
// What a file says is made when it is opened and stays so for that handle. Sizes show as 0, as in
// proc(5): read to the end. Field names: docs/mount.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cas/scrub_state.h"
#include "fs/context.h"
#include "fs/zone.h"

namespace modelfs::fs {

// The mount's own numbers.
struct StatisticsSnapshot {
  int64_t started_at_ms = 0;
  int64_t now_ms = 0;
  bool passthrough = false;
  std::string passthrough_reason;            // why it is off; empty when it is on
  std::map<std::string, uint64_t> requests;  // by operation, "read", "lookup", … since the start
  uint64_t refused = 0;                      // requests answered with an error, ENOENT of a lookup aside
  uint64_t open_files = 0;
  uint64_t open_directories = 0;
  uint64_t native_handles = 0;  // of open_files, those the kernel reads by itself
  uint64_t drafts = 0;          // of this mount
};

// Kept by the dispatcher. Thread-safe.
class Statistics {
 public:
  virtual ~Statistics() = default;
  virtual StatisticsSnapshot Snapshot() const = 0;
};

// What the scrub of the artifacts is to say of itself.
struct ScrubSource {
  int64_t period_ms = 0;  // 0: this mount does none
  std::function<cas::ScrubState()> scrubbed = {};
};

// Context::refusals and ::statistics may be null: the files are empty of what those would tell.
std::unique_ptr<Zone> MakeInfoZone(Context& context, ScrubSource scrub = {});

// What a lookup of /.modelfs and of <model>/.info answers.
Entry ControlDirectoryEntry(const Context& context);
Entry InfoDirectoryEntry(const Context& context, const store::ObjectInfo& model);

}  // namespace modelfs::fs
