#include "store/names.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "cas/base/text.h"
#include "store/types.h"

namespace modelfs::store {
namespace {

constexpr std::string_view kModelScheme = "models:/";
constexpr size_t kMostParts = 3;  // of a full name

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsAliasCharacter(char c) { return IsDigit(c) || IsUpper(c) || IsLower(c) || c == '_' || c == '-'; }

// A name in a message: printable, and no longer than a name may be.
std::string Shown(std::string_view name) {
  std::string shown = Printable(name.substr(0, kNameMaxBytes));
  if (name.size() > kNameMaxBytes) shown += "…";
  return shown;
}

Error Refusal(std::string_view what, std::string_view name, std::string_view rule) {
  return Error(Code::kInvalidArgument, fmt::format("{} \"{}\" {}", what, Shown(name), rule));
}

// The spaces of Unicode's category Zs other than U+0020: they look like one and are not hidden.
constexpr std::array<std::string_view, 16> kWideSpaces = {
    "\u00A0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005",
    "\u2006", "\u2007", "\u2008", "\u2009", "\u200A", "\u202F", "\u205F", "\u3000"};

bool HasSpace(std::string_view text) {
  return text.find(' ') != std::string_view::npos ||
         std::any_of(kWideSpaces.begin(), kWideSpaces.end(),
                     [&](std::string_view space) { return text.find(space) != std::string_view::npos; });
}

// The rule that a text breaks as a name; nullopt if it breaks none.
std::optional<std::string_view> WhyNotAName(std::string_view name) {
  if (name.size() > kNameMaxBytes) return "is longer than 255 bytes; write a shorter one";
  if (!IsValidUtf8(name)) return "is not valid UTF-8";
  if (name.find('.') != std::string_view::npos) {
    return "contains a dot, which separates catalog, schema and model; use _ or - instead";
  }
  if (name.find('@') != std::string_view::npos) return "contains @, which introduces an alias";
  if (name.find('/') != std::string_view::npos) return "contains a slash";
  if (HasSpace(name)) return "contains a space; use _ or - instead";
  if (HasHiddenCharacters(name)) {
    return "contains a control, bidirectional, zero-width or otherwise invisible character";
  }
  if (!IsNfc(name)) {
    return "is not in Unicode normalisation form C (another spelling of the same letters is)";
  }
  if (!IsLowerCase(name)) return "contains upper-case letters; names are lower case";
  return std::nullopt;
}

// The nearest name to one from elsewhere ("Qwen2.5-7B-Instruct"); nullopt if no name is near.
std::optional<std::string> NearestName(std::string_view name) {
  std::string nearest = LowerCase(name);
  for (const std::string_view space : kWideSpaces) {
    for (size_t at = 0; (at = nearest.find(space, at)) != std::string::npos; ++at) {
      nearest.replace(at, space.size(), " ");
    }
  }
  constexpr std::string_view kSeparators = ".@/ ";
  std::replace_if(
      nearest.begin(), nearest.end(), [&](char c) { return kSeparators.find(c) != std::string_view::npos; },
      '-');
  if (nearest.empty() || WhyNotAName(nearest)) return std::nullopt;
  return nearest;
}

// The same of a name of several parts: the third part takes all that follows, with its dots.
std::optional<std::string> NearestFullName(std::string_view dotted) {
  std::string nearest;
  for (size_t part = 1;; ++part) {
    const size_t dot = part < kMostParts ? dotted.find('.') : std::string_view::npos;
    const std::optional<std::string> name = NearestName(dotted.substr(0, dot));
    if (!name) return std::nullopt;
    nearest += *name;
    if (dot == std::string_view::npos) return nearest;
    nearest += '.';
    dotted.remove_prefix(dot + 1);
  }
}

std::string Instead(const std::optional<std::string>& nearest) {
  return nearest ? fmt::format("; \"{}\" is allowed", *nearest) : "";
}

// The temporary symlink that coreutils' `ln -sf` renames into place (gnulib, force-link.c): "Cu" and six
// characters. All six lower case would be an ordinary word such as "Customer", so that stays free.
bool IsLnTemporaryName(std::string_view name) {
  constexpr size_t kLength = 8;
  if (name.size() != kLength || name.substr(0, 2) != "Cu") return false;
  const std::string_view random = name.substr(2);
  return std::all_of(random.begin(), random.end(),
                     [](char c) { return IsDigit(c) || IsUpper(c) || IsLower(c); }) &&
         std::any_of(random.begin(), random.end(), [](char c) { return IsDigit(c) || IsUpper(c); });
}

size_t CountCharacters(std::string_view utf8) {
  constexpr unsigned kTopTwoBits = 0xC0;
  constexpr unsigned kContinuation = 0x80;
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & kTopTwoBits) != kContinuation;
  }));
}

Status CheckText(std::string_view what, std::string_view text, size_t most_characters) {
  if (!IsValidUtf8(text)) return Error(Code::kInvalidArgument, fmt::format("{} is not valid UTF-8", what));
  if (text.find('\0') != std::string_view::npos) {
    return Error(Code::kInvalidArgument, fmt::format("{} contains a NUL byte", what));
  }
  if (const size_t characters = CountCharacters(text); characters > most_characters) {
    return Error(Code::kResourceExhausted,
                 fmt::format("{} has {} characters; at most {} are kept", what, characters, most_characters));
  }
  return OkStatus();
}

}  // namespace

Status CheckObjectName(std::string_view name) {
  if (name.empty()) return Error(Code::kInvalidArgument, "a name may not be empty");
  const std::optional<std::string_view> rule = WhyNotAName(name);
  if (!rule) return OkStatus();
  return Refusal("name", name, std::string(*rule) + Instead(NearestName(name)));
}

Status CheckAliasName(std::string_view name) {
  const auto refuse = [&](std::string_view rule) { return Refusal("alias", name, rule); };
  if (name.empty()) return Error(Code::kInvalidArgument, "an alias may not be empty");
  if (name.size() > kNameMaxBytes) return refuse("is longer than 255 bytes; write a shorter one");
  if (!std::all_of(name.begin(), name.end(), IsAliasCharacter)) {
    return refuse("may only have the letters a to z and A to Z, digits, _ and -");
  }
  if (FoldCase(name) == "latest") return refuse("is reserved: versions/latest is the newest version");
  if (std::all_of(name.begin(), name.end(), IsDigit)) {
    return refuse("is a number, which would be taken for a version; add a letter");
  }
  if ((name[0] == 'v' || name[0] == 'V') && name.size() > 1 &&
      std::all_of(name.begin() + 1, name.end(), IsDigit)) {
    return refuse("would be taken for a version number; choose a word");
  }
  if (IsLnTemporaryName(name)) {
    return refuse("is a name that ln(1) gives its temporary links; choose another");
  }
  return OkStatus();
}

bool IsHeldName(std::string_view name) {
  return !std::all_of(name.begin(), name.end(), IsAliasCharacter) || IsLnTemporaryName(name);
}

Status CheckTagKey(std::string_view key) {
  const auto refuse = [&](std::string_view rule) { return Refusal("tag key", key, rule); };
  if (key.empty()) return Error(Code::kInvalidArgument, "a tag key may not be empty");
  if (key.size() > kNameMaxBytes) return refuse("is longer than 255 bytes; write a shorter one");
  if (!IsValidUtf8(key)) return refuse("is not valid UTF-8");
  if (key.find_first_of(".,-=/:") != std::string_view::npos) {
    return refuse("contains one of . , - = / : which tag keys may not have; use _ instead");
  }
  if (key.front() == ' ' || key.back() == ' ') return refuse("begins or ends with a space");
  if (HasHiddenCharacters(key)) {
    return refuse("contains a control, bidirectional, zero-width or otherwise invisible character");
  }
  return OkStatus();
}

Status CheckTagValue(std::string_view value) { return CheckText("tag value", value, kMaxTagValueCharacters); }

Status CheckDescription(std::string_view text) {
  return CheckText("description", text, kMaxDescriptionCharacters);
}

Result<FullName> FullName::Parse(std::string_view dotted) {
  FullName name;
  for (std::string_view rest = dotted;;) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    if (name.parts.size() == kMostParts) {
      return Refusal(
          "name", dotted,
          "has more than three parts; write catalog.schema.model" + Instead(NearestFullName(dotted)));
    }
    if (part.size() == dotted.size() || part.empty()) {
      RETURN_IF_ERROR(CheckObjectName(part));
    } else if (const std::optional<std::string_view> rule = WhyNotAName(part)) {
      const Error refusal = Refusal("name", part, std::string(*rule) + Instead(NearestFullName(dotted)));
      return refusal.Wrap(fmt::format("\"{}\"", Shown(dotted)));
    }
    name.parts.emplace_back(part);
    if (dot == std::string_view::npos) return name;
    rest.remove_prefix(dot + 1);
  }
}

std::string FullName::ToString() const {
  std::string dotted;
  for (const std::string& part : parts) {
    if (!dotted.empty()) dotted += '.';
    dotted += part;
  }
  return dotted;
}

FullName FullName::Parent() const {
  FullName parent = *this;
  parent.parts.pop_back();
  return parent;
}

Result<ModelSpec> ModelSpec::Parse(std::string_view text) {
  std::string_view rest = text;
  if (rest.starts_with(kModelScheme)) rest.remove_prefix(kModelScheme.size());
  const size_t mark = rest.find_first_of("@/");
  ASSIGN_OR_RETURN(FullName model, FullName::Parse(rest.substr(0, mark)));
  if (model.parts.size() != 3) {
    return Refusal("model", text, "does not have three parts; write catalog.schema.model");
  }
  ModelSpec spec;
  spec.model = std::move(model);
  if (mark == std::string_view::npos) return spec;
  const std::string_view which = rest.substr(mark + 1);
  if (rest[mark] == '@') {
    RETURN_IF_ERROR(CheckAliasName(which));
    spec.version = std::string(which);
    return spec;
  }
  const std::optional<VersionNumber> number = ParseVersionNumber(which);
  if (!number) {
    return Refusal("version", which, "is not a version number; write catalog.schema.model/3 or @Alias");
  }
  spec.version = *number;
  return spec;
}

std::optional<ModelSpec> ParseModelSource(std::string_view source) {
  if (!source.starts_with(kModelScheme)) return std::nullopt;
  Result<ModelSpec> spec = ModelSpec::Parse(source);
  if (!spec.ok()) return std::nullopt;
  return *std::move(spec);
}

std::optional<VersionNumber> ParseVersionNumber(std::string_view text) {
  constexpr size_t kMostDigits = 19;  // all of them fit 64 bits
  if (text.empty() || text.size() > kMostDigits || text[0] == '0') return std::nullopt;
  VersionNumber number = 0;
  for (const char c : text) {
    if (!IsDigit(c)) return std::nullopt;
    number = number * 10 + static_cast<VersionNumber>(c - '0');
  }
  return number;
}

}  // namespace modelfs::store
