// Models that match a filter, catalog by catalog, each in the order of names.
#include "cas/base/codec.h"
#include "store/embedded_registry_impl.h"
#include "store/keys.h"
#include "store/search_filter.h"

namespace modelfs::store {
namespace {

constexpr size_t kStep = 500;

// Where in the tree of names a search goes on: behind the last model that it answered.
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

// Calls `visit(child)` for the children of `parent` whose name is >= `from`, in order, until it answers
// false.
template <typename Visit>
Result<bool> EachChild(View& view, ObjectId parent, std::string_view from, Visit visit) {
  std::string begin = from.empty() ? keys::FirstChild(parent) : keys::Object(parent, from);
  const std::string end = keys::AfterPrefix(keys::Object(parent, ""));
  for (;;) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, kStep));
    for (const KvEntry& entry : entries) {
      StoredObject child;
      child.parent = parent;
      child.name = keys::NameOf(entry.key, 1);
      ASSIGN_OR_RETURN(child.record, ObjectRecord::Decode(entry.value, child.name));
      ASSIGN_OR_RETURN(const bool go_on, visit(child));
      if (!go_on) return false;
    }
    if (entries.size() < kStep) return true;
    begin = keys::After(entries.back().key);
  }
}

}  // namespace

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
  return Inspect(caller, Operation::kRead, kMetastoreId, [&](View& view) -> Result<Page<ObjectInfo>> {
    Page<ObjectInfo> answer;
    Position at;
    Position last;  // of the last model in `answer`
    const auto visit_model = [&](const StoredObject& model) -> Result<bool> {
      ASSIGN_OR_RETURN(ObjectInfo info, InfoOf(view, model, FullName{{at.catalog, at.schema, model.name}}));
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
    const Result<bool> walked =
        EachChild(view, kMetastoreId, start.catalog, [&](const StoredObject& catalog) -> Result<bool> {
          at.catalog = catalog.name;
          const bool same_catalog = catalog.name == start.catalog;
          return EachChild(view, catalog.record.id, same_catalog ? std::string_view(start.schema) : "",
                           [&](const StoredObject& schema) -> Result<bool> {
                             at.schema = schema.name;
                             const bool same = same_catalog && schema.name == start.schema;
                             const std::string after =
                                 same && !start.model.empty() ? keys::After(start.model) : "";
                             return EachChild(view, schema.record.id, after, visit_model);
                           });
        });
    if (!walked.ok()) return walked.error();
    return answer;
  });
}

}  // namespace modelfs::store
