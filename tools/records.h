// Records for --json that take more than one read of the registry.
#pragma once

#include "cas/base/result.h"
#include "store/registry_json.h"
#include "tools/session.h"

namespace modelfs::tools {

// `object` with its tags; the metastore also with the registry's id.
Result<store::Json> ObjectRecord(Session& session, const store::ObjectInfo& object);
Result<store::Json> ObjectRecord(Session& session, const store::ObjectInfo& object, const store::Tags& tags);
// `version` with its tags.
Result<store::Json> VersionRecord(Session& session, const store::VersionInfo& version);

// An item of a listing, with the description and tags that a listing does not read.
//   kNotFound   it was deleted after the listing
Result<store::Json> ListedRecord(Session& session, const store::ObjectInfo& item);
Result<store::Json> ListedRecord(Session& session, const store::VersionInfo& item);

}  // namespace modelfs::tools
