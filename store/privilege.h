// Privileges, and the kinds of objects that each can be granted on (reference §2.2).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/result.h"

namespace modelfs::store {

enum class ObjectKind : uint8_t { kMetastore = 0, kCatalog = 1, kSchema = 2, kModel = 3 };
std::string_view KindName(ObjectKind kind);  // "catalog"

// The values are on the disk: append, never renumber.
enum class Privilege : uint8_t {
  kAllPrivileges = 0,  // everything that can be granted on the object, except MANAGE; expanded at each check
  kCreateCatalog = 1,
  kUseCatalog = 2,
  kUseSchema = 3,
  kCreateSchema = 4,
  kCreateModel = 5,
  kCreateFunction = 6,  // granted and listed, as in Unity Catalog; models ask for CREATE MODEL
  kCreateModelVersion = 7,
  kExecute = 8,
  kApplyTag = 9,
  kBrowse = 10,
  kManage = 11,
  kReadAudit = 12,  // on the metastore: read the audit log
};
inline constexpr size_t kPrivileges = 13;

// A set of privileges. A value.
class PrivilegeSet {
 public:
  constexpr PrivilegeSet() = default;
  constexpr PrivilegeSet(std::initializer_list<Privilege> privileges) {
    for (const Privilege each : privileges) Add(each);
  }
  static constexpr PrivilegeSet FromBits(uint32_t bits) {
    PrivilegeSet set;
    set.bits_ = bits;
    return set;
  }
  constexpr uint32_t bits() const { return bits_; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool Has(Privilege privilege) const { return (bits_ & Bit(privilege)) != 0; }
  constexpr bool HasAny(PrivilegeSet other) const { return (bits_ & other.bits_) != 0; }
  constexpr void Add(Privilege privilege) { bits_ |= Bit(privilege); }
  constexpr PrivilegeSet operator|(PrivilegeSet other) const { return FromBits(bits_ | other.bits_); }
  constexpr PrivilegeSet operator&(PrivilegeSet other) const { return FromBits(bits_ & other.bits_); }
  constexpr PrivilegeSet operator-(PrivilegeSet other) const { return FromBits(bits_ & ~other.bits_); }
  friend constexpr bool operator==(PrivilegeSet, PrivilegeSet) = default;

  std::vector<Privilege> ToList() const;  // in the order of the enumeration

 private:
  static constexpr uint32_t Bit(Privilege privilege) {
    return uint32_t{1} << static_cast<unsigned>(privilege);
  }
  uint32_t bits_ = 0;
};

// The privileges that can be granted on an object of this kind, ALL PRIVILEGES included.
PrivilegeSet Grantable(ObjectKind kind);
// The privileges that ALL PRIVILEGES on an object of this kind stands for.
PrivilegeSet ImpliedByAll(ObjectKind kind);

std::string_view PrivilegeName(Privilege privilege);  // "CREATE_MODEL": REST, JSON
std::string PrivilegeSqlName(Privilege privilege);    // "CREATE MODEL"
// Either spelling, in any case; kInvalidArgument lists all privileges.
Result<Privilege> ParsePrivilege(std::string_view text);

}  // namespace modelfs::store
