#include "tools/sql/parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "cas/base/text.h"
#include "store/principal.h"

namespace modelfs::tools {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }

// The characters of a name without back-ticks.
bool IsWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }  // UTF-8

std::string AsciiLower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

struct Token {
  enum class Kind {
    kWord,        // a keyword or a name
    kQuotedName,  // `…`
    kText,        // '…'
    kSymbol,      // one character
    kEnd,
    kUnclosed,  // a quote or comment without its end
  };
  Kind kind = Kind::kEnd;
  size_t begin = 0;
  size_t end = 0;
  std::string value;  // a word in lower case, the text inside quotes, or the missing end of kUnclosed
};

// Splits a script into tokens. A value: a copy keeps its position.
class Lexer {
 public:
  explicit Lexer(std::string_view script) : script_(script) {}

  Token Next() {
    Token token;
    if (!SkipBlanksAndComments(token)) return token;
    token.begin = at_;
    if (at_ == script_.size()) {
      token.end = at_;
      return token;
    }
    const char first = script_[at_];
    if (first == '`' || first == '\'') {
      TakeQuoted(first, token);
    } else if (IsWordCharacter(first)) {
      token.kind = Token::Kind::kWord;
      while (at_ < script_.size() && IsWordCharacter(script_[at_])) ++at_;
      token.value = AsciiLower(script_.substr(token.begin, at_ - token.begin));
    } else {
      token.kind = Token::Kind::kSymbol;
      do ++at_;
      while (at_ < script_.size() && IsContinuation(script_[at_]));
      token.value = script_.substr(token.begin, at_ - token.begin);
    }
    token.end = at_;
    return token;
  }

 private:
  bool At(std::string_view text) const { return script_.substr(at_, text.size()) == text; }

  // False if a comment has no end; `token` is then kUnclosed.
  bool SkipBlanksAndComments(Token& token) {
    for (;;) {
      if (at_ < script_.size() && IsBlank(script_[at_])) {
        ++at_;
      } else if (At("--")) {
        at_ = std::min(script_.find('\n', at_), script_.size());
      } else if (At("/*")) {
        token.begin = at_;
        if (SkipComment()) continue;
        token.kind = Token::Kind::kUnclosed;
        token.value = "*/";
        token.end = at_;
        return false;
      } else {
        return true;
      }
    }
  }

  // Comments nest.
  bool SkipComment() {
    size_t open = 0;
    while (at_ < script_.size()) {
      if (At("/*")) {
        ++open;
        at_ += 2;
      } else if (At("*/")) {
        at_ += 2;
        if (--open == 0) return true;
      } else {
        ++at_;
      }
    }
    return false;
  }

  // Two quotes inside stand for one.
  void TakeQuoted(char quote, Token& token) {
    token.kind = quote == '`' ? Token::Kind::kQuotedName : Token::Kind::kText;
    for (++at_; at_ < script_.size(); ++at_) {
      if (script_[at_] != quote) {
        token.value += script_[at_];
      } else if (at_ + 1 < script_.size() && script_[at_ + 1] == quote) {
        token.value += quote;
        ++at_;
      } else {
        ++at_;
        return;
      }
    }
    token.kind = Token::Kind::kUnclosed;
    token.value = quote;
  }

  std::string_view script_;
  size_t at_ = 0;
};

std::string Quoted(std::string_view text) {
  constexpr size_t kShownBytes = 40;
  if (text.size() <= kShownBytes) return fmt::format("\"{}\"", Printable(text));
  size_t end = kShownBytes;
  while (IsContinuation(text[end])) --end;
  return fmt::format("\"{}…\"", Printable(text.substr(0, end)));
}

constexpr std::string_view kAllKinds = "METASTORE, CATALOG, SCHEMA, MODEL or FUNCTION";

class Parser {
 public:
  explicit Parser(std::string_view script) : script_(script), lexer_(script) { Advance(); }

  Result<std::vector<ParsedStatement>> ParseAll() {
    std::vector<ParsedStatement> statements;
    size_t line = 1;
    size_t counted_to = 0;
    for (;;) {
      while (TakeSymbol(";")) {
      }
      if (token_.kind == Token::Kind::kEnd) return statements;
      const Token first = token_;
      line += static_cast<size_t>(std::count(script_.begin() + static_cast<ptrdiff_t>(counted_to),
                                             script_.begin() + static_cast<ptrdiff_t>(first.begin), '\n'));
      counted_to = first.begin;
      ASSIGN_OR_RETURN(SqlStatement statement, ParseStatement());
      if (token_.kind != Token::Kind::kEnd && !IsSymbol(";")) return Expected("; or the end");
      if (last_end_ - first.begin > kSqlStatementMaxBytes) {
        return ErrorAt(first, Error(Code::kInvalidArgument,
                                    fmt::format("the statement has {} bytes; the limit is {}",
                                                last_end_ - first.begin, kSqlStatementMaxBytes)));
      }
      statements.push_back({std::move(statement), statements.size() + 1, line,
                            std::string(script_.substr(first.begin, last_end_ - first.begin))});
    }
  }

 private:
  // --- tokens ---

  void Advance() {
    last_end_ = token_.end;
    token_ = lexer_.Next();
  }

  bool IsWord(std::string_view word) const {
    return token_.kind == Token::Kind::kWord && token_.value == word;
  }
  bool IsSymbol(std::string_view symbol) const {
    return token_.kind == Token::Kind::kSymbol && token_.value == symbol;
  }
  bool TakeWord(std::string_view word) {
    if (!IsWord(word)) return false;
    Advance();
    return true;
  }
  bool TakeSymbol(std::string_view symbol) {
    if (!IsSymbol(symbol)) return false;
    Advance();
    return true;
  }
  Status NeedWord(std::string_view word) {
    if (TakeWord(word)) return OkStatus();
    std::string upper(word);
    for (char& c : upper) c = static_cast<char>(c - 'a' + 'A');
    return Expected(upper);
  }
  Status NeedWords(std::initializer_list<std::string_view> words) {
    for (const std::string_view word : words) RETURN_IF_ERROR(NeedWord(word));
    return OkStatus();
  }
  Status NeedSymbol(std::string_view symbol) {
    return TakeSymbol(symbol) ? OkStatus() : Status(Expected(symbol));
  }

  // --- errors ---

  Error ErrorAt(const Token& token, const Error& error) const {
    const std::string_view before = script_.substr(0, token.begin);
    const size_t line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
    const std::string_view on_line = before.substr(before.rfind('\n') + 1);  // npos + 1 is 0
    const size_t column = 1 + static_cast<size_t>(std::count_if(on_line.begin(), on_line.end(),
                                                                [](char c) { return !IsContinuation(c); }));
    return error.Wrap(fmt::format("line {}, column {}", line, column));
  }

  Error Expected(std::string_view what) const {
    if (token_.kind == Token::Kind::kUnclosed) {
      return ErrorAt(token_,
                     Error(Code::kInvalidArgument,
                           fmt::format("expected {} somewhere after this {}, found the end of the text",
                                       token_.value, Quoted(script_.substr(token_.begin, 1)))));
    }
    if (token_.kind == Token::Kind::kEnd) {
      return ErrorAt(token_, Error(Code::kInvalidArgument, fmt::format("expected {}, found the end", what)));
    }
    return ErrorAt(
        token_, Error(Code::kInvalidArgument,
                      fmt::format("expected {}, found {}{}", what,
                                  Quoted(script_.substr(token_.begin, token_.end - token_.begin)), Hint())));
  }

  // A hint at the probable mistake, or an empty string.
  std::string Hint() const {
    if (token_.kind == Token::Kind::kText) {
      return "; text stands in single quotes, and names in back-ticks or without quotes";
    }
    if (token_.kind != Token::Kind::kSymbol) return "";
    if (token_.value == "\"") return "; text stands in single quotes, names in back-ticks";
    if (std::string_view("();,=.").find(token_.value) != std::string_view::npos) return "";
    const auto in_name = [this](size_t at) {
      return !IsBlank(script_[at]) &&
             std::string_view("();,=.'\"`").find(script_[at]) == std::string_view::npos;
    };
    size_t begin = token_.begin;
    size_t end = token_.end;
    constexpr size_t kShownBytes = 64;
    while (begin > 0 && end - begin < kShownBytes && in_name(begin - 1)) --begin;
    while (end < script_.size() && end - begin < kShownBytes && in_name(end)) ++end;
    const std::string_view meant = script_.substr(begin, end - begin);
    const std::string_view what =
        "; a name with characters other than letters, digits and _ needs back-ticks";
    if (meant.size() >= kShownBytes || HasHiddenCharacters(meant)) return std::string(what);
    return fmt::format("{}: `{}`", what, meant);
  }

  // --- parts of statements ---

  bool IsName() const { return token_.kind == Token::Kind::kWord || token_.kind == Token::Kind::kQuotedName; }

  Result<std::string> NeedNamePart(std::string_view what) {
    if (!IsName()) return Expected(what);
    std::string name = LowerCase(token_.value);
    if (const Status status = store::CheckObjectName(name); !status.ok()) {
      return ErrorAt(token_, status.error());
    }
    Advance();
    return name;
  }

  static std::string_view NameForm(store::ObjectKind kind) {
    switch (kind) {
      case store::ObjectKind::kMetastore:
      case store::ObjectKind::kCatalog:
        return "a catalog's name";
      case store::ObjectKind::kSchema:
        return "a schema's name: catalog.schema";
      case store::ObjectKind::kModel:
        return "a model's name: catalog.schema.model";
    }
    return "a name";
  }

  Result<store::FullName> NeedFullName(store::ObjectKind kind) {
    store::FullName name;
    const auto parts = static_cast<size_t>(kind);
    while (name.parts.size() < parts) {
      if (!name.parts.empty() && !TakeSymbol(".")) {
        return Expected(fmt::format("the next part of {}", NameForm(kind)));
      }
      ASSIGN_OR_RETURN(std::string part, NeedNamePart(NameForm(kind)));
      name.parts.push_back(std::move(part));
    }
    return name;
  }

  static std::optional<store::ObjectKind> KindOfWord(const Token& token) {
    if (token.kind != Token::Kind::kWord) return std::nullopt;
    if (token.value == "metastore") return store::ObjectKind::kMetastore;
    if (token.value == "catalog") return store::ObjectKind::kCatalog;
    if (token.value == "schema") return store::ObjectKind::kSchema;
    if (token.value == "model" || token.value == "function") return store::ObjectKind::kModel;
    return std::nullopt;
  }

  Result<Securable> NeedSecurable(std::string_view kinds = kAllKinds) {
    const std::optional<store::ObjectKind> kind = KindOfWord(token_);
    if (!kind) return Expected(kinds);
    Advance();
    Securable object{*kind, {}};
    ASSIGN_OR_RETURN(object.name, NeedFullName(*kind));
    return object;
  }

  Result<std::string> NeedPrincipal(std::string_view what = "a principal's name") {
    if (!IsName()) return Expected(what);
    // The case is kept, even of a word.
    std::string name = token_.kind == Token::Kind::kWord
                           ? std::string(script_.substr(token_.begin, token_.end - token_.begin))
                           : token_.value;
    if (const Status status = store::CheckPrincipalName(name); !status.ok()) {
      return ErrorAt(token_, status.error());
    }
    Advance();
    return name;
  }

  Result<std::string> NeedText(std::string_view what, Status (*check)(std::string_view)) {
    if (token_.kind != Token::Kind::kText) return Expected(what);
    std::string text = token_.value;
    if (const Status status = check(text); !status.ok()) return ErrorAt(token_, status.error());
    Advance();
    return text;
  }

  Result<std::optional<std::string>> MaybePattern() {
    if (!IsWord("like") && token_.kind != Token::Kind::kText) return std::optional<std::string>();
    TakeWord("like");
    ASSIGN_OR_RETURN(std::string pattern,
                     NeedText("a pattern in single quotes", [](std::string_view) { return OkStatus(); }));
    return std::optional(std::move(pattern));
  }

  // Calls `one()` for each element of a list with commas.
  template <typename One>
  Status NeedList(One one) {
    do RETURN_IF_ERROR(one());
    while (TakeSymbol(","));
    return OkStatus();
  }

  // --- statements ---

  Result<SqlStatement> ParseStatement() {
    if (TakeWord("create")) return ParseCreate();
    if (TakeWord("drop")) return ParseDrop();
    if (TakeWord("grant")) return ParseGrant(GrantOrRevoke::Action::kGrant);
    if (TakeWord("revoke")) return ParseGrant(GrantOrRevoke::Action::kRevoke);
    if (TakeWord("show")) return ParseShow();
    if (TakeWord("alter")) return ParseAlter();
    if (TakeWord("comment")) return ParseComment();
    if (TakeWord("describe") || TakeWord("desc")) return ParseDescribe();
    return Expected("ALTER, COMMENT, CREATE, DESCRIBE, DROP, GRANT, REVOKE or SHOW");
  }

  Result<SqlStatement> ParseCreate() {
    if (TakeWord("group")) {
      CreateGroup create;
      ASSIGN_OR_RETURN(create.if_not_exists, MaybeIf({"not", "exists"}));
      ASSIGN_OR_RETURN(create.group, NeedPrincipal("a group's name"));
      return create;
    }
    CreateObject create;
    ASSIGN_OR_RETURN(create.object.kind, NeedObjectKind());
    ASSIGN_OR_RETURN(create.if_not_exists, MaybeIf({"not", "exists"}));
    ASSIGN_OR_RETURN(create.object.name, NeedFullName(create.object.kind));
    if (TakeWord("comment")) {
      ASSIGN_OR_RETURN(create.comment, NeedText("a description in single quotes", store::CheckDescription));
    }
    return create;
  }

  Result<SqlStatement> ParseDrop() {
    if (TakeWord("group")) {
      DropGroup drop;
      ASSIGN_OR_RETURN(drop.if_exists, MaybeIf({"exists"}));
      ASSIGN_OR_RETURN(drop.group, NeedPrincipal("a group's name"));
      return drop;
    }
    DropObject drop;
    ASSIGN_OR_RETURN(drop.object.kind, NeedObjectKind());
    ASSIGN_OR_RETURN(drop.if_exists, MaybeIf({"exists"}));
    ASSIGN_OR_RETURN(drop.object.name, NeedFullName(drop.object.kind));
    if (TakeWord("restrict")) return drop;
    if (IsWord("cascade") && drop.object.kind != store::ObjectKind::kModel) {
      return Expected("; or the end (only models are dropped with their contents)");
    }
    drop.cascade = TakeWord("cascade");
    return drop;
  }

  // The kinds that can be created and dropped.
  Result<store::ObjectKind> NeedObjectKind() {
    const std::optional<store::ObjectKind> kind = KindOfWord(token_);
    if (!kind || *kind == store::ObjectKind::kMetastore) return Expected("CATALOG, SCHEMA, MODEL or GROUP");
    Advance();
    return *kind;
  }

  Result<bool> MaybeIf(std::initializer_list<std::string_view> words) {
    if (!TakeWord("if")) return false;
    RETURN_IF_ERROR(NeedWords(words));
    return true;
  }

  Result<SqlStatement> ParseGrant(GrantOrRevoke::Action action) {
    GrantOrRevoke change;
    change.action = action;
    RETURN_IF_ERROR(NeedList([&]() -> Status {
      ASSIGN_OR_RETURN(const store::Privilege privilege, NeedPrivilege());
      change.privileges.Add(privilege);
      return OkStatus();
    }));
    RETURN_IF_ERROR(NeedWord("on"));
    ASSIGN_OR_RETURN(change.object, NeedSecurable());
    RETURN_IF_ERROR(NeedWord(action == GrantOrRevoke::Action::kGrant ? "to" : "from"));
    ASSIGN_OR_RETURN(change.principal, NeedPrincipal());
    return change;
  }

  // Words with spaces or underscores between them.
  Result<store::Privilege> NeedPrivilege() {
    const Token first = token_;
    std::string words;
    while (token_.kind == Token::Kind::kWord && token_.value != "on") {
      if (!words.empty()) words += ' ';
      words += token_.value;
      Advance();
    }
    if (words.empty()) return Expected("a privilege such as EXECUTE");
    Result<store::Privilege> privilege = store::ParsePrivilege(words);
    if (!privilege.ok()) return ErrorAt(first, privilege.error());
    return privilege;
  }

  Result<SqlStatement> ParseShow() {
    if (TakeWord("grants") || TakeWord("grant")) {
      ShowGrants show;
      if (!IsWord("on")) {
        ASSIGN_OR_RETURN(show.principal, NeedPrincipal("ON or a principal's name"));
      }
      RETURN_IF_ERROR(NeedWord("on"));
      ASSIGN_OR_RETURN(show.object, NeedSecurable());
      return show;
    }
    if (TakeWord("catalogs")) return ParseShowObjects(store::ObjectKind::kCatalog);
    if (TakeWord("schemas")) return ParseShowObjects(store::ObjectKind::kSchema);
    if (TakeWord("models")) return ParseShowObjects(store::ObjectKind::kModel);
    if (TakeWord("principals")) return ParseShowPrincipals(ShowPrincipals::Which::kAll);
    if (TakeWord("users")) return ParseShowPrincipals(ShowPrincipals::Which::kUsers);
    if (TakeWord("groups")) return ParseShowPrincipals(ShowPrincipals::Which::kGroups);
    return Expected("GRANTS, CATALOGS, SCHEMAS, MODELS, PRINCIPALS, USERS or GROUPS");
  }

  Result<SqlStatement> ParseShowObjects(store::ObjectKind kind) {
    ShowObjects show;
    show.kind = kind;
    if (kind == store::ObjectKind::kModel) {
      if (!IsWord("in") && !IsWord("from")) return Expected("IN catalog.schema");
      Advance();
      ASSIGN_OR_RETURN(show.container, NeedFullName(store::ObjectKind::kSchema));
    } else if (kind == store::ObjectKind::kSchema && (TakeWord("in") || TakeWord("from"))) {
      ASSIGN_OR_RETURN(show.container, NeedFullName(store::ObjectKind::kCatalog));
    }
    ASSIGN_OR_RETURN(show.pattern, MaybePattern());
    return show;
  }

  Result<SqlStatement> ParseShowPrincipals(ShowPrincipals::Which which) {
    ShowPrincipals show;
    show.which = which;
    ASSIGN_OR_RETURN(show.pattern, MaybePattern());
    return show;
  }

  Result<SqlStatement> ParseAlter() {
    if (TakeWord("group")) return ParseAlterGroup();
    const std::string kinds = fmt::format("GROUP, {}", kAllKinds);
    ASSIGN_OR_RETURN(const Securable object, NeedSecurable(kinds));
    const bool is_model = object.kind == store::ObjectKind::kModel;
    const bool is_metastore = object.kind == store::ObjectKind::kMetastore;
    if (is_model && TakeWord("rename")) {
      RETURN_IF_ERROR(NeedWord("to"));
      RenameModel rename{object, ""};
      ASSIGN_OR_RETURN(rename.new_leaf, NeedNamePart("the new name, without catalog and schema"));
      return rename;
    }
    if (!is_metastore && TakeWord("unset")) {
      RETURN_IF_ERROR(NeedWord("tags"));
      return ParseUnsetTags(object);
    }
    const bool set = TakeWord("set");
    if (set && !is_metastore && TakeWord("tags")) return ParseSetTags(object);
    if (!TakeWord("owner")) {
      if (set) return Expected(is_metastore ? "OWNER TO" : "OWNER TO or TAGS");
      if (is_metastore) return Expected("OWNER TO");
      return Expected(is_model ? "OWNER TO, RENAME TO, SET TAGS or UNSET TAGS"
                               : "OWNER TO, SET TAGS or UNSET TAGS");
    }
    RETURN_IF_ERROR(NeedWord("to"));
    SetOwner change{object, ""};
    ASSIGN_OR_RETURN(change.principal, NeedPrincipal());
    return change;
  }

  Result<SqlStatement> ParseAlterGroup() {
    ChangeMembers change;
    ASSIGN_OR_RETURN(change.group, NeedPrincipal("a group's name"));
    if (!IsWord("add") && !IsWord("drop")) return Expected("ADD or DROP");
    change.action = IsWord("add") ? ChangeMembers::Action::kAdd : ChangeMembers::Action::kDrop;
    Advance();
    if (!TakeWord("user") && !TakeWord("group") && !TakeWord("member"))
      return Expected("USER, GROUP or MEMBER");
    RETURN_IF_ERROR(NeedList([&]() -> Status {
      ASSIGN_OR_RETURN(std::string member, NeedPrincipal());
      change.members.push_back(std::move(member));
      return OkStatus();
    }));
    return change;
  }

  // ('key' = 'value', …); a key alone has the empty value.
  Result<SqlStatement> ParseSetTags(const Securable& object) {
    SetTags set{object, {}};
    RETURN_IF_ERROR(NeedSymbol("("));
    RETURN_IF_ERROR(NeedList([&]() -> Status {
      ASSIGN_OR_RETURN(std::string key, NeedText("a tag's key in single quotes", store::CheckTagKey));
      std::string value;
      if (TakeSymbol("=")) {
        ASSIGN_OR_RETURN(value, NeedText("the tag's value in single quotes", store::CheckTagValue));
      }
      set.tags.emplace_back(std::move(key), std::move(value));
      return OkStatus();
    }));
    if (!TakeSymbol(")")) return Expected("= or , or )");
    return set;
  }

  Result<SqlStatement> ParseUnsetTags(const Securable& object) {
    UnsetTags unset{object, {}};
    RETURN_IF_ERROR(NeedSymbol("("));
    RETURN_IF_ERROR(NeedList([&]() -> Status {
      ASSIGN_OR_RETURN(std::string key, NeedText("a tag's key in single quotes", store::CheckTagKey));
      unset.keys.push_back(std::move(key));
      return OkStatus();
    }));
    if (!TakeSymbol(")")) return Expected(", or )");
    return unset;
  }

  Result<SqlStatement> ParseComment() {
    RETURN_IF_ERROR(NeedWord("on"));
    CommentOn comment;
    ASSIGN_OR_RETURN(comment.object, NeedSecurable());
    RETURN_IF_ERROR(NeedWord("is"));
    if (TakeWord("null")) return comment;
    ASSIGN_OR_RETURN(comment.comment,
                     NeedText("NULL, or a description in single quotes", store::CheckDescription));
    return comment;
  }

  Result<SqlStatement> ParseDescribe() {
    Describe describe;
    // "catalog" may also be the name of a catalog: the word is the kind only if a name follows it.
    Lexer ahead = lexer_;
    const Token next = ahead.Next();
    const bool name_follows = next.kind == Token::Kind::kWord || next.kind == Token::Kind::kQuotedName;
    const std::optional<store::ObjectKind> kind = KindOfWord(token_);
    if (kind && (name_follows || *kind == store::ObjectKind::kMetastore)) {
      ASSIGN_OR_RETURN(describe.object, NeedSecurable());
      return describe;
    }
    do {
      ASSIGN_OR_RETURN(std::string part,
                       NeedNamePart("a name, or METASTORE, CATALOG, SCHEMA, MODEL or FUNCTION and a name"));
      describe.object.name.parts.push_back(std::move(part));
    } while (describe.object.name.parts.size() < 3 && TakeSymbol("."));
    describe.object.kind = static_cast<store::ObjectKind>(describe.object.name.parts.size());
    return describe;
  }

  std::string_view script_;
  Lexer lexer_;
  Token token_;
  size_t last_end_ = 0;  // the end of the token before `token_`
};

}  // namespace

Result<std::vector<ParsedStatement>> ParseSql(std::string_view script) {
  if (!IsValidUtf8(script)) {
    size_t line = 1;
    for (size_t begin = 0; begin < script.size(); ++line) {
      const size_t end = std::min(script.find('\n', begin), script.size());
      if (!IsValidUtf8(script.substr(begin, end - begin))) break;
      begin = end + 1;
    }
    return Error(Code::kInvalidArgument, fmt::format("line {}: not valid UTF-8", line));
  }
  return Parser(script).ParseAll();
}

bool IsWholeSql(std::string_view typed) {
  Lexer lexer(typed);
  bool whole = true;
  for (Token token = lexer.Next(); token.kind != Token::Kind::kEnd; token = lexer.Next()) {
    if (token.kind == Token::Kind::kUnclosed) return false;
    whole = token.kind == Token::Kind::kSymbol && token.value == ";";
  }
  return whole;
}

}  // namespace modelfs::tools
