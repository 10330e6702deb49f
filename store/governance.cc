#include "store/governance.h"

namespace modelfs::store {

ObjectRights ObjectRights::operator|(const ObjectRights& other) const {
  return {see || other.see,
          get || other.get,
          read_files || other.read_files,
          tag || other.tag,
          change_versions || other.change_versions,
          set_alias || other.set_alias};
}

}  // namespace modelfs::store
