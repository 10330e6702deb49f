// Models that match a filter, catalog by catalog, each in the order of names.
#include "cas/base/codec.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"
#include "store/search_filter.h"

namespace modelfs::store {
namespace {

constexpr size_t kStep = 500;

// The place in the tree of names where a search goes on: after the last model that it returned.
struct Position {
  std::string catalog;
  std::string schema;
  std::string model;

  std::string Encode() const { return Encoder().String(catalog).String(schema).String(model).Take(); }
  static Result<Position> Decode(std::string_view bytes) {
    Decoder decoder(bytes);
    Position position;
    position.catalog = decoder.String();
    position.schema = decoder.String();
    position.model = decoder.String();
    if (!decoder.Finish("page token").ok()) return Error(Code::kInvalidArgument, "page token: malformed");
    return position;
  }
};

}  // namespace

template <typename Visit>
Result<bool> EmbeddedRegistryImpl::EachVisibleChild(View& view, const Caller& caller, ObjectId parent,
                                                    std::string_view from, Visit visit) {
  ASSIGN_OR_RETURN(const Visibility visible, authorizer_.VisibleIn(view, caller, parent));
  const auto offer = [&](const StoredObject& child) -> Result<bool> {
    ASSIGN_OR_RETURN(const std::optional<Detail> detail, DetailOf(view, caller, visible, child.record.id));
    if (!detail) return true;
    return visit(child, *detail);
  };
  if (!visible.all) {
    ASSIGN_OR_RETURN(const std::vector<StoredObject> children, ChildrenOf(view, parent, visible.some));
    for (const StoredObject& child : children) {
      if (child.name.compare(from) < 0) continue;
      ASSIGN_OR_RETURN(const bool go_on, offer(child));
      if (!go_on) return false;
    }
    return true;
  }
  std::string begin = from.empty() ? keys::FirstChild(parent) : keys::Object(parent, from);
  const std::string end = keys::AfterPrefix(keys::Object(parent, ""));
  for (;;) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, kStep));
    for (const KvEntry& entry : entries) {
      StoredObject child;
      child.parent = parent;
      child.name = keys::NameOf(entry.key, 1);
      ASSIGN_OR_RETURN(child.record, ObjectRecord::Decode(entry.value, child.name));
      ASSIGN_OR_RETURN(const bool go_on, offer(child));
      if (!go_on) return false;
    }
    if (entries.size() < kStep) return true;
    begin = keys::After(entries.back().key);
  }
}

Result<Page<ObjectInfo>> EmbeddedRegistryImpl::SearchModels(const Caller& caller, std::string_view filter,
                                                            const PageRequest& page) {
  ASSIGN_OR_RETURN(const SearchFilter wanted, SearchFilter::Parse(filter));
  const size_t limit = PageLimit(page);
  const std::string query = "search " + std::string(filter);
  Position start;
  if (!page.token.empty()) {
    ASSIGN_OR_RETURN(const std::string position, DecodePageToken(query, page.token));
    ASSIGN_OR_RETURN(start, Position::Decode(position));
  }
  return Inspect(caller, Operation::kUse, kMetastoreId, [&](View& view) -> Result<Page<ObjectInfo>> {
    Page<ObjectInfo> answer;
    Position at;
    Position last;  // of the last model in `answer`
    const auto visit_model = [&](const StoredObject& model, Detail detail) -> Result<bool> {
      ASSIGN_OR_RETURN(ObjectInfo info,
                       InfoOf(view, model, FullName{{at.catalog, at.schema, model.name}}, detail));
      ASSIGN_OR_RETURN(const bool matches,
                       wanted.Matches(info, [&] { return view.Tags(model.record.id, 0); }));
      if (!matches) return true;
      if (answer.items.size() == limit) {
        answer.next_token = EncodePageToken(query, last.Encode());
        return false;
      }
      last = {at.catalog, at.schema, model.name};
      answer.items.push_back(std::move(info));
      return true;
    };
    const auto visit_schema = [&](const StoredObject& schema, Detail) -> Result<bool> {
      at.schema = schema.name;
      const bool resumed = at.catalog == start.catalog && schema.name == start.schema && !start.model.empty();
      return EachVisibleChild(view, caller, schema.record.id, resumed ? keys::After(start.model) : "",
                              visit_model);
    };
    const auto visit_catalog = [&](const StoredObject& catalog, Detail) -> Result<bool> {
      at.catalog = catalog.name;
      const std::string_view from = catalog.name == start.catalog ? std::string_view(start.schema) : "";
      return EachVisibleChild(view, caller, catalog.record.id, from, visit_schema);
    };
    const Result<bool> walked = EachVisibleChild(view, caller, kMetastoreId, start.catalog, visit_catalog);
    if (!walked.ok()) return walked.error();
    return answer;
  });
}

}  // namespace modelfs::store
