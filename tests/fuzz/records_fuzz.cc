// Bytes that the registry reads back from disk: a record that its decoder accepts encodes to the same bytes,
// and no decoder fails on a damaged one.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cas/base/check.h"
#include "store/audit/files.h"
#include "store/records/records.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace modelfs::store;
  const std::string_view input(reinterpret_cast<const char*>(data), size_bytes);
  if (const auto record = ObjectRecord::Decode(input, "object"); record.ok())
    CHECK(record->Encode() == input);
  if (const auto record = VersionRecord::Decode(input, "version"); record.ok())
    CHECK(record->Encode() == input);
  ModelCopyRecord::Decode(input, "copy").IgnoreError("only that it returns");
  if (const auto record = LeaseRecord::Decode(input, "lease"); record.ok()) CHECK(record->Encode() == input);
  DecodeSettings(input).IgnoreError("only that it returns");
  if (const auto record = DecodeAudit(input, "audit"); record.ok()) {
    CHECK(EncodeAudit(*record) == input);
    CHECK(EncodingInLine(AuditLine(*record)).value() == input);
  }
  EncodingInLine(input).IgnoreError("only that it returns");
  DecodeEvent(input, "event").IgnoreError("only that it returns");
  return 0;
}
