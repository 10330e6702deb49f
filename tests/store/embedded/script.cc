#include "tests/store/embedded/script.h"

#include <fmt/core.h>

#include "tests/store/expect.h"

namespace modelfs::testing {
namespace {

using store::ObjectId;
using store::ObjectInfo;
using store::Registry;

template <typename T>
std::string Said(const Result<T>& result) {
  return Outcome(result);
}

}  // namespace

std::string PlayStep(store::EmbeddedRegistry& registry, FakeBlobStore& blobs, const store::Caller& caller,
                     uint64_t seed, int step) {
  std::mt19937_64 random(seed * 1'000'003 + static_cast<uint64_t>(step));
  const auto pick = [&](uint64_t count) { return random() % count; };
  const auto child = [&](ObjectId parent, const std::string& name) -> ObjectId {
    const auto found = registry.LookupChild(caller, parent, name);
    return found.ok() ? found->id : ObjectId{1} << 40U;  // an id that nothing has
  };
  // Mostly in one schema, so that changes meet existing objects.
  const std::string catalog_name = pick(5) == 0 ? "c1" : "c0";
  const std::string schema_name = pick(5) == 0 ? "s1" : "s0";
  const std::string model_name = fmt::format("m{}", pick(3));
  const std::string other_name = fmt::format("m{}", pick(3));
  const std::string alias = fmt::format("A{}", pick(4));
  const std::string other_alias = fmt::format("A{}", pick(4));
  const store::VersionNumber number = 1 + pick(5);
  if (step < 3) {  // first the objects that the rest needs
    const ObjectId c0 = child(store::kMetastoreId, "c0");
    if (step == 0) return "catalog " + Said(registry.Create(caller, store::kMetastoreId, "c0", ""));
    if (step == 1) return "schema " + Said(registry.Create(caller, c0, "s0", ""));
    return "model " + Said(registry.Create(caller, child(c0, "s0"), "m0", ""));
  }
  const ObjectId catalog = child(store::kMetastoreId, catalog_name);
  const ObjectId schema = child(catalog, schema_name);
  const ObjectId model = child(schema, model_name);
  switch (pick(20)) {
    case 0:
      return "catalog " + Said(registry.Create(caller, store::kMetastoreId, catalog_name, "words"));
    case 1:
      return "schema " + Said(registry.Create(caller, catalog, schema_name, ""));
    case 2:
    case 3:
      return "model " + Said(registry.Create(caller, schema, model_name, "words"));
    case 4:
    case 5:
    case 6:
    case 7: {
      const auto lease = registry.AcquireLease(caller, "script");
      if (!lease.ok()) return "lease " + Said(lease);
      const Digest tree = blobs.PutTree({{"w", fmt::format("bytes {}", pick(100))}}, lease->epoch);
      store::NewVersion fields;
      fields.comment = "words";
      fields.tags = {{"a", "1"}, {"b", "2"}};
      const auto made = registry.CommitVersion(caller, model, tree, *lease, fields, std::nullopt);
      registry.ReleaseLease(caller, *lease).IgnoreError("ends by itself");
      return "version " + Said(made);
    }
    case 8:
    case 9:
      return "alias " + Said(registry.SetAlias(caller, model, alias, number));
    case 10:
      return "alias gone " + Said(registry.DeleteAlias(caller, model, alias));
    case 11:
      return "alias renamed " + Said(registry.RenameAlias(caller, model, alias, other_alias));
    case 12:
      return "alias swapped " + Said(registry.SwapAliases(caller, model, alias, other_alias));
    case 13:
      return "tag " + Said(registry.SetTag(caller, {model, std::nullopt}, alias, "v"));
    case 14:
      return "version tag " + Said(registry.SetTag(caller, {model, number}, alias, "v"));
    case 15:
      return "version gone " + Said(registry.DeleteVersion(caller, model, number));
    case 16:
      return "copied " + Said(registry.CopyVersion(caller, model, number, child(schema, other_name)));
    case 17:
      return "renamed " + Said(registry.Rename(caller, model, other_name));
    case 18:
      return "described " + Said(registry.SetDescription(caller, {model, std::nullopt}, alias));
    default:
      return "deleted " + Said(pick(2) == 0
                                   ? registry.Delete(caller, model, Registry::DeleteMode::kWithVersions)
                                   : registry.Delete(caller, schema, Registry::DeleteMode::kIfEmpty));
  }
}

std::string Dump(store::EmbeddedRegistry& registry, const store::Caller& caller) {
  std::string facts;
  const auto add = [&](const std::string& fact) { facts += fact + "\n"; };
  const auto tags_of = [&](const store::Target& target) {
    std::string text;
    const auto tags = registry.Tags(caller, target);
    if (!tags.ok()) return tags.error().message();
    for (const auto& [key, value] : *tags) text += fmt::format(" {}={}", key, value);
    return text;
  };
  const std::function<void(ObjectId)> visit = [&](ObjectId parent) {
    const auto children = registry.List(caller, parent, {});
    if (!children.ok()) return add(children.error().message());
    for (const ObjectInfo& listed : children->items) {
      const auto object = registry.Get(caller, listed.id);
      if (!object.ok()) return add(object.error().message());
      add(fmt::format("{} {} id={} owner={} comment={} next={} ready={} tags:{}", KindName(object->kind),
                      object->full_name.ToString(), object->id, object->owner, object->comment,
                      object->next_version, object->latest_ready, tags_of({object->id, std::nullopt})));
      for (const store::AliasInfo& alias : object->aliases) {
        add(fmt::format("  @{} -> {} id={} slot={}", alias.name, alias.version, alias.version_id,
                        alias.slot));
      }
      if (object->kind != store::ObjectKind::kModel) {
        visit(object->id);
        continue;
      }
      const auto versions = registry.ListVersions(caller, object->id, {});
      if (!versions.ok()) return add(versions.error().message());
      for (const store::VersionInfo& item : versions->items) {
        const auto version = registry.GetVersionById(caller, item.id);
        if (!version.ok()) return add(version.error().message());
        add(fmt::format("  v{} id={} {} {} {} source={} comment={} tags:{}", version->number, version->id,
                        StatusName(version->status), version->tree.Hex(), version->total_bytes,
                        version->source, version->comment, tags_of({object->id, version->number})));
      }
    }
  };
  visit(store::kMetastoreId);
  store::AuditQuery everything;
  everything.limit = 100'000;
  const auto trail = registry.Audit(caller, everything);
  if (!trail.ok()) add(trail.error().message());
  if (trail.ok()) {
    for (const store::AuditRecord& record : *trail) {
      // Refusals are written a moment later, so they are not part of the state.
      if (record.change) add(fmt::format("audit {} {}", record.action, record.full_name));
    }
  }
  const auto events = registry.Events(caller, 0, 100'000);
  add(events.ok() ? fmt::format("{} events", events->events.size()) : events.error().message());
  return facts;
}

}  // namespace modelfs::testing
