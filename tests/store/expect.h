// Checks of a Result that print its message.
#pragma once

#include <gtest/gtest.h>

#include "cas/base/result.h"

#define EXPECT_OK(expr)                                                                  \
  do {                                                                                   \
    const auto& expect_result = (expr);                                                  \
    EXPECT_TRUE(expect_result.ok()) << #expr << ": " << expect_result.error().message(); \
  } while (false)
#define ASSERT_OK(expr)                                                                  \
  do {                                                                                   \
    const auto& assert_result = (expr);                                                  \
    ASSERT_TRUE(assert_result.ok()) << #expr << ": " << assert_result.error().message(); \
  } while (false)

namespace modelfs::testing {

// The outcome of a call, for comparing with one word: "ok" or the code's name.
template <typename T>
std::string Outcome(const Result<T>& result) {
  return result.ok() ? "ok" : std::string(CodeName(result.error().code()));
}

}  // namespace modelfs::testing
