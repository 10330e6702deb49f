// The rules about characters that catalog, schema, model, alias and file names share. Unicode facts come from
// utf8proc (Unicode 15), which is small and does normalisation and folding; ICU would add 30 MB for the same
// three calls.
#pragma once

#include <string>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs {

// The longest file name that Linux accepts, in bytes (NAME_MAX, limits.h).
inline constexpr size_t kNameMaxBytes = 255;

bool IsValidUtf8(std::string_view text);

// Valid UTF-8 in Unicode normalisation form C.
bool IsNfc(std::string_view text);

// Whether `text` is valid UTF-8 that folding to lower case does not change.
bool IsLowerCase(std::string_view text);

// Maps character by character, so that ß stays (folding would make it ss). Returns `text` unchanged if it is
// not UTF-8.
std::string LowerCase(std::string_view text);

// For comparing names that differ only in case. Returns `text` unchanged if it is not UTF-8.
std::string FoldCase(std::string_view text);

// Whether `text` has characters that make two names look the same, or one name look like another: control
// characters (C0, DEL, C1), bidirectional controls, zero-width and other invisible format characters, line
// and paragraph separators, private-use and unassigned code points.
bool HasHiddenCharacters(std::string_view text);

// Whether a file's name has a character that names could not have before version 2 of a tree's encoding:
// joiners (of emoji, and of letters), variation selectors, tags of emoji, and code points that Unicode 15.1
// has not assigned. Every host returns the same, whatever newer characters it knows.
bool IsNewerFileName(std::string_view name);

// Checks one component of an artifact's path: not empty, not "." or "..", no '/' or NUL, at most
// kNameMaxBytes, valid UTF-8, no hidden characters but those of IsNewerFileName. kInvalidArgument names the
// broken rule and the name in printable form.
Status CheckPathComponent(std::string_view component);

// Returns `text` with every character that CheckPathComponent refuses escaped as \xNN, for messages and logs.
std::string Printable(std::string_view text);

}  // namespace modelfs
