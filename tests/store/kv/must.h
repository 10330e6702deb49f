// For programs that give up at the first thing that goes wrong.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include "cas/base/result.h"

namespace modelfs {

// The value; where there is none, the error on stderr and exit(1).
template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) {
    fmt::print(stderr, "{}\n", result.error().message());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace modelfs
