// JSON that people see: the one place that decides which characters stand in it as they are.
#pragma once

#include <string>
#include <string_view>

namespace modelfs {

// `json`, any JSON text, with every character in it that could drive a terminal or show text in another order
// than it has as \uXXXX: U+007F, the C1 controls, bidirectional controls, line and paragraph separators.
// Parses to the same value. The C0 controls are escaped by every writer of JSON, and letters, emoji with
// their joiners and all else stay readable.
std::string VisibleJson(std::string_view json);

}  // namespace modelfs
