// What may stand in a name: the rules that catalog, schema, model, alias and file names share.
// Unicode facts come from utf8proc (Unicode 15), which is small and does normalisation and folding;
// ICU would bring 30 MB for the same three calls.
#pragma once

#include <string>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs {

// Longest file name Linux takes, in bytes (NAME_MAX, limits.h).
inline constexpr size_t kNameMaxBytes = 255;

bool IsValidUtf8(std::string_view text);

// Valid UTF-8 in Unicode normalisation form C.
bool IsNfc(std::string_view text);

// Valid UTF-8 that folding to lower case leaves as it is.
bool IsLowerCase(std::string_view text);

// Character by character, so that ß stays (folding would make it ss); `text` as it is where it is not UTF-8.
std::string LowerCase(std::string_view text);

// For comparing names that differ only in case; `text` as it is where it is not UTF-8.
std::string FoldCase(std::string_view text);

// Control characters (C0, DEL, C1), bidirectional controls, zero-width and other invisible format
// characters, line and paragraph separators, private-use and unassigned code points: what makes two
// names look the same, or one name look like something else.
bool HasHiddenCharacters(std::string_view text);

// Whether a file's name has something that names could not have before version 2 of a tree's encoding:
// joiners (of emoji, and of letters), variation selectors, tags of emoji, and what Unicode 15.1 has not
// assigned. The answer is the same on every host, whatever it knows of newer characters.
bool IsNewerFileName(std::string_view name);

// One component of an artifact's path: not empty, not "." or "..", no '/' or NUL, at most kNameMaxBytes,
// valid UTF-8, no hidden characters but those of IsNewerFileName. kInvalidArgument says which rule, with the
// name made printable.
Status CheckPathComponent(std::string_view component);

// `text` with everything that CheckPathComponent refuses of a name as \xNN, for messages and logs.
std::string Printable(std::string_view text);

}  // namespace modelfs
