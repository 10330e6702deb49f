#include "fs/zones/info.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "fs/base/statistics.h"
#include "fs/zones/zones.h"
#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

using Json = nlohmann::json;

class FixedStatistics : public Statistics {
 public:
  StatisticsSnapshot Snapshot() const override {
    StatisticsSnapshot numbers;
    numbers.started_at_ms = 1'000'250;
    numbers.now_ms = 1'061'000;
    numbers.passthrough_reason = "needs root";
    numbers.requests = {{"lookup", 7}, {"read", 3}};
    numbers.refused = 2;
    numbers.open_files = 1;
    return numbers;
  }
};

std::string Text(Zone& zone, const Request& request, NodeId directory,
                 std::initializer_list<std::string_view> path) {
  NodeId node = directory;
  for (const std::string_view name : path) {
    const auto found = zone.Lookup(request, node, name);
    EXPECT_TRUE(found) << name << ": " << MessageOf(found);
    if (!found) return {};
    node = found->node;
  }
  const auto opened = zone.Open(request, node, O_RDONLY);
  EXPECT_TRUE(opened) << MessageOf(opened);
  if (!opened) return {};
  EXPECT_EQ(opened->page_cache, PageCache::kDirect) << "its size is not known in advance";
  return ReadAll(*opened->handle);
}

TEST(InfoZone, StatusAndMetricsShowTheMountsNumbers) {
  ZoneWorld world;
  const FixedStatistics statistics;
  world.context.statistics = &statistics;
  const auto zone = MakeInfoZone(world.context);
  EXPECT_EQ(NamesIn(*zone, world.request, kControlDirectory),
            (std::vector<std::string>{"errors", "metrics", "status"}));

  const Json status = Json::parse(Text(*zone, world.request, kControlDirectory, {"status"}));
  EXPECT_EQ(status["registry"], world.registry->Settings(world.caller)->id);
  EXPECT_EQ(status["mount_point"], "/models");
  EXPECT_EQ(status["home"], "/registry");
  EXPECT_EQ(status["uptime_s"], 60);
  EXPECT_EQ(status["passthrough"], false);
  EXPECT_EQ(status["passthrough_reason"], "needs root");
  EXPECT_EQ(status["requests"]["lookup"], 7);
  EXPECT_EQ(status["pid"], ::getpid());

  const std::string metrics = Text(*zone, world.request, kControlDirectory, {"metrics"});
  EXPECT_NE(metrics.find("\nmodelfs_requests_total{operation=\"read\"} 3\n"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("\nmodelfs_refused_total 2\n"), std::string::npos);
  EXPECT_NE(metrics.find("\nmodelfs_start_time_seconds 1000.250\n"), std::string::npos);
}

TEST(InfoZone, ErrorsShowTheReadersOwnRefusals) {
  ZoneWorld world;
  RefusalRecord mine;
  mine.uid = world.caller.uid;
  mine.operation = "mkdir";
  mine.path = "/Prod\n\"\xff";
  mine.errno_value = EINVAL;
  mine.message = "use lower case";
  RefusalRecord others = mine;
  others.uid = world.caller.uid + 1;
  others.path = "/secret";
  world.refusals->Record(mine);
  world.refusals->Record(others);
  const auto zone = MakeInfoZone(world.context);
  const std::string errors = Text(*zone, world.request, kControlDirectory, {"errors"});
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1);
  EXPECT_EQ(Json::parse(errors)["path"], "/Prod\\x0a\"\\xff") << "bytes that are not UTF-8 are shown as text";
  EXPECT_EQ(Json::parse(errors)["errno_name"], "EINVAL");
  EXPECT_EQ(errors.find("secret"), std::string::npos);
}

TEST(InfoZone, AccessShowsTheReadersMissingRightsWithReasons) {
  ZoneWorld world;
  const store::ObjectId catalog =
      world.registry->Create(world.caller, store::kMetastoreId, "closed", "").value().id;
  ASSERT_TRUE(world.registry->Create(world.caller, catalog, "ml", "").ok());
  const auto zone = MakeInfoZone(world.context);
  const auto access = [&](const Request& request, const std::string& name) {
    return zone->GetXattr(request, kControlDirectory, "user.modelfs.access." + name).value_or("refused");
  };
  const std::string mine = access(world.request, "closed.ml");
  EXPECT_NE(mine.find(R"("allowed":true})"), std::string::npos) << mine;
  EXPECT_EQ(mine.find("message"), std::string::npos) << mine;

  Request eve = world.request;
  eve.caller.principal = "eve";
  eve.caller.groups.clear();
  const std::string catalogs = access(eve, "closed");
  EXPECT_EQ(catalogs.find("true"), std::string::npos) << catalogs;
  EXPECT_NE(catalogs.find("USE CATALOG"), std::string::npos) << catalogs;
  const auto nameless = [&](const std::string& name) {
    std::string text = access(eve, name);
    for (size_t at = text.find(name); at != std::string::npos; at = text.find(name))
      text.replace(at, name.size(), "X");
    return text;
  };
  EXPECT_EQ(nameless("closed.ml"), nameless("closed.no")) << "the names inside are not revealed";

  EXPECT_NE(access(world.request, "closed..ml").find("message"), std::string::npos);
  EXPECT_EQ(ErrnoOf(zone->GetXattr(world.request, kControlDirectory, "user.modelfs.name")), ENODATA);
  EXPECT_EQ(ErrnoOf(zone->GetXattr(world.request, kControlStatus, "user.modelfs.access.closed")), ENODATA);
}

TEST(InfoZone, AModelsInformationIsJson) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  store::NewVersion fields;
  fields.run_id = "r1";
  fields.comment = "first";
  world.Commit(model, {{"a", "x"}}, fields);
  const store::ObjectId copy = world.Make("prod.ml.copy");
  ASSERT_TRUE(world.registry->CopyVersion(world.caller, model, 1, copy).ok());
  ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 1).ok());
  ASSERT_TRUE(world.registry->SetTag(world.caller, {model, {}}, "task", "flowers").ok());
  ASSERT_TRUE(world.registry->SetTag(world.caller, {model, 1}, "stage", "prod").ok());
  const auto zone = MakeInfoZone(world.context);
  const NodeId info = InfoNode(model, InfoFile::kDirectory);

  EXPECT_EQ(NamesIn(*zone, world.request, info),
            (std::vector<std::string>{"activity.jsonl", "lineage", "model.json", "versions"}));
  const Json json = Json::parse(Text(*zone, world.request, info, {"model.json"}));
  EXPECT_EQ(json["full_name"], "prod.ml.iris");
  EXPECT_EQ(json["catalog_name"], "prod");
  EXPECT_EQ(json["aliases"][0]["alias_name"], "Champion");
  EXPECT_EQ(json["aliases"][0]["version"], 1);
  EXPECT_EQ(json["tags"]["task"], "flowers");

  const Json version = Json::parse(Text(*zone, world.request, info, {"versions", "1.json"}));
  EXPECT_EQ(version["version"], 1);
  EXPECT_EQ(version["status"], "READY");
  EXPECT_EQ(version["comment"], "first");
  EXPECT_EQ(version["tags"]["stage"], "prod");
  EXPECT_EQ(version["aliases"], json["aliases"]) << "one shape";
  EXPECT_EQ(version["size_bytes"], 1);

  const Json lineage = Json::parse(Text(*zone, world.request, info, {"lineage", "1.json"}));
  EXPECT_EQ(lineage["upstream"][0]["run_id"], "r1");
  const Json copied =
      Json::parse(Text(*zone, world.request, InfoNode(copy, InfoFile::kDirectory), {"lineage", "1.json"}));
  EXPECT_EQ(copied["upstream"][0]["kind"], "parent_version");
  EXPECT_EQ(copied["upstream"][0]["full_name"], "prod.ml.iris/1");
  EXPECT_EQ(copied["upstream"][0]["version"], 1);

  const auto versions = zone->Lookup(world.request, info, "versions");
  ASSERT_TRUE(versions);
  EXPECT_EQ(NamesIn(*zone, world.request, versions->node), std::vector<std::string>{"1.json"});
  for (const char* name : {"2.json", "0.json", "01.json", "1", "99999999999.json", "x"}) {
    EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, versions->node, name)), ENOENT) << name;
  }
  EXPECT_EQ(ErrnoOf(zone->Lookup(world.request, info, "none")), ENOENT);
  EXPECT_EQ(*zone->ParentOf(versions->node), info);
  EXPECT_EQ(*zone->ParentOf(info), ObjectNode(model));
}

TEST(InfoZone, ActivityListsTheModelsChangesNewestLast) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  world.Commit(model, {{"a", "x"}});
  ASSERT_TRUE(world.registry->SetAlias(world.caller, model, "Champion", 1).ok());
  world.Make("prod.ml.other");
  world.registry->RecordAudit(world.caller, store::Operation::kReadFiles, model, OkStatus(),
                              {});  // no change
  ASSERT_TRUE(world.registry->FlushAudit().ok());
  const auto zone = MakeInfoZone(world.context);
  std::istringstream lines(
      Text(*zone, world.request, InfoNode(model, InfoFile::kDirectory), {"activity.jsonl"}));
  std::vector<Json> records;
  for (std::string line; std::getline(lines, line);) records.push_back(Json::parse(line));
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0]["actionName"], "createRegisteredModel");
  EXPECT_EQ(records[2]["actionName"], "setRegisteredModelAlias");
  EXPECT_EQ(records[2]["userIdentity"]["email"], world.caller.principal);
  EXPECT_EQ(records[2]["requestParams"]["alias_arg"], "Champion");
  EXPECT_LT(records[0]["sequence"].get<uint64_t>(), records[2]["sequence"].get<uint64_t>());
  for (const Json& record : records) {
    EXPECT_FALSE(record.contains("hash")) << record;
    EXPECT_FALSE(record.contains("previousHash")) << record;
  }
}

TEST(InfoZone, AnOpenFileKeepsItsContents) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto zone = MakeInfoZone(world.context);
  const auto opened = zone->Open(world.request, InfoNode(model, InfoFile::kModelJson), O_RDONLY);
  ASSERT_TRUE(opened);
  ASSERT_TRUE(world.registry->Rename(world.caller, model, "rose").ok());
  EXPECT_EQ(Json::parse(ReadAll(*opened->handle))["name"], "iris");
}

// Reference §2.4, 24: users that may know of a model may see its lineage; the ACL of the directory agrees.
TEST(InfoZone, LineageIsShownToUsersThatMayBrowseTheModel) {
  ZoneWorld world;
  const store::ObjectId parent = world.Make("secret.ml.iris");
  const store::ObjectId model = world.Make("prod.ml.copy");
  store::NewVersion fields;
  fields.run_id = "r1";
  world.Commit(parent, {{"a", "x"}}, fields);
  ASSERT_TRUE(world.registry->CopyVersion(world.caller, parent, 1, model).ok());
  world.Grant(world.Make("prod"), "eve", {store::Privilege::kBrowse});
  const Request eve = world.RequestOf(60003, 60003);
  const auto zone = MakeInfoZone(world.context);
  const NodeId info = InfoNode(model, InfoFile::kDirectory);
  const auto lineage = zone->Lookup(eve, info, "lineage");
  ASSERT_TRUE(lineage);
  EXPECT_EQ(NamesIn(*zone, eve, lineage->node), std::vector<std::string>{"1.json"});
  const Json seen = Json::parse(Text(*zone, eve, info, {"lineage", "1.json"}));
  EXPECT_EQ(seen["full_name"], "prod.ml.copy/1");
  EXPECT_EQ(seen["version"], 1);
  EXPECT_EQ(seen["upstream"][0]["masked"], true) << seen;
  EXPECT_EQ(seen.dump().find("secret"), std::string::npos) << seen;
  world.Grant(world.Make("secret"), "eve", {store::Privilege::kBrowse});
  EXPECT_EQ(Json::parse(Text(*zone, eve, info, {"lineage", "1.json"}))["upstream"][0]["full_name"],
            "secret.ml.iris/1");

  EXPECT_EQ(ErrnoOf(zone->OpenDirectory(eve, InfoNode(model, InfoFile::kVersionsDirectory))), EACCES);
  EXPECT_EQ(ErrnoOf(zone->Open(eve, InfoNode(model, InfoFile::kVersionJson, 1), O_RDONLY)), EACCES);
  const Request bob = world.RequestOf(60002, 60002);
  EXPECT_EQ(ErrnoOf(zone->OpenDirectory(bob, lineage->node)), EACCES) << "bob may not";
  EXPECT_EQ(ErrnoOf(zone->Open(bob, InfoNode(model, InfoFile::kLineageJson, 1), O_RDONLY)), EACCES);
}

TEST(InfoZone, NoGeneratedFileCanBeWritten) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  const auto zone = MakeInfoZone(world.context);
  const NodeId info = InfoNode(model, InfoFile::kDirectory);
  EXPECT_EQ(ErrnoOf(zone->Open(world.request, kControlStatus, O_WRONLY)), EROFS);
  EXPECT_EQ(ErrnoOf(zone->Open(world.request, kControlStatus, O_RDONLY | O_TRUNC)), EROFS);
  EXPECT_EQ(ErrnoOf(zone->Create(world.request, info, "x", 0644, O_WRONLY)), EROFS);
  EXPECT_EQ(ErrnoOf(zone->MakeDirectory(world.request, kControlDirectory, "x", 0755)), EROFS);
  EXPECT_EQ(ErrnoOf(zone->Unlink(world.request, info, "model.json")), EROFS);
  EXPECT_EQ(ErrnoOf(zone->SetXattr(world.request, info, "user.tag.a", "b", 0)), EROFS);
}

}  // namespace
}  // namespace modelfs::fs
