#include "store/search_filter.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "cas/base/text.h"

namespace modelfs::store {

struct SearchFilter::Node {
  enum class Kind { kAnd, kOr, kCompare };
  enum class Field { kName, kCatalog, kSchema, kOwner, kAlias, kTag };
  enum class Operator { kEqual, kNotEqual, kLike, kILike };

  Kind kind = Kind::kCompare;
  std::vector<std::shared_ptr<const Node>> children;  // kAnd, kOr
  Field field = Field::kName;
  std::string tag_key;
  Operator op = Operator::kEqual;
  std::string value;  // folded already for kILike
};

namespace {

using Node = SearchFilter::Node;

size_t CharacterBytes(char first) {
  const auto byte = static_cast<unsigned char>(first);
  if (byte < 0x80) return 1;
  if (byte < 0xE0) return 2;
  return byte < 0xF0 ? 3 : 4;
}

bool IsWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::string Lower(std::string_view ascii) {
  std::string lower(ascii);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// By recursive descent:  or := and {OR and} ; and := term {AND term} ; term := '(' or ')' | field op text
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::shared_ptr<const Node>> ParseAll() {
    SkipBlanks();
    if (AtEnd()) return std::shared_ptr<const Node>();
    ASSIGN_OR_RETURN(std::shared_ptr<const Node> root, ParseOr(0));
    if (!AtEnd()) return Expected("AND, OR or the end");
    return root;
  }

 private:
  bool AtEnd() const { return at_ == text_.size(); }

  void SkipBlanks() {
    while (!AtEnd() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
  }

  Error Expected(std::string_view what) const {
    return Error(Code::kInvalidArgument, fmt::format("filter: at character {} of \"{}\": expected {}",
                                                     at_ + 1, Printable(text_), what));
  }

  bool TakeSymbol(std::string_view symbol) {
    if (text_.substr(at_, symbol.size()) != symbol) return false;
    at_ += symbol.size();
    SkipBlanks();
    return true;
  }

  std::string_view PeekWord() const {
    size_t end = at_;
    while (end < text_.size() && IsWordCharacter(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }

  bool TakeKeyword(std::string_view lower_case) {
    const std::string_view word = PeekWord();
    if (Lower(word) != lower_case) return false;
    at_ += word.size();
    SkipBlanks();
    return true;
  }

  Result<std::shared_ptr<const Node>> ParseOr(size_t depth) {
    return ParseList(Node::Kind::kOr, "or", [&] { return ParseAnd(depth); });
  }
  Result<std::shared_ptr<const Node>> ParseAnd(size_t depth) {
    return ParseList(Node::Kind::kAnd, "and", [&] { return ParseTerm(depth); });
  }

  template <typename ParseOne>
  Result<std::shared_ptr<const Node>> ParseList(Node::Kind kind, std::string_view keyword,
                                                ParseOne parse_one) {
    ASSIGN_OR_RETURN(std::shared_ptr<const Node> first, parse_one());
    if (!TakeKeyword(keyword)) return first;
    auto list = std::make_shared<Node>();
    list->kind = kind;
    list->children.push_back(std::move(first));
    do {
      ASSIGN_OR_RETURN(std::shared_ptr<const Node> next, parse_one());
      list->children.push_back(std::move(next));
    } while (TakeKeyword(keyword));
    return std::shared_ptr<const Node>(std::move(list));
  }

  Result<std::shared_ptr<const Node>> ParseTerm(size_t depth) {
    if (TakeSymbol("(")) {
      if (depth + 1 >= kFilterMaxDepth) return Expected("fewer parentheses inside each other");
      ASSIGN_OR_RETURN(std::shared_ptr<const Node> inner, ParseOr(depth + 1));
      if (!TakeSymbol(")")) return Expected("AND, OR or )");
      return inner;
    }
    auto node = std::make_shared<Node>();
    RETURN_IF_ERROR(ParseField(*node));
    ASSIGN_OR_RETURN(node->op, ParseOperator());
    ASSIGN_OR_RETURN(node->value, ParseText());
    if (node->op == Node::Operator::kILike) node->value = FoldCase(node->value);
    return std::shared_ptr<const Node>(std::move(node));
  }

  Status ParseField(Node& node) {
    const std::string word = Lower(PeekWord());
    const size_t end = at_ + word.size();
    if (word == "tags" || word == "tag") {
      if (end >= text_.size() || text_[end] != '.') return Expected("tags.<key>");
      at_ = end + 1;
      node.field = Node::Field::kTag;
      if (!AtEnd() && (text_[at_] == '`' || text_[at_] == '"')) {
        ASSIGN_OR_RETURN(node.tag_key, ParseQuoted(text_[at_]));
      } else {
        node.tag_key = PeekWord();
        at_ += node.tag_key.size();
        SkipBlanks();
      }
      return node.tag_key.empty() ? Status(Expected("a tag key")) : OkStatus();
    }
    static const std::map<std::string, Node::Field> fields = {{"name", Node::Field::kName},
                                                              {"catalog", Node::Field::kCatalog},
                                                              {"schema", Node::Field::kSchema},
                                                              {"owner", Node::Field::kOwner},
                                                              {"alias", Node::Field::kAlias}};
    const auto field = fields.find(word);
    if (field == fields.end()) return Expected("name, catalog, schema, owner, alias, tags.<key> or (");
    node.field = field->second;
    at_ = end;
    SkipBlanks();
    return OkStatus();
  }

  Result<Node::Operator> ParseOperator() {
    if (TakeSymbol("!=") || TakeSymbol("<>")) return Node::Operator::kNotEqual;
    if (TakeSymbol("==") || TakeSymbol("=")) return Node::Operator::kEqual;
    if (TakeKeyword("like")) return Node::Operator::kLike;
    if (TakeKeyword("ilike")) return Node::Operator::kILike;
    return Expected("=, !=, LIKE or ILIKE");
  }

  Result<std::string> ParseText() {
    if (AtEnd() || (text_[at_] != '\'' && text_[at_] != '"')) return Expected("text in quotes");
    return ParseQuoted(text_[at_]);
  }

  // A quote inside is written twice.
  Result<std::string> ParseQuoted(char quote) {
    std::string value;
    for (++at_; !AtEnd(); ++at_) {
      if (text_[at_] != quote) {
        value += text_[at_];
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == quote) {
        value += quote;
        ++at_;
      } else {
        ++at_;
        SkipBlanks();
        return value;
      }
    }
    return Expected(fmt::format("a closing {}", quote));
  }

  std::string_view text_;
  size_t at_ = 0;
};

bool Compare(const Node& node, std::string_view text) {
  switch (node.op) {
    case Node::Operator::kEqual:
      return text == node.value;
    case Node::Operator::kNotEqual:
      return text != node.value;
    case Node::Operator::kLike:
      return LikeMatches(node.value, text);
    case Node::Operator::kILike:
      return LikeMatches(node.value, FoldCase(text));
  }
  return false;
}

using TagSource = std::function<Result<SearchFilter::Tags>()>;

Result<bool> Evaluate(const Node& node, const ObjectInfo& model, const TagSource& tags) {
  if (node.kind != Node::Kind::kCompare) {
    const bool decides = node.kind == Node::Kind::kOr;
    for (const auto& child : node.children) {
      ASSIGN_OR_RETURN(const bool matches, Evaluate(*child, model, tags));
      if (matches == decides) return decides;
    }
    return !decides;
  }
  switch (node.field) {
    case Node::Field::kName:
      // Compares the leaf; the full name if the text has dots.
      return Compare(node,
                     node.value.find('.') == std::string::npos ? model.name : model.full_name.ToString());
    case Node::Field::kCatalog:
      return Compare(node, model.full_name.parts.at(0));
    case Node::Field::kSchema:
      return Compare(node, model.full_name.parts.at(1));
    case Node::Field::kOwner:
      return Compare(node, model.owner);
    case Node::Field::kAlias: {
      // != says that no alias has that name.
      if (node.op == Node::Operator::kNotEqual) {
        return std::none_of(model.aliases.begin(), model.aliases.end(),
                            [&](const AliasInfo& alias) { return alias.name == node.value; });
      }
      return std::any_of(model.aliases.begin(), model.aliases.end(),
                         [&](const AliasInfo& alias) { return Compare(node, alias.name); });
    }
    case Node::Field::kTag: {
      ASSIGN_OR_RETURN(const SearchFilter::Tags all, tags());
      const auto tag = all.find(node.tag_key);
      // As in SQL, no comparison holds for an absent value, not even !=.
      return tag != all.end() && Compare(node, tag->second);
    }
  }
  return false;
}

}  // namespace

bool LikeMatches(std::string_view pattern, std::string_view text) {
  // Remembers only the last %, because going back further cannot match more. So the time is bounded by the
  // product of the lengths.
  size_t p = 0;
  size_t t = 0;
  std::optional<size_t> last_percent;
  size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '%') {
      last_percent = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == '_') {
      ++p;
      t += std::min(CharacterBytes(text[t]), text.size() - t);
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (last_percent) {
      p = *last_percent + 1;
      resume += std::min(CharacterBytes(text[resume]), text.size() - resume);
      t = resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '%') ++p;
  return p == pattern.size();
}

Result<SearchFilter> SearchFilter::Parse(std::string_view text) {
  if (text.size() > kFilterMaxBytes) {
    return Error(Code::kInvalidArgument, fmt::format("filter: longer than {} bytes", kFilterMaxBytes));
  }
  if (!IsValidUtf8(text)) return Error(Code::kInvalidArgument, "filter: not valid UTF-8");
  SearchFilter filter;
  ASSIGN_OR_RETURN(filter.root_, Parser(text).ParseAll());
  return filter;
}

Result<bool> SearchFilter::Matches(const ObjectInfo& model, const std::function<Result<Tags>()>& tags) const {
  if (root_ == nullptr) return true;
  return Evaluate(*root_, model, tags);
}

}  // namespace modelfs::store
