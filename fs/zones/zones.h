// The zones of a mount: each answers the requests about some kinds of node. Each keeps a reference to
// `context`, which outlives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "cas/scrub_state.h"
#include "fs/base/context.h"
#include "fs/base/zone.h"
#include "fs/drafts/draft_table.h"
#include "store/lease_pool.h"

namespace modelfs::fs {

// The directories above the versions: the root, catalogs, schemas and models.
//
// mkdir and rmdir create and delete; rename renames a model within its schema; extended attributes are tags,
// descriptions and the owner. <schema>/<model>@<Alias> is looked up here and leads to the alias's version. It
// is never listed, and the kernel looks it up each time, so it is never older than the alias.
std::unique_ptr<Zone> MakeObjectsZone(Context& context);

// <model>/versions: the READY versions by number, this mount's drafts by name, and `latest`, a hidden link to
// the newest READY version. mkdir makes a draft here; renaming it to the next number, or to `next`, commits
// it.
//
// A PENDING or FAILED version has no directory here, because it has no files to read. `.info`, the command
// line and the API show it.
std::unique_ptr<Zone> MakeVersionsZone(Context& context, DraftTable& drafts, store::LeasePool& leases);

// The commits of one mount that hash at the same time. Each has as many threads, and chunks in memory, as the
// host has cores. Others wait for their turn.
inline constexpr size_t kCommitsAtOnce = 8;

// <model>/aliases: one symlink for each alias, `NAME -> ../versions/N`. Making one sets the alias, renaming
// one over it moves it, removing it deletes it, each in one commit. versions/latest is such a link, too, but
// it cannot be changed.
//
// Some names are held (fs/zones/held_names.h). Programs make some of them on the way to an alias: the
// temporary names of `ln -sfn` and rsync, tar's empty placeholder. Others can never be an alias. A held link
// takes the targets that an alias takes, and reads as an alias would. Held names are listed to their maker,
// and become an alias by being renamed to one.
//
// Needs context.held_names.
std::unique_ptr<Zone> MakeAliasesZone(Context& context);

// The contents of a READY version, under versions/<N> and under <model>@<Alias>. They never change, so the
// kernel may cache all of them for ever. Every mutator returns EROFS with a sentence that names the remedy;
// tags and the description of a version, set on its root directory, are the exception.
//
// A deleted version returns ESTALE to callers that still hold its nodeid: the kernel then walks the path
// again and finds out for itself (path_openat in the kernel's fs/namei.c). Open files go on.
//
// Is the listener of context.blobs->OnNative for as long as it lives.
std::unique_ptr<Zone> MakeTreesZone(Context& context);

// The contents of a draft: ordinary programs may change its files and directories freely until the draft is
// committed (MakeVersionsZone). Files keep their bytes, their x bit and their time. All other attributes are
// the registry's: changing one is either refused, or succeeds and changes nothing where `cp -a`, `rsync -a`
// and `tar` would fail otherwise. docs/mount.md lists each call.
//
// Once the draft is committed, its open files can still be read, its directories show the version
// (fs/drafts/committed_drafts.h), and every change returns EROFS.
//
// `trees` serves the versions that drafts became.
std::unique_ptr<Zone> MakeDraftsZone(Context& context, DraftTable& drafts, store::LeasePool& leases,
                                     Zone& trees);

// The state of the background scrub, for the status file.
struct ScrubSource {
  int64_t period_ms = 0;  // 0: this mount does not scrub
  std::function<cas::ScrubState()> scrubbed = {};
};

// The hidden, generated files:
//
//   /.modelfs/status    this mount, as one JSON object
//   /.modelfs/metrics   its counters, in Prometheus' text format
//   /.modelfs/errors    the reader's own last refusals, one JSON object a line (`modelfs why`)
//   <model>/.info/model.json, versions/<N>.json, lineage/<N>.json, activity.jsonl
//
// and an attribute of /.modelfs, user.modelfs.access.<name>: the reader's rights on the catalog, schema,
// model or version of that name, with the reason for each missing one. It is an attribute because the lookup
// of a name may not depend on the caller.
//
// A file's contents are made when it is opened and stay the same for that handle. Sizes show as 0, as in
// proc(5): read to the end. Field names: docs/mount.md.
//
// Context::refusals and ::statistics may be null: the files then lack what those hold.
std::unique_ptr<Zone> MakeInfoZone(Context& context, ScrubSource scrub = {});

}  // namespace modelfs::fs
