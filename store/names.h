// The names of the registry, and their rules. Every front end applies the same rules, with these functions.
// Rules: "Limits and names" in docs/semantics.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cas/base/result.h"

namespace modelfs::store {

using VersionNumber = uint64_t;  // 1, 2, 3, …; never reused

// A catalog, schema or model name: 1 to 255 bytes of valid UTF-8 in NFC, lower case, without '.', '@',
// space, '/', control or invisible characters. kInvalidArgument says which rule and what to write.
Status CheckObjectName(std::string_view name);

// An alias: 1 to 255 bytes of letters, digits, '_' and '-' (ASCII); case is kept. Refused: "latest" in
// any case, 'v' or 'V' and digits only, digits only, and the temporary names that `ln` makes ("Cu" and six
// letters or digits, at least one of them a digit or capital).
Status CheckAliasName(std::string_view name);

// True for names that can never be an alias, so that a mount may keep them to itself for a while: those with
// a character outside [A-Za-z0-9_-], and `ln`'s temporary names.
bool IsHeldName(std::string_view name);

// 1 to 255 bytes, valid UTF-8, none of . , - = / : and no outer spaces, no control characters.
Status CheckTagKey(std::string_view key);
// At most 1,000 characters; may be empty. No NUL.
Status CheckTagValue(std::string_view value);
// At most 65,536 characters; empty removes it.
Status CheckDescription(std::string_view text);

// "catalog", "catalog.schema" or "catalog.schema.model".
struct FullName {
  std::vector<std::string> parts;  // 1 to 3, each passes CheckObjectName

  static Result<FullName> Parse(std::string_view dotted);
  std::string ToString() const;
  FullName Parent() const;  // requires at least two parts
  const std::string& leaf() const { return parts.back(); }
  friend bool operator==(const FullName&, const FullName&) = default;
};

// A model, one of its versions, or the target of an alias, as a person may write it:
// "c.s.m", "c.s.m/3", "c.s.m@Champion", each also with "models:/" in front.
struct ModelSpec {
  FullName model;
  std::variant<std::monostate, VersionNumber, std::string> version;  // none, number, alias

  static Result<ModelSpec> Parse(std::string_view text);
};

// The version that a version's source names: "models:/c.s.m/3". nullopt for a path or another URI.
std::optional<ModelSpec> ParseModelSource(std::string_view source);

// A version number as people write it: decimal digits without sign or leading zero, at least 1.
std::optional<VersionNumber> ParseVersionNumber(std::string_view text);

}  // namespace modelfs::store
