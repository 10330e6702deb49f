// For programs that give up at the first error.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include "cas/base/result.h"

namespace modelfs {

// The value; on an error, prints it on stderr and exits with 1.
template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) {
    fmt::print(stderr, "{}\n", result.error().message());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace modelfs
