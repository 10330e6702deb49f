// How far the scrub of a local store is, and what the last whole pass found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cas/base/digest.h"
#include "cas/base/result.h"

namespace modelfs::cas {

// One round over every blob.
struct ScrubPass {
  int64_t began_at_ms = 0;  // 0: there was none
  int64_t ended_at_ms = 0;  // 0: it is under way
  uint64_t blobs = 0;       // checked
  uint64_t bytes = 0;       // read from the disk for that
  uint64_t damaged = 0;     // wrong bytes, or a disk that could not read them
  uint64_t unchecked = 0;   // that could not be checked for another reason, which the log says

  friend bool operator==(const ScrubPass&, const ScrubPass&) = default;
};

// Format: docs/formats.md, "scrub state".
struct ScrubState {
  enum class Verity : uint8_t { kUnknown = 0, kOn = 1, kNotSupported = 2 };

  ScrubPass pass;                  // the present one
  std::optional<Sha256> position;  // the blob that it came to last; blobs are visited in the order of digests
  ScrubPass last;                  // the last that came to its end
  Verity verity = Verity::kUnknown;

  // How much of the present pass is done, from 0 to 1.
  double Fraction() const;

  std::string Encode() const;
  // kDataLoss
  static Result<ScrubState> Decode(std::string_view encoded);
};

std::string_view VerityName(ScrubState::Verity verity);  // "unknown", "on", "not supported"

// Where among all digests this one is, from 0 to 1: they are spread evenly.
double FractionOf(const Sha256& digest);

}  // namespace modelfs::cas
