#include "cas/base/json_text.h"

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>

namespace modelfs {
namespace {

// The first character of valid UTF-8 and its length, if it has at most three bytes; {0, 1} otherwise. No
// escaped character has more than three bytes.
struct Character {
  uint32_t code_point = 0;
  size_t bytes = 1;
};
Character First(std::string_view text) {
  const auto byte = [&text](size_t at) { return uint32_t{static_cast<unsigned char>(text[at])}; };
  const uint32_t first = byte(0);
  if (first < 0x80U) return {first, 1};
  if ((first & 0xE0U) == 0xC0U && text.size() >= 2) return {(first & 0x1FU) << 6U | (byte(1) & 0x3FU), 2};
  if ((first & 0xF0U) == 0xE0U && text.size() >= 3) {
    return {(first & 0x0FU) << 12U | (byte(1) & 0x3FU) << 6U | (byte(2) & 0x3FU), 3};
  }
  return {0, 1};
}

bool MustBeEscaped(uint32_t code_point) {
  return (code_point >= 0x7F && code_point <= 0x9F) || code_point == 0x061C ||  // Arabic letter mark
         code_point == 0x200E || code_point == 0x200F ||                        // marks of direction
         (code_point >= 0x2028 && code_point <= 0x202E) ||                      // separators, embeddings
         (code_point >= 0x2066 && code_point <= 0x2069);                        // isolates
}

}  // namespace

std::string VisibleJson(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  while (!json.empty()) {
    const Character character = First(json);
    if (MustBeEscaped(character.code_point)) {
      out += fmt::format("\\u{:04x}", character.code_point);
    } else {
      out += json.substr(0, character.bytes);
    }
    json.remove_prefix(character.bytes);
  }
  return out;
}

}  // namespace modelfs
