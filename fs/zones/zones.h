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
#include "fs/drafts/leases.h"

namespace modelfs::fs {

// The directories above the versions: the root, catalogs, schemas and models.
//
// mkdir and rmdir create and delete; rename renames a model within its schema; extended attributes are
// tags, descriptions and the owner. <schema>/<model>@<Alias> is looked up here and leads to the alias's
// version; it is never listed, and its name is looked up each time, so it is never older than the alias.
std::unique_ptr<Zone> MakeObjectsZone(Context& context);

// <model>/versions: the READY versions by number, this mount's drafts by name, and hidden among them
// `latest`, a link to the newest READY version. Drafts are made here by mkdir, and committed by being renamed
// to the next number, or to `next`.
//
// A version that is PENDING or FAILED has no directory here: there is nothing in it to read. `.info`, the
// command line and the API show it.
std::unique_ptr<Zone> MakeVersionsZone(Context& context, DraftTable& drafts, Leases& leases);

// Commits of one mount that hash at the same time, each with as many threads, and chunks in memory, as there
// are cores. Others wait for their turn.
inline constexpr size_t kCommitsAtOnce = 8;

// <model>/aliases: one symlink an alias, `NAME -> ../versions/N`. Making one sets the alias, renaming one
// over it moves it, removing it deletes it, each in one commit. versions/latest is such a link too, but
// nobody can change it.
//
// Some names are held (fs/zones/held_names.h): what programs make on the way to an alias (`ln -sfn`'s and
// rsync's temporary names, tar's empty placeholder) and what can never be an alias. A held link takes the
// targets that an alias takes, and reads as an alias would. Held names are listed to their maker, and become
// an alias by being renamed to one.
//
// Needs context.held_names.
std::unique_ptr<Zone> MakeAliasesZone(Context& context);

// What is in a READY version, under versions/<N> and under <model>@<Alias>: it never changes, so the
// kernel may keep all of it for ever. Every mutator is EROFS with a sentence that says what to do;
// tags and the description of a version, set on its root directory, are the exception.
//
// A version that was deleted answers ESTALE to who still holds its nodeid: the kernel then walks the
// path again and finds out for itself (path_openat in the kernel's fs/namei.c). Open files go on.
//
// Becomes the listener of context.blobs->OnNative for as long as it lives.
std::unique_ptr<Zone> MakeTreesZone(Context& context);

// What is in a draft: everything that an ordinary program does to files and directories, until the draft is
// committed (MakeVersionsZone). Files keep their bytes, their x bit and their time; all else about them
// is the registry's, so changing it either changes nothing and succeeds, where `cp -a`, `rsync -a` and `tar`
// would fail otherwise, or is refused. docs/mount.md lists each call.
//
// Once the draft was committed, what is open in it reads on, its directories show the version
// (fs/drafts/committed_drafts.h), and whatever would change something answers EROFS.
//
// `trees` answers for what drafts have become.
std::unique_ptr<Zone> MakeDraftsZone(Context& context, DraftTable& drafts, Leases& leases, Zone& trees);

// What the scrub of the artifacts is to say of itself.
struct ScrubSource {
  int64_t period_ms = 0;  // 0: this mount does none
  std::function<cas::ScrubState()> scrubbed = {};
};

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
//
// Context::refusals and ::statistics may be null: the files are empty of what those would tell.
std::unique_ptr<Zone> MakeInfoZone(Context& context, ScrubSource scrub = {});

}  // namespace modelfs::fs
