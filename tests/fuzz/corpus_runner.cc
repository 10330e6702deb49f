// Feeds a fuzz target every file of a corpus, with every truncation and single-bit flip of it. This is as
// much as a plain test can do without libFuzzer. Fails if the corpus is missing or empty.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes);

namespace {

void Feed(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

// Past this size only every few bytes are flipped, so that a large seed stays quick.
constexpr size_t kFlipEveryByteUpTo = 4096;

}  // namespace

int main(int argc, char** argv) {
  size_t files = 0;
  if (argc == 2) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
      std::ifstream in(entry.path(), std::ios::binary);
      std::string input((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
      ++files;
      Feed(input);
      const size_t step = 1 + (input.size() / kFlipEveryByteUpTo);
      for (size_t i = 0; i < input.size(); i += step) {
        Feed(input.substr(0, i));
        for (unsigned bit = 0; bit < 8; ++bit) {
          input[i] = static_cast<char>(input[i] ^ (1U << bit));
          Feed(input);
          input[i] = static_cast<char>(input[i] ^ (1U << bit));
        }
      }
    }
  }
  if (files == 0) {
    std::fprintf(stderr, "usage: %s CORPUS-DIRECTORY (with at least one file)\n", argv[0]);
    return 2;
  }
  std::printf("%zu seeds, each with all truncations and bit flips\n", files);
  return 0;
}
