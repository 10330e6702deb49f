#include "tests/store/contract/implementation.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "store/embedded/embedded_registry.h"
#include "store/kv/memory_kv.h"
#include "tests/store/kv/scratch_dir.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::testing {
namespace {

using store::Caller;
using SignaturePolicy = store::RegistrySettings::SignaturePolicy;

// A registry in this process.
class Embedded : public Implementation {
 public:
  Embedded(Surroundings& surroundings, SignaturePolicy signature,
           std::unique_ptr<store::Kv> (*open)(const std::string& home))
      : kv_(open(home_.path())) {
    EXPECT_OK(store::InitializeRegistry(*kv_, surroundings.clock, surroundings.ann, signature));
    auto opened =
        store::EmbeddedRegistry::Open(*kv_, surroundings.blobs, surroundings.clock, &surroundings.directory);
    EXPECT_OK(opened);
    registry_ = *std::move(opened);
  }

  store::Registry* registry() override { return registry_.get(); }
  store::Governance* governance() override { return registry_.get(); }
  store::Journal* journal() override { return registry_.get(); }
  store::Leases* leases() override { return registry_.get(); }

  Caller ForUpkeep(const Caller& caller) override { return registry_->ForUpkeep(caller); }
  Result<store::Mark> MarkForSweep(const Caller& caller) override { return registry_->MarkForSweep(caller); }
  Status FlushAudit() override { return registry_->FlushAudit(); }
  std::vector<std::string> Problems(const Caller& caller) override {
    return registry_->CheckRecords(caller)->problems;
  }

 private:
  ScratchDir home_;
  std::unique_ptr<store::Kv> kv_;
  std::unique_ptr<store::EmbeddedRegistry> registry_;
};

std::unique_ptr<Implementation> OverMemory(Surroundings& surroundings, SignaturePolicy signature) {
  return std::make_unique<Embedded>(surroundings, signature,
                                    [](const std::string&) { return store::MakeMemoryKv(); });
}

std::unique_ptr<Implementation> OverLmdb(Surroundings& surroundings, SignaturePolicy signature) {
  return std::make_unique<Embedded>(surroundings, signature,
                                    [](const std::string& home) { return OpenLmdbAt(home + "/kv"); });
}

}  // namespace

std::vector<Factory> Factories() { return {{"memory", OverMemory}, {"lmdb", OverLmdb}}; }

}  // namespace modelfs::testing
