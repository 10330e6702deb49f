#include "tools/print/output.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cas/base/json_text.h"
#include "cas/base/text.h"

namespace modelfs::tools {
namespace {

// The parts of a full name under the names that a record of this kind gives them.
void AddNameParts(Json& json, const store::FullName& name, const char* leaf_field) {
  const size_t parts = name.parts.size();
  if (parts >= 1) json[parts == 1 ? leaf_field : "catalog_name"] = name.parts[0];
  if (parts >= 2) json[parts == 2 ? leaf_field : "schema_name"] = name.parts[1];
  if (parts >= 3) json[leaf_field] = name.parts[2];
}

std::string Dump(const Json& json, int indent) {
  // A source or a tag from outside may hold bytes that are not UTF-8: they must not take the output down.
  return VisibleJson(json.dump(indent, ' ', false, Json::error_handler_t::replace));
}

// Code points, near enough to columns for names in one script.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;  // not a UTF-8 continuation byte
  }));
}

int output_errno = 0;

}  // namespace

Json AliasJson(const store::AliasInfo& alias) {
  return {{"alias_name", alias.name}, {"version_num", alias.version}, {"updated_at", alias.updated_at_ms}};
}

Json TagsJson(const Tags& tags) {
  Json json = Json::object();
  for (const auto& tag : tags) json[tag.first] = tag.second;
  return json;
}

Json ObjectJson(const store::ObjectInfo& object) {
  Json json = Json::object();
  json["kind"] = store::KindName(object.kind);
  AddNameParts(json, object.full_name, "name");
  json["full_name"] = object.full_name.ToString();
  json["id"] = object.id;
  json["owner"] = object.owner;
  json["comment"] = object.comment;
  if (object.browse_only) json["browse_only"] = true;
  if (object.kind == store::ObjectKind::kModel) {
    Json aliases = Json::array();
    for (const store::AliasInfo& alias : object.aliases) aliases.push_back(AliasJson(alias));
    json["aliases"] = std::move(aliases);
    json["latest_version"] = object.latest_ready == 0 ? Json(nullptr) : Json(object.latest_ready);
  }
  json["created_at"] = object.created_at_ms;
  json["created_by"] = object.created_by;
  json["updated_at"] = object.updated_at_ms;
  json["updated_by"] = object.updated_by;
  return json;
}

Json VersionJson(const store::VersionInfo& version) {
  const bool ready = version.status == store::VersionStatus::kReady;
  Json json = Json::object();
  AddNameParts(json, version.model_name, "model_name");
  json["version"] = version.number;
  json["full_name"] = VersionName(version);
  json["id"] = version.id;
  json["status"] = store::StatusName(version.status);
  json["status_message"] = version.status_message;
  json["source"] = version.source;
  json["run_id"] = version.run_id;
  json["comment"] = version.comment;
  json["aliases"] = version.aliases;
  json["signature"] = version.signature == store::Signature::kPresent;
  json["digest"] = ready ? Json(version.tree.ToString()) : Json(nullptr);
  json["size_bytes"] = ready ? Json(version.total_bytes) : Json(nullptr);
  json["file_count"] = ready ? Json(version.file_count) : Json(nullptr);
  json["created_at"] = version.created_at_ms;
  json["created_by"] = version.created_by;
  json["updated_at"] = version.updated_at_ms;
  json["updated_by"] = version.updated_by;
  return json;
}

Json FileJson(const cas::TreeEntry& entry) {
  if (entry.kind == cas::EntryKind::kEmptyDirectory) {
    return {{"path", entry.path}, {"kind", "directory"}};
  }
  return {{"path", entry.path},
          {"kind", "file"},
          {"size_bytes", entry.blob.size_bytes},
          {"executable", entry.executable},
          {"digest", entry.blob.ToString()}};
}

void Print(std::string_view text) {
  if (output_errno != 0) return;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) output_errno = errno;
}

void PrintLine(std::string_view text) {
  Print(text);
  Print("\n");
}

void PrintLeftovers(const std::vector<std::string>& paths, std::string_view advice) {
  for (const std::string& path : paths) {
    std::fputs(fmt::format("modelfs: hint: {} is part of the version; {}\n", Printable(path), advice).c_str(),
               stderr);
  }
}

void PrintJson(const Json& json) { PrintLine(Dump(json, 2)); }

Status FlushOutput() {
  if (output_errno == 0 && std::fflush(stdout) != 0) output_errno = errno;
  if (output_errno != 0) return ErrnoError(output_errno, "standard output: write");
  return OkStatus();
}

void JsonList::Add(const Json& element) {
  Print(empty_ ? "[\n" : ",\n");
  empty_ = false;
  Print(Dump(element, -1));
}

void JsonList::End() { Print(empty_ ? "[]\n" : "\n]\n"); }

void Table::Add(std::vector<std::string> row) {
  for (std::string& cell : row) {
    cell = Printable(cell);
    if (cell.empty()) cell = "-";
  }
  rows_.push_back(std::move(row));
}

std::string Table::Render() const {
  if (rows_.empty()) return "";
  std::vector<size_t> widths;
  for (const std::string& title : header_) widths.push_back(Width(title));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string out;
  const auto add = [&](const std::vector<std::string>& row) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out.append(widths[i] - Width(row[i]) + 2, ' ');
    }
    out += '\n';
  };
  add(header_);
  for (const auto& row : rows_) add(row);
  return out;
}

void Fields::Add(std::string_view label, std::string_view value) {
  if (!value.empty()) PrintLine(fmt::format("{:<12} {}", fmt::format("{}:", label), Printable(value)));
}

void Fields::AddText(std::string_view label, std::string_view text) {
  std::string_view shown = label;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    PrintLine(fmt::format("{:<12} {}", shown.empty() ? "" : fmt::format("{}:", shown),
                          Printable(text.substr(0, end))));
    shown = "";
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

void Fields::AddTags(const Tags& tags) {
  for (const auto& tag : tags) Add("tag", fmt::format("{} = {}", tag.first, tag.second));
}

std::string LocalTime(int64_t time_ms) {
  if (time_ms == 0) return "-";
  const std::time_t seconds = static_cast<std::time_t>(time_ms / 1000);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", local.tm_year + 1900, local.tm_mon + 1,
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
}

std::string VersionName(const store::VersionInfo& version) {
  return fmt::format("{}/{}", version.model_name.ToString(), version.number);
}

}  // namespace modelfs::tools
