// A registry with its engine and its surroundings.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"
#include "store/embedded/embedded_registry.h"
#include "store/kv/lmdb_kv.h"
#include "store/kv/memory_kv.h"
#include "store/records/keys.h"
#include "tests/store/expect.h"
#include "tests/store/surroundings.h"

namespace modelfs::testing {

inline std::unique_ptr<store::Kv> OpenLmdbAt(const std::string& directory) {
  store::LmdbOptions options;
  options.directory = directory;
  options.mode = store::LmdbOptions::Mode::kCreate;
  auto kv = store::OpenLmdbKv(options);
  EXPECT_OK(kv);
  return kv.ok() ? *std::move(kv) : nullptr;
}

// A registry as the program before the last change of the format left it.
inline void MakeFormatTwo(store::Kv& kv) {
  const std::string newest = kv.Read().value()->Get(store::keys::Settings()).value()->value;
  std::string body = newest.substr(0, newest.size() - sizeof(uint64_t));  // the rest is its checksum
  body[0] = 2;
  store::KvTransaction transaction;
  transaction.Put(store::keys::Settings(), body + Encoder().U64(Xxh3_64(body)).bytes());
  EXPECT_OK(kv.Commit(transaction));
}

struct Box : Surroundings {
  explicit Box(std::unique_ptr<store::Kv> engine,
               store::RegistrySettings::SignaturePolicy signature =
                   store::RegistrySettings::SignaturePolicy::kIfMlmodel,
               store::EmbeddedRegistryOptions options = {})
      : kv(std::move(engine)) {
    EXPECT_OK(store::InitializeRegistry(*kv, clock, ann, signature));
    Open(std::move(options));
  }

  // Opens it again, like a process that starts.
  void Open(store::EmbeddedRegistryOptions options = {}) {
    registry.reset();
    auto opened = store::EmbeddedRegistry::Open(*kv, blobs, clock, &directory, std::move(options));
    EXPECT_OK(opened);
    registry = *std::move(opened);
    governance = registry.get();
  }

  store::ObjectId Make(const std::string& name) { return MakeIn(*registry, name); }
  Result<store::VersionInfo> Commit(store::ObjectId model, const std::string& bytes = "weights",
                                    std::optional<store::VersionNumber> expected = std::nullopt,
                                    const store::NewVersion& fields = {}) {
    return CommitTo(*registry, *registry, model, bytes, expected, fields);
  }

  std::unique_ptr<store::Kv> kv;
  std::unique_ptr<store::EmbeddedRegistry> registry;
  store::Governance* governance = nullptr;  // the registry
};

}  // namespace modelfs::testing
