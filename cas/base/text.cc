#include "cas/base/text.h"

#include <fmt/core.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <optional>

#include "cas/base/unassigned.h"

namespace modelfs {
namespace {

struct FreeUtf8 {
  void operator()(utf8proc_uint8_t* text) const { std::free(text); }  // NOLINT: utf8proc allocates so
};

const utf8proc_uint8_t* Bytes(std::string_view text) {
  return reinterpret_cast<const utf8proc_uint8_t*>(text.data());
}

// Calls `visit(code_point)` for each code point. Returns false if the text is not UTF-8 or a visit returns
// false.
template <typename Visit>
bool EachCodePoint(std::string_view text, Visit visit) {
  while (!text.empty()) {
    utf8proc_int32_t code_point = 0;
    const utf8proc_ssize_t length =
        utf8proc_iterate(Bytes(text), static_cast<utf8proc_ssize_t>(text.size()), &code_point);
    if (length <= 0 || !visit(code_point)) return false;
    text.remove_prefix(static_cast<size_t>(length));
  }
  return true;
}

std::optional<std::string> Map(std::string_view text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(Bytes(text), static_cast<utf8proc_ssize_t>(text.size()),
                                               &mapped, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, FreeUtf8> owner(mapped);
  if (length < 0) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
}

bool IsHidden(utf8proc_int32_t code_point) {
  // Default-ignorable code points that are not of category Cf: Hangul fillers, variation selectors,
  // the combining grapheme joiner, Mongolian and Khmer invisible signs (Unicode DerivedCoreProperties).
  if (code_point == 0x034F || code_point == 0x115F || code_point == 0x1160 || code_point == 0x17B4 ||
      code_point == 0x17B5 || (code_point >= 0x180B && code_point <= 0x180F) || code_point == 0x3164 ||
      (code_point >= 0xFE00 && code_point <= 0xFE0F) || code_point == 0xFFA0 ||
      (code_point >= 0xE0000 && code_point <= 0xE0FFF)) {
    return true;
  }
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    default:
      return false;
  }
}

bool IsWithin(utf8proc_int32_t code_point, utf8proc_int32_t first, utf8proc_int32_t last) {
  return first <= code_point && code_point <= last;
}

// Unicode will never assign a noncharacter (section 23.7).
bool IsNoncharacter(utf8proc_int32_t code_point) {
  return (code_point & 0xFFFE) == 0xFFFE || IsWithin(code_point, 0xFDD0, 0xFDEF);
}

bool IsUnassigned(utf8proc_int32_t code_point) {
  const auto* at = std::lower_bound(std::begin(kUnassigned), std::end(kUnassigned), code_point,
                                    [](const CodePoints& range, int want) { return range.last < want; });
  return at != std::end(kUnassigned) && at->first <= code_point;
}

// Whether file names may have it only since version 2 of a tree's encoding.
bool IsNewer(utf8proc_int32_t code_point) {
  switch (code_point) {
    case 0x034F:  // combining grapheme joiner
    case 0x200C:  // zero width non-joiner: between letters of Persian, say
    case 0x200D:  // zero width joiner: of emoji and of letters
    case 0x2060:  // word joiner
      return true;
    default:
      break;
  }
  const bool selector = IsWithin(code_point, 0xFE00, 0xFE0F) || IsWithin(code_point, 0xE0100, 0xE01EF) ||
                        IsWithin(code_point, 0x180B, 0x180D) || code_point == 0x180F;
  const bool tag = IsWithin(code_point, 0xE0020, 0xE007F);  // in flags
  return selector || tag || IsUnassigned(code_point);
}

// Whether a file's name may not have it.
bool IsRefused(utf8proc_int32_t code_point) {
  if (IsNewer(code_point)) return false;
  // It is a noncharacter, or Unicode 15.1 has assigned it although this host does not know it yet.
  if (utf8proc_category(code_point) == UTF8PROC_CATEGORY_CN && !IsWithin(code_point, 0xE0000, 0xE0FFF)) {
    return IsNoncharacter(code_point);
  }
  return IsHidden(code_point);
}

}  // namespace

bool IsValidUtf8(std::string_view text) {
  return EachCodePoint(text, [](utf8proc_int32_t) { return true; });
}

bool IsNfc(std::string_view text) {
  const std::optional<std::string> composed = Map(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  return composed.has_value() && *composed == text;
}

bool IsLowerCase(std::string_view text) {
  return EachCodePoint(
      text, [](utf8proc_int32_t code_point) { return utf8proc_tolower(code_point) == code_point; });
}

std::string LowerCase(std::string_view text) {
  std::string lower;
  const bool valid = EachCodePoint(text, [&lower](utf8proc_int32_t code_point) {
    std::array<utf8proc_uint8_t, 4> bytes{};
    const utf8proc_ssize_t length = utf8proc_encode_char(utf8proc_tolower(code_point), bytes.data());
    lower.append(bytes.begin(), bytes.begin() + length);
    return true;
  });
  return valid ? lower : std::string(text);
}

std::string FoldCase(std::string_view text) {
  return Map(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD).value_or(std::string(text));
}

bool HasHiddenCharacters(std::string_view text) {
  return !EachCodePoint(text, [](utf8proc_int32_t code_point) { return !IsHidden(code_point); });
}

bool IsNewerFileName(std::string_view name) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::all_of(name.begin(), name.end(), is_ascii)) return false;
  return !EachCodePoint(name, [](utf8proc_int32_t code_point) { return !IsNewer(code_point); });
}

std::string Printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    utf8proc_int32_t code_point = 0;
    const utf8proc_ssize_t length =
        utf8proc_iterate(Bytes(text), static_cast<utf8proc_ssize_t>(text.size()), &code_point);
    const size_t step = length <= 0 ? 1 : static_cast<size_t>(length);
    if (length <= 0 || IsRefused(code_point)) {
      for (const char c : text.substr(0, step)) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
    } else {
      out += text.substr(0, step);
    }
    text.remove_prefix(step);
  }
  return out;
}

Status CheckPathComponent(std::string_view component) {
  const auto refuse = [&](std::string_view rule) {
    return Error(Code::kInvalidArgument,
                 fmt::format("file name \"{}\" {}", Printable(component.substr(0, 2 * kNameMaxBytes)), rule));
  };
  if (component.empty()) return Error(Code::kInvalidArgument, "a file name may not be empty");
  if (component == "." || component == "..") return refuse("is reserved");
  if (component.size() > kNameMaxBytes) return refuse("is longer than 255 bytes");
  if (component.find('/') != std::string_view::npos) return refuse("contains a slash");
  if (component.find('\0') != std::string_view::npos) return refuse("contains a NUL byte");
  if (!IsValidUtf8(component)) return refuse("is not valid UTF-8");
  if (!EachCodePoint(component, [](utf8proc_int32_t code_point) { return !IsRefused(code_point); })) {
    return refuse("contains a control, bidirectional or invisible character");
  }
  return OkStatus();
}

}  // namespace modelfs
