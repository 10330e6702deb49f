#include "store/mlmodel.h"

#include <gtest/gtest.h>

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
      {"signature: {inputs: '[1]'}", "no outputs"},
      {"signature: {outputs: '[1]'}", "no inputs"},
      {"signature: {inputs: null, outputs: '[1]'}", "no inputs"},
      {"signature: {inputs: '[1]', outputs: ''}", "no outputs"},
      {"signature: {inputs: '[1]', outputs: []}", "no outputs"},
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
  // Each line doubles what the aliases stand for; unfolded it would have 2^64 leaves.
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 64; ++i) {
    const std::string n = std::to_string(i);
    const std::string before = std::to_string(i - 1);
    bomb += "a" + n + ": &a" + n + " [*a" + before + ", *a" + before + "]\n";
  }
  EXPECT_FALSE(CheckMlmodelSignature(bomb).ok());
  EXPECT_OK(CheckMlmodelSignature(bomb + "signature: {inputs: *a63, outputs: *a63}\n"));
}

}  // namespace
}  // namespace modelfs::store
