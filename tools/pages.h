// Walks all pages of a listing.
#pragma once

#include <type_traits>
#include <utility>

#include "cas/base/result.h"
#include "store/types.h"

namespace modelfs::tools {

// `fetch(page_request)` returns a Result<Page<T>>; `visit(item)` is called for every item of every page. It
// returns nothing, or a Status; an error ends the walk.
template <typename Fetch, typename Visit>
Status EachItem(Fetch fetch, Visit visit) {
  store::PageRequest request;
  do {
    auto page = fetch(request);
    if (!page.ok()) return std::move(page).error();
    for (const auto& item : page->items) {
      if constexpr (std::is_void_v<decltype(visit(item))>) {
        visit(item);
      } else {
        RETURN_IF_ERROR(visit(item));
      }
    }
    request.token = std::move(page->next_token);
  } while (!request.token.empty());
  return OkStatus();
}

}  // namespace modelfs::tools
