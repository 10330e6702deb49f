// Output that users type again: statements parse to the intended ones, and commands split into the intended
// words, for any name.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "store/access/operation_table.h"
#include "store/sql_name.h"
#include "tests/store/registry_fixture.h"
#include "tools/sql/parser.h"

namespace modelfs::tools {
namespace {

using testing::Box;

const std::vector<std::string> kHostileNames = {"a-b",
                                                "m`to`ann`--",
                                                "`",
                                                "``",
                                                "it's",
                                                "\"q\"",
                                                "a--b",
                                                "-rf",
                                                "a;drop",
                                                "$(touch${ifs}x)",
                                                "`id`",
                                                "a\\",
                                                "\\",
                                                "if",
                                                "on",
                                                "1",
                                                "m`to`eve`",
                                                "*",
                                                "a&b|c",
                                                "~",
                                                "#x",
                                                "!",
                                                "a=b",
                                                "[a-z]?",
                                                "{a,b}",
                                                "\xC3\xBC-m",
                                                "a,b",
                                                "%s",
                                                "\xF0\x9F\x98\x80"};

// --- statements ---

struct Meant {
  store::ObjectKind kind = store::ObjectKind::kMetastore;
  store::FullName name;
  std::string principal;
};

// Checks the GRANTs at the end of a refusal.
void ExpectGrants(const std::string& message, const std::vector<Meant>& meant) {
  SCOPED_TRACE(message);
  const size_t at = message.find("GRANT ");
  ASSERT_NE(at, std::string::npos);
  const auto parsed = ParseSql(message.substr(at));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message();
  ASSERT_FALSE(parsed->empty());
  for (const ParsedStatement& statement : *parsed) {
    const auto* grant = std::get_if<GrantOrRevoke>(&statement.statement);
    ASSERT_NE(grant, nullptr);
    EXPECT_EQ(grant->action, GrantOrRevoke::Action::kGrant);
    EXPECT_EQ(grant->privileges.ToList().size(), 1U);
    bool found = false;
    for (const Meant& each : meant) {
      found =
          found || (grant->object == Securable{each.kind, each.name} && grant->principal == each.principal);
    }
    EXPECT_TRUE(found) << "it grants something else, or to another principal";
  }
}

TEST(Printed, TheGrantInARefusalParsesToTheIntendedGrant) {
  size_t checked = 0;
  for (size_t i = 0; i < kHostileNames.size(); ++i) {
    Box box(store::MakeMemoryKv());
    const auto name = [&](size_t step) { return kHostileNames[(i + step) % kHostileNames.size()]; };
    const store::FullName model_name{{name(0), name(1), name(2)}};
    for (const std::string& part : model_name.parts) ASSERT_OK(store::CheckObjectName(part));
    store::Caller eve = box.ann;
    eve.principal = name(3) == "`" ? "eve" : name(3);
    ASSERT_OK(store::CheckPrincipalName(eve.principal));
    const store::ObjectId model = box.Make(model_name.ToString());
    const store::ObjectId schema = box.registry->Get(box.ann, model)->parent;
    const store::ObjectId catalog = box.registry->Get(box.ann, schema)->parent;
    ASSERT_OK(box.registry->CreatePrincipal(box.ann, store::PrincipalKind::kUser, eve.principal));
    const std::vector<Meant> meant = {
        {store::ObjectKind::kModel, model_name, eve.principal},
        {store::ObjectKind::kSchema, model_name.Parent(), eve.principal},
        {store::ObjectKind::kCatalog, model_name.Parent().Parent(), eve.principal},
        {store::ObjectKind::kMetastore, {}, eve.principal}};
    const auto all = [&] {
      for (const store::OperationRow& row : store::kOperationRows) {
        const store::ObjectId object =
            std::array{store::kMetastoreId, catalog, schema, model}[static_cast<size_t>(row.on)];
        const Status allowed = box.registry->CheckAccess(eve, row.operation, object);
        if (allowed.ok()) continue;
        const std::string& message = allowed.error().message();
        if (message.find("that is for ") != std::string::npos) continue;  // no grant would help
        if (message.find("…") != std::string::npos) continue;             // the user may not see the name
        ExpectGrants(message, meant);
        ++checked;
      }
    };
    all();
    // From here on the user sees the names, and gets one privilege after the other.
    for (const store::Privilege privilege :
         {store::Privilege::kBrowse, store::Privilege::kUseCatalog, store::Privilege::kUseSchema}) {
      ASSERT_OK(
          box.registry->ChangeGrants(box.ann, catalog, {{.principal = eve.principal, .add = {privilege}}}));
      all();
    }
  }
  EXPECT_GT(checked, 1000U);
}

TEST(Printed, AnyNameParsesBackUnchanged) {
  rc::check([] {
    const auto text = [] {
      return *rc::gen::map(
          rc::gen::nonEmpty(rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(
              std::vector<std::string>{"`", "'", "\"", "-", "--", ";", "$(", ")", "a", "on", "if", "/*", "*/",
                                       "\\", "\xC3\xBC", "_", "1", "to"}))),
          [](const std::vector<std::string>& pieces) {
            std::string joined;
            for (const std::string& piece : pieces) joined += piece;
            return joined.substr(0, 60);
          });
    };
    const store::FullName name{{text(), text(), text()}};
    const std::string principal = text();
    for (const std::string& part : name.parts) RC_PRE(store::CheckObjectName(part).ok());
    RC_PRE(store::CheckPrincipalName(principal).ok());
    const auto parsed =
        ParseSql(store::SqlGrant(store::Privilege::kExecute, store::ObjectKind::kModel, name, principal));
    RC_ASSERT(parsed.ok());
    GrantOrRevoke meant;
    meant.privileges = {store::Privilege::kExecute};
    meant.object = {store::ObjectKind::kModel, name};
    meant.principal = principal;
    RC_ASSERT(parsed->size() == 1U);
    RC_ASSERT(parsed->front().statement == SqlStatement(meant));
  });
}

// --- commands ---

// The words into which the shell splits each line.
std::vector<std::vector<std::string>> Split(const std::string& shell, const std::vector<std::string>& lines) {
  std::string directory = "/var/tmp/modelfs_printed_XXXXXX";
  if (const char* scratch = std::getenv("TMPDIR")) directory = std::string(scratch) + "/printed_XXXXXX";
  EXPECT_NE(::mkdtemp(directory.data()), nullptr);
  {
    std::ofstream script(directory + "/script", std::ios::binary);
    for (const std::string& line : lines) {
      script << "set -- " << line << "\nprintf '%s\\0' \"$@\"\nprintf 'END\\0'\n";
    }
  }
  std::vector<std::vector<std::string>> split(1);
  FILE* output = ::popen(fmt::format("cd {0} && {1} ./script", directory, shell).c_str(), "r");
  std::string word;
  for (int c = std::fgetc(output); c != EOF; c = std::fgetc(output)) {
    if (c != 0) {
      word += static_cast<char>(c);
      continue;
    }
    if (word == "END") {
      split.emplace_back();
    } else {
      split.back().push_back(word);
    }
    word.clear();
  }
  EXPECT_EQ(::pclose(output), 0) << shell;
  std::filesystem::remove_all(directory);
  split.pop_back();
  return split;
}

TEST(Printed, AShellSplitsACommandIntoTheIntendedWords) {
  std::vector<std::string> words = kHostileNames;
  for (const char* more :
       {"two words", " ",      "'",  "''", "a'b'c", "$HOME", "*",   "~root", "=cmd", "--",
        "-",         "--help", "\"", "!!", "a!b",   "(x)",   "<in", ">out",  "x&",   "\xE2\x80\xA6"}) {
    words.emplace_back(more);
  }
  std::vector<std::string> odd = {"a\tb",
                                  "line\nbreak",
                                  "\n",
                                  "a\x1b[2Jb'\\c",
                                  "\x80\xFF",
                                  "\xE2\x80\xAE"
                                  "gnp",
                                  "\x7F",
                                  "x\x01"
                                  "2",
                                  ""};
  const auto check = [](const std::string& shell, const std::vector<std::string>& each) {
    std::vector<std::string> lines;
    std::vector<std::vector<std::string>> meant;
    for (const std::string& word : each) {
      lines.push_back(ShellCommand({"modelfs", "alias", "rm"}, {word, "x", word}));
      EXPECT_EQ(Printable(lines.back()), lines.back()) << "printing does not change it";
      meant.push_back({"modelfs", "alias", "rm"});
      if (word.starts_with('-')) meant.back().emplace_back("--");
      meant.back().insert(meant.back().end(), {word, "x", word});
    }
    EXPECT_EQ(Split(shell, lines), meant) << shell;
  };
  for (const char* shell : {"sh", "bash", "zsh"}) check(shell, words);
  words.insert(words.end(), odd.begin(), odd.end());
  for (const char* shell : {"bash", "zsh"}) check(shell, words);
}

TEST(Printed, PlainWordsAreNotQuoted) {
  EXPECT_EQ(ShellCommand({"modelfs", "mkdir", "-p"}, {"prod.ml_team.iris-2"}),
            "modelfs mkdir -p prod.ml_team.iris-2");
  EXPECT_EQ(ShellCommand({"ln", "-sfn", "../versions/N"}, {"aliases/Champion"}),
            "ln -sfn ../versions/N aliases/Champion");
  EXPECT_EQ(ShellCommand({"modelfs", "ls"}, {"-x.y"}), "modelfs ls -- -x.y");
  EXPECT_EQ(ShellWord("c.s.m@Champion"), "c.s.m@Champion");
  EXPECT_EQ(ShellWord("a b"), "'a b'");
  EXPECT_EQ(ShellWord("it's"), "'it'\\''s'");
  EXPECT_EQ(ShellWord(""), "''");
}

}  // namespace
}  // namespace modelfs::tools
