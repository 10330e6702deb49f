// The registry's keys in the KV engine: a letter for the table, then big-endian numbers, then a name.
// docs/formats.md, "registry keys", lists them with worked examples.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "store/governance.h"
#include "store/journal.h"
#include "store/leases.h"
#include "store/types.h"

namespace modelfs::store::keys {

std::string Settings();   // 'M'                                     -> SettingsRecord
std::string Counters();   // 'N'                                     -> CountersRecord
std::string AuditHead();  // 'H'                                     -> AuditHeadRecord

// 'n' parent(be64) name -> ObjectRecord. A container's children are adjacent and in the order of their
// names, so a listing is one range. The metastore is its own parent, with the empty name.
std::string Object(ObjectId parent, std::string_view name);
// The first key a child of `parent` can have.
std::string FirstChild(ObjectId parent);
// 'o' id(be64) -> WhereRecord: the parent and name under which an object is stored at present.
std::string Where(ObjectId id);

// 'v' model(be64) number(be64) -> VersionRecord; a model's versions are adjacent, oldest first
std::string Version(ObjectId model, VersionNumber number);
// 'w' version id(be64) -> VersionWhereRecord
std::string VersionWhere(VersionId id);
// 'p' model(be64) number(be64) -> nothing: the version is PENDING
std::string Pending(ObjectId model, VersionNumber number);
// 'x' model(be64) -> nothing: the model is deleted and some of its versions' keys still exist
std::string Unfinished(ObjectId model);

// 'c' model(be64) -> ModelCopyRecord: the model is a copy that is not finished
std::string CopyUnderWay(ObjectId model);

// 'B' folded name -> principal id (EncodeNumber)
std::string PrincipalName(std::string_view folded);
// 'b' principal(be64) -> PrincipalRecord
std::string Principal(PrincipalId id);
// 'K' folded name -> nothing: a principal of this name was deleted. A record of format 1 that knows its owner
// by this name only does not mean the principal that has the name now.
std::string Burned(std::string_view folded);
// 'm' group(be64) member(be64) -> nothing, and the same the other way round
std::string Member(PrincipalId group, PrincipalId member);
std::string MemberOf(PrincipalId member, PrincipalId group);  // 'u'
std::string PrincipalCounters();                              // 'C' -> PrincipalCountersRecord
// 'E' -> nothing: written by every change to principals, grants and owners. Cached decisions about access are
// valid while the revision of this key stands.
std::string AccessEpoch();
// 'g' object(be64) -> GrantsRecord
std::string Grants(ObjectId object);
// 'q' principal(be64) container(be64) object(be64) -> nothing: the principal was granted something on the
// object or owns it, or did so once. A listing for a caller that may not see the whole container starts here.
std::string Holding(PrincipalId principal, ObjectId container, ObjectId object);
// 's' object(be64) -> ContainerSettingsRecord
std::string ContainerSettings(ObjectId container);

// 'd' object(be64) version(be64, 0: the object itself) -> description
std::string Description(ObjectId object, VersionNumber version);
// 't' object(be64) version(be64) key -> tag value
std::string Tag(ObjectId object, VersionNumber version, std::string_view key);

std::string Audit(uint64_t sequence);  // 'A' sequence(be64)   -> AuditRecord
std::string AuditStart();              // 'S'                  -> AuditStartRecord; absent: nothing was moved
// 'a' object(be64) sequence(be64) -> nothing: the record is about the object or something in it. The
// metastore is not listed, because it contains everything.
std::string AuditIndex(ObjectId object, uint64_t sequence);
// The index lists here, as if it were an object's, the records by which an object lost this name: it was
// deleted or renamed. No object has such an id.
ObjectId LostName(std::string_view full_name);
std::string AuditSettings();                  // 'Y'                  -> AuditSettings; absent: the default
std::string Lease(std::string_view id);       // 'l' id               -> LeaseRecord
std::string LeaseUntil(std::string_view id);  // 'r' id               -> be64 milliseconds

// All keys that begin with `prefix` are >= prefix and < AfterPrefix(prefix).
std::string AfterPrefix(std::string prefix);
// The first key after `key`.
std::string After(std::string key);

// The numbers at the front of a key of two ('v', 'p', 'm', 'u') or one ('x').
uint64_t FirstNumber(std::string_view key);
uint64_t SecondNumber(std::string_view key);
uint64_t ThirdNumber(std::string_view key);  // of 'q'
// The part after the letter and `numbers` numbers.
std::string_view NameOf(std::string_view key, size_t numbers);

}  // namespace modelfs::store::keys
