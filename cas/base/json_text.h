// JSON for people: this file alone decides which characters are printed unescaped.
#pragma once

#include <string>
#include <string_view>

namespace modelfs {

// Returns `json`, any JSON text, with dangerous characters escaped as \uXXXX. These could drive a terminal or
// show text in another order: U+007F, the C1 controls, bidirectional controls, line and paragraph separators.
// The result parses to the same value. Every writer of JSON escapes the C0 controls already; letters, emoji
// with their joiners and all other characters stay readable.
std::string VisibleJson(std::string_view json);

}  // namespace modelfs
