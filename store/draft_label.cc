#include "store/draft_label.h"

#include <nlohmann/json.hpp>

namespace modelfs::store {

std::string DraftLabel::Encode() const {
  nlohmann::json json = {{"v", 1},         {"mount", mount}, {"uid", uid},
                         {"model", model}, {"name", name},   {"used_ms", used_ms}};
  if (creator != uid) json["creator"] = creator;
  if (!fields.tags.empty()) json["tags"] = fields.tags;
  if (!fields.description.empty()) json["description"] = fields.description;
  if (copied_from.has_value()) json["copied_from"] = *copied_from;
  if (sealing.has_value()) {
    json["sealing"] = {{"number", sealing->first},
                       {"tree", sealing->second.Hex()},
                       {"tree_bytes", sealing->second.size_bytes}};
  }
  if (ended) json["ended"] = true;
  return json.dump();
}

std::optional<DraftLabel> DraftLabel::Decode(std::string_view text) {
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    if (json.value("v", 0) != 1) return std::nullopt;
    DraftLabel label;
    label.mount = json.at("mount").get<std::string>();
    label.uid = json.at("uid").get<uint64_t>();
    label.creator = json.value("creator", static_cast<uid_t>(label.uid));
    label.model = json.at("model").get<ObjectId>();
    label.name = json.at("name").get<std::string>();
    label.used_ms = json.at("used_ms").get<int64_t>();
    label.ended = json.value("ended", false);
    label.fields.description = json.value("description", "");
    if (json.contains("tags")) {
      label.fields.tags = json.at("tags").get<std::map<std::string, std::string>>();
    }
    if (json.contains("copied_from")) label.copied_from = json.at("copied_from").get<VersionId>();
    if (json.contains("sealing")) {
      const nlohmann::json& sealing = json.at("sealing");
      const Result<Sha256> sha256 = ParseSha256Hex(sealing.at("tree").get<std::string>());
      if (!sha256.ok()) return std::nullopt;
      label.sealing = {sealing.at("number").get<VersionNumber>(),
                       Digest{*sha256, sealing.at("tree_bytes").get<uint64_t>()}};
    }
    return label;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace modelfs::store
