// A registry as a command uses it: the interfaces, whatever implements them. Commands that need no more than
// these take a Session; tools/home.h adds the parts that only a directory of this host has.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "cas/blob_store.h"
#include "store/caller.h"
#include "store/governance.h"
#include "store/journal.h"
#include "store/leases.h"
#include "store/operation.h"
#include "store/registry.h"
#include "tools/place.h"

namespace modelfs::tools {

struct Session {
  Session() = default;
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  std::string path;  // of the home, absolute
  store::Registry* registry = nullptr;
  store::Governance* governance = nullptr;
  store::Journal* journal = nullptr;
  store::Leases* leases = nullptr;
  cas::BlobStore* blobs = nullptr;
  store::Caller caller;
};

// The request that a command is about to make, for the audit log: a refused lookup on the way there is
// recorded as this request. `params` are those of the request's own record.
store::Intent ToAsk(store::Operation operation, const Place& place,
                    std::map<std::string, std::string> params = {});

// The request that removes the tag or alias that `setting` would set.
store::Intent ToRemove(store::Intent setting);

// The object that a place names; it ignores the version part. Without an intent the object is to be shown.
Result<store::ObjectInfo> FindObject(Session& session, const Place& place, const store::Intent& intent = {});
// The bearer of tags and a description: the version if the place names one, else the object.
Result<store::Target> FindTarget(Session& session, const Place& place, const store::Intent& intent = {});

// The version that a place names. kInvalidArgument if it names none.
Result<store::VersionInfo> FindVersion(Session& session, const Place& place, store::Intent intent = {});

}  // namespace modelfs::tools
