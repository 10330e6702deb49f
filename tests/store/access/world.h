// A registry for tests of access: prod.ml.iris, its containers, and grants on them.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "store/caller.h"
#include "store/governance.h"
#include "store/types.h"
#include "tests/store/expect.h"

namespace modelfs::testing {

inline store::Caller Someone(const std::string& name, std::vector<std::string> groups = {}) {
  store::Caller caller;
  caller.principal = name;
  caller.groups = std::move(groups);
  caller.uid = 2000;
  caller.door = "test";
  return caller;
}

// BoxType: Box, or ContractBox for a suite over each implementation.
template <typename BoxType>
struct AccessWorld : BoxType {
  template <typename... Args>
  explicit AccessWorld(Args&&... args) : BoxType(std::forward<Args>(args)...) {
    this->directory.users["cyd"] = {"host-group"};
    this->directory.groups = {"host-group"};
    model = this->Make("prod.ml.iris");
    schema = this->registry->Get(this->ann, model)->parent;
    catalog = this->registry->Get(this->ann, schema)->parent;
    EXPECT_OK(this->Commit(model));
  }
  store::ObjectId On(store::ObjectKind kind) const {
    return std::array{store::kMetastoreId, catalog, schema, model}[static_cast<size_t>(kind)];
  }
  Status Grant(store::ObjectId object, const std::string& principal, store::PrivilegeSet privileges) {
    return this->governance->ChangeGrants(this->ann, object, {{.principal = principal, .add = privileges}});
  }
  Status Revoke(store::ObjectId object, const std::string& principal, store::PrivilegeSet privileges) {
    return this->governance->ChangeGrants(this->ann, object,
                                          {{.principal = principal, .remove = privileges}});
  }
  std::string Check(const store::Caller& caller, store::Operation operation, store::ObjectId object) {
    return Outcome(this->governance->CheckAccess(caller, operation, object));
  }

  store::ObjectId catalog = 0;
  store::ObjectId schema = 0;
  store::ObjectId model = 0;
};

}  // namespace modelfs::testing
