// Owns a handle of a C library by the library's own free function.
//   using LmdbTxn = CHandle<MDB_txn, mdb_txn_abort>;
#pragma once

#include <memory>

namespace modelfs {

template <auto kFree>
struct CFree {
  template <typename T>
  void operator()(T* handle) const {
    kFree(handle);
  }
};

template <typename T, auto kFree>
using CHandle = std::unique_ptr<T, CFree<kFree>>;

}  // namespace modelfs
