// The progress of the scrub of a local store, and the findings of its last whole pass.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cas/base/digest.h"
#include "cas/base/result.h"

namespace modelfs::cas {

// One pass over every blob.
struct ScrubPass {
  int64_t began_at_ms = 0;  // 0: it never began
  int64_t ended_at_ms = 0;  // 0: it has not ended
  uint64_t blobs = 0;       // checked
  uint64_t bytes = 0;       // read from the disk for that
  uint64_t damaged = 0;     // wrong bytes, or a disk that could not read them
  uint64_t unchecked = 0;   // not checked for another reason, which is in the log

  friend bool operator==(const ScrubPass&, const ScrubPass&) = default;
};

// Format: docs/formats.md, "scrub state".
struct ScrubState {
  enum class Verity : uint8_t { kUnknown = 0, kOn = 1, kNotSupported = 2 };

  ScrubPass pass;  // the current one
  std::optional<Sha256>
      position;    // the last blob that was visited; blobs are visited in the order of digests
  ScrubPass last;  // the last one that was completed
  Verity verity = Verity::kUnknown;

  // The fraction of the current pass that is done, from 0 to 1.
  double Fraction() const;

  std::string Encode() const;
  // kDataLoss for anything that Encode would not write.
  static Result<ScrubState> Decode(std::string_view encoded);
};

std::string_view VerityName(ScrubState::Verity verity);  // "unknown", "on", "not supported"

// The place of this digest among all digests, from 0 to 1: digests are spread evenly.
double FractionOf(const Sha256& digest);

}  // namespace modelfs::cas
