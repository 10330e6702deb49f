// Helpers that the tests of cas/ share.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "cas/local/source_directory.h"

namespace modelfs::cas {

// A new directory below the system's temporary one. The destructor removes it with all that is in it.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

// The seed from TEST_SEED in the environment, otherwise a new one. It is printed, so that a failure can be
// replayed.
uint64_t TestSeed();

std::string Hex(std::string_view bytes);

// The bytes of the worked example under "## <section>" in docs/formats.md: the hexadecimal digits in its
// first ```hex block, without blanks and comments.
std::string DocumentedBytes(std::string_view section);
// The same for text: the lines of the first ```json block, joined.
std::string DocumentedText(std::string_view section);

// Returns `bytes` with one to three random edits: a bit flipped, a byte replaced, inserted or removed, a
// piece doubled, the end cut off. Never returns the same bytes.
std::string Mutate(const std::string& bytes, std::mt19937_64& random);

// Random bytes; the same seed gives the same bytes.
std::string RandomBytes(size_t size_bytes, uint64_t seed);

size_t ThreadsOfThisProcess();

// Plain files, to compare with. These functions abort the test program if they fail.
void WriteFile(const std::string& path, std::string_view bytes);
std::string ReadFile(const std::string& path);

// Opens a directory of the host to import from. Aborts the test program if it does not exist.
SourceDirectory Source(const std::string& path);

}  // namespace modelfs::cas
