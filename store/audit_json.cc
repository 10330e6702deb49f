#include "store/audit_json.h"

#include <nlohmann/json.hpp>

#include "cas/base/json_text.h"

namespace modelfs::store {
namespace {

enum class Hashes : uint8_t { kShown, kLeftOut };

std::string Text(const AuditRecord& record, Hashes hashes) {
  using Json = nlohmann::ordered_json;
  const std::string& run_by = record.run_by.empty() ? record.principal : record.run_by;
  Json json;
  json["version"] = "2.0";
  json["timestamp"] = record.time_ms;
  json["serviceName"] = "unityCatalog";
  json["actionName"] = record.action;
  json["requestId"] = record.request_id;
  json["userIdentity"] = Json{{"email", record.principal}};
  json["identityMetadata"] = Json{{"runBy", run_by}, {"runAs", record.principal}};
  json["sourceIPAddress"] = nullptr;
  json["userAgent"] = record.door;
  Json params = Json::object();
  for (const auto& param : record.params) params[param.first] = param.second;
  json["requestParams"] = std::move(params);
  json["response"] = Json{{"statusCode", record.status},
                          {"errorMessage", record.error.empty() ? Json(nullptr) : Json(record.error)},
                          {"result", nullptr}};
  json["auditLevel"] = "ACCOUNT_LEVEL";
  json["fullName"] = record.full_name;
  json["objectId"] = record.object;
  json["sequence"] = record.sequence;
  if (hashes == Hashes::kShown) {
    json["previousHash"] = Digest{record.previous_hash, 0}.Hex();
    json["hash"] = Digest{record.hash, 0}.Hex();
  }
  json["proof"] = ProofName(record.proof);
  // Names and texts are UTF-8 by the registry's rules; other bytes in an old record must not throw here.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string AuditJson(const AuditRecord& record) { return Text(record, Hashes::kShown); }
std::string ActivityJson(const AuditRecord& record) { return VisibleJson(Text(record, Hashes::kLeftOut)); }

}  // namespace modelfs::store
