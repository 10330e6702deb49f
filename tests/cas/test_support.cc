#include "tests/cas/test_support.h"

#include <fmt/core.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

#include "cas/base/check.h"

namespace modelfs::cas {

TempDirectory::TempDirectory() {
  path_ = (std::filesystem::temp_directory_path() / "modelfs-test-XXXXXX").string();
  CHECK(::mkdtemp(path_.data()) != nullptr);
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

uint64_t TestSeed() {
  const char* given = std::getenv("TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::cout << "TEST_SEED=" << seed << std::endl;
  return seed;
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

namespace {

// The lines of a section's first block in this language.
std::vector<std::string> DocumentedBlock(std::string_view section, std::string_view language) {
  std::ifstream page(MODELFS_SOURCE_DIR "/docs/formats.md");
  std::string line;
  bool in_section = false;
  bool in_block = false;
  std::vector<std::string> block;
  while (std::getline(page, line)) {
    if (!in_block && line.starts_with("## ")) in_section = line == fmt::format("## {}", section);
    if (!in_section) continue;
    if (in_block && line.starts_with("```")) return block;
    if (in_block) block.push_back(line);
    if (line == fmt::format("```{}", language)) in_block = true;
  }
  return {"(no such example)"};
}

}  // namespace

std::string DocumentedBytes(std::string_view section) {
  std::string hex;
  for (const std::string& line : DocumentedBlock(section, "hex")) {
    for (const char c : line.substr(0, line.find('#'))) {
      if (c != ' ') hex += c;
    }
  }
  return hex;
}

std::string DocumentedText(std::string_view section) {
  std::string text;
  for (const std::string& line : DocumentedBlock(section, "json")) text += line;
  return text;
}

std::string Mutate(const std::string& bytes, std::mt19937_64& random) {
  const auto below = [&](size_t bound) { return static_cast<size_t>(random() % bound); };
  std::string mutated = bytes;
  do {
    for (size_t edits = 1 + below(3); edits > 0; --edits) {
      if (mutated.empty()) mutated = "x";
      const size_t at = below(mutated.size());
      switch (below(6)) {
        case 0:
          mutated[at] = static_cast<char>(mutated[at] ^ (1 << below(8)));
          break;
        case 1:
          mutated[at] = static_cast<char>(random());
          break;
        case 2:
          mutated.insert(at, 1, static_cast<char>(random()));
          break;
        case 3:
          mutated.erase(at, 1);
          break;
        case 4:
          mutated.insert(at, mutated.substr(at, 1 + below(40)));
          break;
        default:
          mutated.resize(at);
      }
    }
  } while (mutated == bytes);
  return mutated;
}

std::string RandomBytes(size_t size_bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size_bytes, '\0');
  size_t i = 0;
  for (; i + 8 <= size_bytes; i += 8) {
    const uint64_t word = random();
    for (size_t k = 0; k < 8; ++k) bytes[i + k] = static_cast<char>(word >> (8 * k));
  }
  for (; i < size_bytes; ++i) bytes[i] = static_cast<char>(random());
  return bytes;
}

size_t ThreadsOfThisProcess() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

void WriteFile(const std::string& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  CHECK(out.good());
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  CHECK(in.good());
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

SourceDirectory Source(const std::string& path) { return std::move(SourceDirectory::Open(path).value()); }

}  // namespace modelfs::cas
