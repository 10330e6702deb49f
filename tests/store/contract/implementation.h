// The contract suites of the registry's interfaces run over each implementation, and know it by this header
// alone: a test states nothing that only one implementation can keep. Another implementation adds its factory
// to implementation.cc.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "store/governance.h"
#include "store/journal.h"
#include "store/leases.h"
#include "store/registry.h"
#include "tests/store/surroundings.h"

namespace modelfs::testing {

// A new registry, which ann has made.
class Implementation {
 public:
  virtual ~Implementation() = default;

  virtual store::Registry* registry() = 0;
  virtual store::Governance* governance() = 0;
  virtual store::Journal* journal() = 0;
  virtual store::Leases* leases() = 0;

  // The work of the process that has the registry's engine, which no interface offers.
  virtual store::Caller ForUpkeep(const store::Caller& caller) = 0;
  virtual Result<store::Mark> MarkForSweep(const store::Caller& caller) = 0;
  // Until the records of refused calls are in the log.
  virtual Status FlushAudit() = 0;
  // The damage in its records, a sentence each.
  virtual std::vector<std::string> Problems(const store::Caller& caller) = 0;
};

struct Factory {
  const char* name;
  // The surroundings outlive the implementation.
  std::unique_ptr<Implementation> (*make)(Surroundings& surroundings,
                                          store::RegistrySettings::SignaturePolicy signature);
};
std::vector<Factory> Factories();
// For the names of the tests, which must not contain an address.
inline void PrintTo(const Factory& factory, std::ostream* out) { *out << factory.name; }

// An implementation and its surroundings.
struct ContractBox : Surroundings {
  explicit ContractBox(const Factory& factory, store::RegistrySettings::SignaturePolicy signature =
                                                   store::RegistrySettings::SignaturePolicy::kIfMlmodel)
      : implementation(factory.make(*this, signature)),
        registry(implementation->registry()),
        governance(implementation->governance()),
        journal(implementation->journal()),
        leases(implementation->leases()) {}

  store::ObjectId Make(const std::string& name) { return MakeIn(*registry, name); }
  Result<store::VersionInfo> Commit(store::ObjectId model, const std::string& bytes = "weights",
                                    std::optional<store::VersionNumber> expected = std::nullopt,
                                    const store::NewVersion& fields = {}) {
    return CommitTo(*registry, *leases, model, bytes, expected, fields);
  }

  std::unique_ptr<Implementation> implementation;
  store::Registry* registry;
  store::Governance* governance;
  store::Journal* journal;
  store::Leases* leases;
};

using OverEachImplementation = ::testing::TestWithParam<Factory>;

#define INSTANTIATE_OVER_IMPLEMENTATIONS(Suite)                                               \
  INSTANTIATE_TEST_SUITE_P(Implementations, Suite, ::testing::ValuesIn(testing::Factories()), \
                           [](const auto& factory) { return std::string(factory.param.name); })

}  // namespace modelfs::testing
