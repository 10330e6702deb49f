#include "store/records/keys.h"

#include "cas/base/checksum.h"
#include "cas/base/codec.h"

namespace modelfs::store::keys {
namespace {

constexpr size_t kNumberBytes = 8;

std::string Key(char table, std::string_view name = {}) { return std::string(1, table).append(name); }
std::string Key(char table, uint64_t number, std::string_view name = {}) {
  return Encoder().U8(static_cast<uint8_t>(table)).U64(number).Raw(name).Take();
}
std::string Key(char table, uint64_t first, uint64_t second, std::string_view name = {}) {
  return Encoder().U8(static_cast<uint8_t>(table)).U64(first).U64(second).Raw(name).Take();
}

}  // namespace

std::string Settings() { return Key('M'); }
std::string Counters() { return Key('N'); }
std::string AuditHead() { return Key('H'); }
std::string Object(ObjectId parent, std::string_view name) { return Key('n', parent, name); }
std::string FirstChild(ObjectId parent) { return After(Object(parent, "")); }
std::string Where(ObjectId id) { return Key('o', id); }
std::string Version(ObjectId model, VersionNumber number) { return Key('v', model, number); }
std::string VersionWhere(VersionId id) { return Key('w', id); }
std::string Pending(ObjectId model, VersionNumber number) { return Key('p', model, number); }
std::string Unfinished(ObjectId model) { return Key('x', model); }
std::string CopyUnderWay(ObjectId model) { return Key('c', model); }
std::string Description(ObjectId object, VersionNumber version) { return Key('d', object, version); }
std::string Tag(ObjectId object, VersionNumber version, std::string_view key) {
  return Key('t', object, version, key);
}
std::string PrincipalName(std::string_view folded) { return Key('B', folded); }
std::string Principal(PrincipalId id) { return Key('b', id); }
std::string Burned(std::string_view folded) { return Key('K', folded); }
std::string Member(PrincipalId group, PrincipalId member) { return Key('m', group, member); }
std::string MemberOf(PrincipalId member, PrincipalId group) { return Key('u', member, group); }
std::string PrincipalCounters() { return Key('C'); }
std::string AccessEpoch() { return Key('E'); }
std::string Grants(ObjectId object) { return Key('g', object); }
std::string Holding(PrincipalId principal, ObjectId container, ObjectId object) {
  return Key('q', principal, container, Encoder().U64(object).bytes());
}
std::string ContainerSettings(ObjectId container) { return Key('s', container); }
std::string Audit(uint64_t sequence) { return Key('A', sequence); }
std::string AuditSettings() { return Key('Y'); }
std::string AuditStart() { return Key('S'); }
std::string AuditIndex(ObjectId object, uint64_t sequence) { return Key('a', object, sequence); }
ObjectId LostName(std::string_view full_name) {
  constexpr uint64_t kNoObjects = uint64_t{1} << 63U;  // ids count from 1 and never come here
  return Xxh3_64(full_name) | kNoObjects;
}
std::string Lease(std::string_view id) { return Key('l', id); }
std::string LeaseUntil(std::string_view id) { return Key('r', id); }

std::string AfterPrefix(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

std::string After(std::string key) {
  key.push_back('\0');
  return key;
}

uint64_t FirstNumber(std::string_view key) { return Decoder(key.substr(1)).U64(); }
uint64_t SecondNumber(std::string_view key) { return Decoder(key.substr(1 + kNumberBytes)).U64(); }
uint64_t ThirdNumber(std::string_view key) { return Decoder(key.substr(1 + 2 * kNumberBytes)).U64(); }
std::string_view NameOf(std::string_view key, size_t numbers) {
  return key.substr(1 + numbers * kNumberBytes);
}

}  // namespace modelfs::store::keys
