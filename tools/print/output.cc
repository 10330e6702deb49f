#include "tools/print/output.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cas/base/text.h"

namespace modelfs::tools {
namespace {

// Code points, near enough to columns for names in one script.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;  // not a UTF-8 continuation byte
  }));
}

int output_errno = 0;

}  // namespace

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

void PrintJson(const Json& json) { PrintLine(store::JsonText(json, 2)); }

Status FlushOutput() {
  if (output_errno == 0 && std::fflush(stdout) != 0) output_errno = errno;
  if (output_errno != 0) return ErrnoError(output_errno, "standard output: write");
  return OkStatus();
}

void JsonList::Add(const Json& element) {
  Print(empty_ ? "[\n" : ",\n");
  empty_ = false;
  Print(store::JsonText(element, -1));
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

}  // namespace modelfs::tools
