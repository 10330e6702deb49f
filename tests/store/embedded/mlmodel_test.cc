#include "store/embedded/mlmodel.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/store/expect.h"

namespace modelfs::store {
namespace {

constexpr const char* kAsMlflowWritesIt = R"yaml(artifact_path: model
flavors:
  python_function:
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.sklearn
    model_path: model.pkl
mlflow_version: 2.9.2
signature:
  inputs: '[{"type": "double", "name": "sepal length (cm)",
                     "required" : true
}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: null
utc_time_created: '2026-11-22 10:00:00.000000'
)yaml";

TEST(Mlmodel, ASignatureNeedsInputsAndOutputs) {
  EXPECT_OK(CheckMlmodelSignature(kAsMlflowWritesIt));
  struct Row {
    const char* yaml;
    const char* says;
  };
  const Row rows[] = {
      {"", "not a YAML mapping"},
      {"just words", "not a YAML mapping"},
      {"flavors: {}", "no signature"},
      {"signature:", "no signature"},
      {"signature: ~", "no signature"},
      {"signature: yes", "not a mapping"},
      {"signature: {}", "no inputs"},
      {"signature: {inputs: '[{\"type\": \"long\"}]'}", "no outputs"},
      {"signature: {outputs: '[{\"type\": \"long\"}]'}", "no inputs"},
      {"signature: {inputs: null, outputs: '[{\"type\": \"long\"}]'}", "no inputs"},
      {"signature: [", "not readable as YAML"},
      {"a: *nowhere", "not readable as YAML"},
      {"\x01\x02", ""},
      {"%TAG ! !", ""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.yaml);
    const Status checked = CheckMlmodelSignature(row.yaml);
    ASSERT_EQ(testing::Outcome(checked), "failed precondition");
    EXPECT_NE(checked.error().message().find(row.says), std::string::npos) << checked.error().message();
    EXPECT_NE(checked.error().message().find("infer_signature"), std::string::npos);
  }
}

// The specs once as inputs and once as outputs.
std::array<std::string, 2> WithSpecs(const std::string& specs) {
  const std::string good = R"('[{"type": "long"}]')";
  return {"signature: {inputs: " + specs + ", outputs: " + good + "}\n",
          "signature: {inputs: " + good + ", outputs: " + specs + "}\n"};
}

// The specs that MLflow 3.17 writes for each kind of schema that it has.
TEST(Mlmodel, EveryKindOfSchemaThatMlflowWritesIsASignature) {
  for (
      const char* specs : {
          R"('[{"type": "double", "required": true}]')",
          R"('[{"type": "double", "name": "x", "required": true}, {"type": "string", "name": "y", "required": false}]')",
          R"('[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}]')",
          R"('[{"name": "image", "type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 2, 2]}}]')",
          R"('[{"type": "array", "items": {"type": "string"}, "name": "words", "required": true}]')",
          R"('[{"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"type": {"type": "long", "required": true}}}, "required": true}}, "name": "o", "required": true}]')",
          R"('[{"type": "map", "values": {"type": "long"}, "required": true}]')",
          R"('[{"type": "any", "required": false}]')",
          R"('[{"type": "sparkml_vector", "name": "v", "required": true}]')",
      }) {
    SCOPED_TRACE(specs);
    for (const std::string& yaml : WithSpecs(specs)) EXPECT_OK(CheckMlmodelSignature(yaml));
  }
}

TEST(Mlmodel, ASignatureWithoutColumnsIsRefused) {
  for (const char* specs : {"x",
                            "'[]'",
                            "[]",
                            "''",
                            "false",
                            "0",
                            "'null'",
                            "'{}'",
                            "'\"double\"'",
                            "'[1]'",
                            "'[{}]'",
                            "'[[]]'",
                            R"('[{"name": "x"}]')",
                            R"('[{"type": ""}]')",
                            R"('[{"type": 1}]')",
                            R"('[{"type": {"type": "long"}}]')",
                            R"('[{"type": "long"}, "double"]')",
                            R"('[{"type": "long"}')",
                            R"('[{"type": "long"}] x')",
                            R"([{"type": "long"}])",
                            "{type: long}"}) {
    for (const std::string& yaml : WithSpecs(specs)) {
      const Status checked = CheckMlmodelSignature(yaml);
      EXPECT_EQ(testing::Outcome(checked), "failed precondition") << yaml;
      if (checked.ok()) continue;
      EXPECT_NE(checked.error().message().find("MLmodel: the "), std::string::npos)
          << checked.error().message();
      EXPECT_NE(checked.error().message().find("infer_signature"), std::string::npos);
    }
  }
}

TEST(Mlmodel, HostileYamlIsRefusedAndCostsLittle) {
  const std::string open(200'000, '[');
  EXPECT_FALSE(CheckMlmodelSignature(open).ok());
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "- ";
  EXPECT_FALSE(CheckMlmodelSignature(nested).ok());
  std::string maps = "signature: ";
  for (int i = 0; i < 50'000; ++i) maps += "{a: ";
  EXPECT_FALSE(CheckMlmodelSignature(maps).ok());
  EXPECT_FALSE(CheckMlmodelSignature(std::string(kMlmodelMaxBytes + 1, ' ')).ok());
  // Each line doubles the size that the aliases stand for; expanded it would have 2^64 leaves.
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 64; ++i) {
    const std::string n = std::to_string(i);
    const std::string before = std::to_string(i - 1);
    bomb += "a" + n + ": &a" + n + " [*a" + before + ", *a" + before + "]\n";
  }
  EXPECT_FALSE(CheckMlmodelSignature(bomb).ok());
  EXPECT_FALSE(CheckMlmodelSignature(bomb + "signature: {inputs: *a63, outputs: *a63}\n").ok());
  // The JSON in it, likewise: half a million nested lists.
  const std::string deep(500'000, '[');
  for (const std::string& specs : {deep, R"([{"type": "long", "x": )" + deep}) {
    EXPECT_FALSE(CheckMlmodelSignature(WithSpecs("'" + specs + "'")[0]).ok());
  }
  std::string closed = deep;
  closed.append(deep.size(), ']');
  EXPECT_OK(CheckMlmodelSignature(
      WithSpecs(R"('[{"type": "long", "x": )" + closed.substr(100'000, 800'000) + "}]'")[0]));
}

}  // namespace
}  // namespace modelfs::store
