// Converts bytes to text and back: RFC 4648, section 4, with padding and without line breaks.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace modelfs {

std::string EncodeBase64(std::string_view bytes);
// Returns nothing if `text` is not the output of EncodeBase64.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace modelfs
