#include "cas/scrub_state.h"

#include <algorithm>

#include "cas/base/checksum.h"
#include "cas/base/codec.h"

namespace modelfs::cas {
namespace {

constexpr std::string_view kMagic = "MFP\x01";  // the last byte is the version
constexpr size_t kTrailerBytes = 8;

void Put(Encoder& out, const ScrubPass& pass) {
  out.U64(static_cast<uint64_t>(pass.began_at_ms)).U64(static_cast<uint64_t>(pass.ended_at_ms));
  out.Varint(pass.blobs).Varint(pass.bytes).Varint(pass.damaged).Varint(pass.unchecked);
}

ScrubPass GetPass(Decoder& in) {
  ScrubPass pass;
  pass.began_at_ms = static_cast<int64_t>(in.U64());
  pass.ended_at_ms = static_cast<int64_t>(in.U64());
  pass.blobs = in.Varint();
  pass.bytes = in.Varint();
  pass.damaged = in.Varint();
  pass.unchecked = in.Varint();
  return pass;
}

}  // namespace

double FractionOf(const Sha256& digest) {
  constexpr size_t kLeadingBytes = 6;  // as many as a double holds exactly
  double fraction = 0;
  for (size_t i = kLeadingBytes; i-- > 0;) fraction = (fraction + digest[i]) / 256;
  return fraction;
}

double ScrubState::Fraction() const { return position.has_value() ? FractionOf(*position) : 0; }

std::string_view VerityName(ScrubState::Verity verity) {
  switch (verity) {
    case ScrubState::Verity::kUnknown:
      return "unknown";
    case ScrubState::Verity::kOn:
      return "on";
    case ScrubState::Verity::kNotSupported:
      return "not supported";
  }
  return "unknown";
}

std::string ScrubState::Encode() const {
  Encoder out;
  out.Raw(kMagic);
  Put(out, pass);
  Put(out, last);
  out.U8(static_cast<uint8_t>(verity)).U8(position.has_value() ? 1 : 0);
  if (position.has_value()) {
    out.Raw(std::string_view(reinterpret_cast<const char*>(position->data()), position->size()));
  }
  out.U64(Xxh3_64(out.bytes()));
  return out.Take();
}

Result<ScrubState> ScrubState::Decode(std::string_view encoded) {
  const auto refuse = [](std::string_view why) {
    return Error(Code::kDataLoss, "scrub state: " + std::string(why));
  };
  if (encoded.size() < kTrailerBytes) return refuse("too short");
  Decoder trailer(encoded.substr(encoded.size() - kTrailerBytes));
  encoded.remove_suffix(kTrailerBytes);
  if (trailer.U64() != Xxh3_64(encoded)) return refuse("the checksum at its end does not match");
  Decoder in(encoded);
  if (in.Raw(kMagic.size()) != kMagic) return refuse("does not begin with its magic number and version 1");
  ScrubState state;
  state.pass = GetPass(in);
  state.last = GetPass(in);
  state.verity = static_cast<Verity>(in.U8());
  if (state.verity > Verity::kNotSupported) return refuse("a field has an impossible value");
  if (in.U8() != 0) {
    const std::string_view raw = in.Raw(sizeof(Sha256));
    state.position.emplace();
    std::copy(raw.begin(), raw.end(), reinterpret_cast<char*>(state.position->data()));
  }
  RETURN_IF_ERROR(in.Finish("scrub state"));
  return state;
}

}  // namespace modelfs::cas
