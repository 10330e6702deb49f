// The contract suites of the registry's interfaces run over each engine. A second implementation of the
// interfaces will have to pass them, too: a test says nothing that only one engine can keep.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/store/kv/scratch_dir.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {

class OverEachEngine : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Kv> Engine() {
    return std::string(GetParam()) == "memory" ? MakeMemoryKv() : testing::OpenLmdbAt(dir_.path() + "/kv");
  }

 private:
  testing::ScratchDir dir_;
};

#define INSTANTIATE_OVER_ENGINES(Suite)                                         \
  INSTANTIATE_TEST_SUITE_P(Engines, Suite, ::testing::Values("memory", "lmdb"), \
                           [](const auto& engine) { return std::string(engine.param); })

}  // namespace modelfs::store
