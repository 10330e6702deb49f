// The small language of `modelfs search` (docs/semantics.md, "Search"):
//
//   name LIKE 'iris%' AND (tags.task = 'classification' OR alias = 'Champion') AND owner != 'bob'
//
// Bounded in length and depth, so that a hostile filter costs no more than a long ordinary one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "store/types.h"

namespace modelfs::store {

inline constexpr size_t kFilterMaxBytes = 4096;
inline constexpr size_t kFilterMaxDepth = 32;

// Immutable, hence freely shared.
class SearchFilter {
 public:
  // kInvalidArgument names the place and what was expected there. All blanks: matches everything.
  static Result<SearchFilter> Parse(std::string_view text);

  struct Node;  // search_filter.cc
  using Tags = std::map<std::string, std::string>;
  // `tags` is called only if the filter asks for a tag.
  Result<bool> Matches(const ObjectInfo& model, const std::function<Result<Tags>()>& tags) const;

 private:
  std::shared_ptr<const Node> root_;  // nullptr: everything
};

// SQL's LIKE over characters: % is any number of them, _ one.
bool LikeMatches(std::string_view pattern, std::string_view text);

}  // namespace modelfs::store
