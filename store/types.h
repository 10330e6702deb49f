// The values that the registry's interfaces speak of: objects, versions, aliases, pages, settings.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cas/base/digest.h"
#include "store/names.h"
#include "store/operation.h"
#include "store/principal.h"
#include "store/privilege.h"

namespace modelfs::store {

// Limits (docs/semantics.md): exceeding one is kResourceExhausted, and the message names it.
inline constexpr size_t kMaxAliasesPerModel = 10;
inline constexpr size_t kMaxTagsPerObject = 50;
inline constexpr size_t kMaxTagValueCharacters = 1000;
inline constexpr size_t kMaxDescriptionCharacters = 65536;

using ObjectId = uint64_t;  // 1.. ; counts every catalog, schema and model ever made in this registry
inline constexpr ObjectId kMetastoreId = 0;
using VersionId = uint64_t;  // 1.. ; counts every version ever made in this registry

struct AliasInfo {
  std::string name;
  VersionNumber version = 0;
  VersionId version_id = 0;
  uint8_t slot = 0;  // 0..9, unique among the model's aliases for as long as the alias exists
  int64_t updated_at_ms = 0;
};

// A catalog, schema or model (or the metastore itself).
struct ObjectInfo {
  ObjectId id = 0;
  ObjectKind kind = ObjectKind::kMetastore;
  ObjectId parent = 0;
  std::string name;    // the leaf
  FullName full_name;  // no parts for the metastore
  std::string owner;   // the principal's name; empty if it was deleted
  PrincipalId owner_id = kNobodyId;
  // The caller may know only that it exists, its owner, description and tags: `aliases`, `next_version` and
  // `latest_ready` are empty.
  bool browse_only = false;
  std::string comment;  // the description; filled by Get and Lookup, not by List
  int64_t created_at_ms = 0;
  std::string created_by;
  int64_t updated_at_ms = 0;
  std::string updated_by;
  // Models only; filled by Get, Lookup and List.
  std::vector<AliasInfo> aliases;  // sorted by name
  VersionNumber next_version = 1;  // the number that the next version will get
  VersionNumber latest_ready = 0;  // the newest READY version, 0 for none
};

enum class VersionStatus : uint8_t { kPending = 1, kReady = 2, kFailed = 3 };
std::string_view StatusName(VersionStatus status);  // "PENDING_REGISTRATION", "READY", "FAILED_REGISTRATION"

enum class Signature : uint8_t { kNone = 0, kPresent = 1 };  // kNone: no MLmodel in the version

struct VersionInfo {
  VersionId id = 0;
  ObjectId model = 0;
  FullName model_name;
  VersionNumber number = 0;
  VersionStatus status = VersionStatus::kPending;
  std::string status_message;
  Digest tree;               // READY only
  uint64_t total_bytes = 0;  // READY only
  uint64_t file_count = 0;   // READY only
  // READY only: the time of the commit, which its directories show; for a version of an older program, the
  // time when it was begun.
  int64_t committed_at_ms = 0;
  // READY only: the blob of its files' mtimes (cas/tree_times.h); without one, all show the commit's time.
  std::optional<Digest> times;
  Signature signature = Signature::kNone;
  std::string source;          // its origin: a path, URI, or "models:/c.s.m/3"
  bool source_masked = false;  // the source is in a model that the caller may not see; `source` is empty
  std::string run_id;
  std::string comment;             // filled by GetVersion, not by ListVersions
  std::vector<AliasInfo> aliases;  // those that point to it, sorted by name
  int64_t created_at_ms = 0;
  std::string created_by;
  int64_t updated_at_ms = 0;
  std::string updated_by;
};

// "prod.ml.iris/3"; any command takes it.
std::string VersionName(const VersionInfo& version);

// The result of copying a whole model.
struct ModelCopy {
  ObjectInfo model;   // the destination
  bool made = false;  // the copy made it: it has the source's numbers, aliases, tags and description
  struct Version {
    VersionNumber source = 0;
    VersionNumber copy = 0;
  };
  std::vector<Version> versions;  // copied by this call, by number
};

// The bearer of tags and a description: an object, or one version of a model.
struct Target {
  ObjectId object = 0;
  std::optional<VersionNumber> version;
};

// The object or version that Describe is about.
struct Subject {
  struct Child {
    ObjectId parent = 0;
    std::string leaf;
  };
  std::variant<ObjectId, FullName, Child> object;
  std::optional<VersionNumber> version = {};
  // The caller is about to do this to the object: refused, and recorded, as that would be.
  std::optional<Operation> to_do = {};
};

struct Description {
  ObjectInfo object;
  std::optional<VersionInfo> version;
  std::map<std::string, std::string> tags;  // of the version if there is one, else of the object
};

// An alias after it was set, and the version that it pointed to before, if it existed.
struct MovedAlias {
  AliasInfo alias;
  std::optional<VersionNumber> previous;
};

struct PageRequest {
  size_t limit = 1000;
  std::string token = {};  // empty: from the start; else `next_token` of the page before
};

template <typename T>
struct Page {
  std::vector<T> items;
  std::string next_token;  // empty: this was the last page
};

// A version's content, stored under a lease: the tree, and the blob of the mtimes that its files had
// (cas/tree_times.h). Without that blob the files show the time of the commit.
struct StoredTree {
  StoredTree(const Digest& tree_digest, std::optional<Digest> times_digest = std::nullopt)
      : tree(tree_digest), times(std::move(times_digest)) {}
  Digest tree;
  std::optional<Digest> times;
};

// Tags and comment of a new version are part of its creation: CREATE MODEL VERSION is enough for them.
struct NewVersion {
  std::string source;
  std::string run_id;
  std::string comment;
  std::map<std::string, std::string> tags;
};

struct RegistrySettings {
  enum class SignaturePolicy : uint8_t {
    kIfMlmodel = 0,  // the signature of a version with an MLmodel must have inputs and outputs
    kRequired = 1,   // and every version must have an MLmodel
  };
  SignaturePolicy signature = SignaturePolicy::kIfMlmodel;
  std::string owner;  // the principal that ran init, or took over: owns the registry's files
  uid_t owner_uid = 0;
  std::string id;  // 32 hex digits, random: the metastore's identity
  int64_t created_at_ms = 0;
};

inline constexpr int64_t kPendingLifetimeMs = int64_t{24} * 60 * 60 * 1000;

}  // namespace modelfs::store
