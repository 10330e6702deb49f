// The output of the commands: text tables for people, JSON (store/registry_json.h) for programs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/result.h"
#include "store/registry_json.h"

namespace modelfs::tools {

using store::Json;
using store::Tags;

// Prints to stdout. A failure to write is remembered for FlushOutput.
void Print(std::string_view text);
void PrintLine(std::string_view text);
// A line on stderr for each of a version's leftovers (cas::Leftovers); `advice` says how to do without them.
void PrintLeftovers(const std::vector<std::string>& paths, std::string_view advice);
void PrintJson(const Json& json);
// At the end of every command: kNoSpace and friends where the output did not get out.
Status FlushOutput();

// A JSON array that is printed while it is being made, one element a line.
class JsonList {
 public:
  void Add(const Json& element);
  void End();

 private:
  bool empty_ = true;
};

// Columns as wide as their widest cell. Cells are made printable: what others wrote into the registry
// never drives the terminal. No header is printed for a table without rows.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void Add(std::vector<std::string> row);
  std::string Render() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// The lines of `show`: a label and a value each; empty values are left out.
class Fields {
 public:
  void Add(std::string_view label, std::string_view value);
  // Several lines, each made printable.
  void AddText(std::string_view label, std::string_view text);
  void AddTags(const Tags& tags);
};

// "2026-11-22 23:27:44", in the local time zone; "-" for 0.
std::string LocalTime(int64_t time_ms);
}  // namespace modelfs::tools
