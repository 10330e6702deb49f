#include <gtest/gtest.h>

#include <random>

#include "store/search_filter.h"
#include "tests/store/registry_fixture.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;

std::vector<std::string> Found(Box& box, std::string_view filter) {
  std::vector<std::string> names;
  const auto page = box.registry->SearchModels(box.ann, filter, {});
  EXPECT_OK(page);
  if (!page.ok()) return names;
  for (const ObjectInfo& item : page->items) names.push_back(item.full_name.ToString());
  return names;
}

TEST(Like, PercentIsAnythingAndUnderscoreOneCharacter) {
  struct Row {
    const char* pattern;
    const char* text;
    bool want;
  };
  const Row rows[] = {
      {"", "", true},          {"", "a", false},       {"%", "", true},      {"%", "abc", true},
      {"a%", "abc", true},     {"%c", "abc", true},    {"%b%", "abc", true}, {"a_c", "abc", true},
      {"a_c", "aéc", true},    {"_", "é", true},       {"_", "ab", false},   {"a%b%c", "aXbYbZc", true},
      {"a%b%c", "aXc", false}, {"%%%", "x", true},     {"%a", "b", false},   {"abc", "ab", false},
      {"ab", "abc", false},    {"%é", "caféxé", true},
  };
  for (const Row& row : rows)
    EXPECT_EQ(LikeMatches(row.pattern, row.text), row.want) << row.pattern << " " << row.text;
}

TEST(Search, FindsModelsByNameOwnerAliasAndTag) {
  Box box(MakeMemoryKv());
  const ObjectId iris = box.Make("prod.ml.iris");
  const ObjectId bert = box.Make("prod.nlp.bert");
  box.Make("dev.ml.iris");
  ASSERT_OK(box.Commit(iris));
  ASSERT_OK(box.registry->SetAlias(box.ann, iris, "Champion", 1));
  ASSERT_OK(box.registry->SetTag(box.ann, {iris, std::nullopt}, "task", "classification"));
  ASSERT_OK(box.registry->SetTag(box.ann, {bert, std::nullopt}, "it's", "a \"test\""));
  ASSERT_OK(box.registry->SetOwner(box.ann, bert, "bob"));  // ann, the admin, still sees all of it
  using Names = std::vector<std::string>;
  EXPECT_EQ(Found(box, ""), (Names{"dev.ml.iris", "prod.ml.iris", "prod.nlp.bert"}));
  EXPECT_EQ(Found(box, "name = 'iris'"), (Names{"dev.ml.iris", "prod.ml.iris"}));
  EXPECT_EQ(Found(box, "name = 'prod.ml.iris'"), Names{"prod.ml.iris"});
  EXPECT_EQ(Found(box, "name LIKE 'b%'"), Names{"prod.nlp.bert"});
  EXPECT_EQ(Found(box, "name ilike 'IR_S'"), (Names{"dev.ml.iris", "prod.ml.iris"}));
  EXPECT_EQ(Found(box, "catalog = 'prod' and schema != 'nlp'"), Names{"prod.ml.iris"});
  EXPECT_EQ(Found(box, "owner = 'bob' OR catalog='dev'"), (Names{"dev.ml.iris", "prod.nlp.bert"}));
  EXPECT_EQ(Found(box, "alias = 'Champion'"), Names{"prod.ml.iris"});
  EXPECT_EQ(Found(box, "alias != 'Champion'"), (Names{"dev.ml.iris", "prod.nlp.bert"}));
  EXPECT_EQ(Found(box, "tags.task = 'classification'"), Names{"prod.ml.iris"});
  EXPECT_EQ(Found(box, "tags.task != 'x'"), Names{"prod.ml.iris"}) << "nothing holds for an absent tag";
  EXPECT_EQ(Found(box, "tags.`it's` = 'a \"test\"'"), Names{"prod.nlp.bert"});
  EXPECT_EQ(Found(box, "tags.\"it's\" = \"a \"\"test\"\"\""), Names{"prod.nlp.bert"});
  // AND binds closer than OR.
  EXPECT_EQ(Found(box, "catalog='dev' OR catalog='prod' AND name='bert'"),
            (Names{"dev.ml.iris", "prod.nlp.bert"}));
  EXPECT_EQ(Found(box, "(catalog='dev' OR catalog='prod') AND name='bert'"), Names{"prod.nlp.bert"});
}

TEST(Search, PagesCoverEverythingOnceAndBelongToTheirFilter) {
  Box box(MakeMemoryKv());
  std::vector<std::string> want;
  for (const char* catalog : {"a", "a-b", "b"}) {
    for (const char* schema : {"s", "s-2"}) {
      for (int i = 0; i < 5; ++i) {
        want.push_back(std::string(catalog) + "." + schema + ".m" + std::to_string(i));
        box.Make(want.back());
      }
    }
  }
  for (size_t limit = 1; limit <= 31; limit += 3) {
    PageRequest request;
    request.limit = limit;
    std::vector<std::string> got;
    do {
      const auto page = box.registry->SearchModels(box.ann, "name LIKE 'm%'", request).value();
      for (const ObjectInfo& item : page.items) got.push_back(item.full_name.ToString());
      request.token = page.next_token;
    } while (!request.token.empty());
    EXPECT_EQ(got, want) << limit;
  }
  PageRequest request;
  request.limit = 2;
  request.token = box.registry->SearchModels(box.ann, "", request)->next_token;
  EXPECT_OK(box.registry->SearchModels(box.ann, "", request));
  EXPECT_EQ(Outcome(box.registry->SearchModels(box.ann, "name = 'x'", request)), "invalid argument");
}

TEST(Search, AMalformedFilterSaysWhereAndWhatWasExpected) {
  Box box(MakeMemoryKv());
  for (const char* bad : {"name", "name =", "name = x", "name = 'x", "= 'x'", "nam = 'x'", "(name='x'",
                          "name='x')", "name='x' name='y'", "name='x' AND", "tags = 'x'", "tags. = 'x'",
                          "name ~ 'x'", "AND", "()", "name='x' && name='y'", "tags.`a = 'x'"}) {
    const auto page = box.registry->SearchModels(box.ann, bad, {});
    ASSERT_EQ(Outcome(page), "invalid argument") << bad;
    EXPECT_NE(page.error().message().find("expected"), std::string::npos) << page.error().message();
  }
  EXPECT_FALSE(SearchFilter::Parse(std::string(2000, '(')).ok());
  EXPECT_FALSE(SearchFilter::Parse(std::string(kFilterMaxBytes + 1, ' ')).ok());
  EXPECT_FALSE(SearchFilter::Parse("name = '\xff'").ok());
  std::string deep;
  for (size_t i = 0; i + 1 < kFilterMaxDepth; ++i) deep += "(";
  deep += "name='x'";
  for (size_t i = 0; i + 1 < kFilterMaxDepth; ++i) deep += ")";
  EXPECT_OK(SearchFilter::Parse(deep));
  EXPECT_FALSE(SearchFilter::Parse("(" + deep + ")").ok());
}

}  // namespace
}  // namespace modelfs::store
