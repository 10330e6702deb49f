#include "store/mlmodel.h"

#include <fmt/core.h>
#include <yaml-cpp/yaml.h>

#include <string>

namespace modelfs::store {
namespace {

constexpr std::string_view kHowTo =
    "add one with mlflow.models.infer_signature(inputs, outputs) and save the model with signature=...";

Error Missing(std::string_view what) {
  return Error(Code::kFailedPrecondition, fmt::format("MLmodel: {}; {}", what, kHowTo));
}

// Present and with something in it. An alias in the YAML is only followed here, never expanded, so a file
// whose aliases multiply costs no more than its own size.
bool IsGiven(const YAML::Node& node) {
  if (!node.IsDefined() || node.IsNull()) return false;
  if (node.IsScalar()) return !node.Scalar().empty();
  return node.size() > 0;
}

}  // namespace

Status CheckMlmodelSignature(std::string_view yaml) {
  if (yaml.size() > kMlmodelMaxBytes) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("MLmodel has {} bytes; at most {} are read", yaml.size(), kMlmodelMaxBytes));
  }
  try {
    // Nesting is bounded by the library itself (it throws at a depth of 500).
    const YAML::Node document = YAML::Load(std::string(yaml));
    if (!document.IsMap()) return Missing("is not a YAML mapping");
    const YAML::Node signature = document["signature"];
    if (!IsGiven(signature)) return Missing("has no signature");
    if (!signature.IsMap()) return Missing("its signature is not a mapping");
    if (!IsGiven(signature["inputs"])) return Missing("its signature has no inputs");
    if (!IsGiven(signature["outputs"])) return Missing("its signature has no outputs");
    return OkStatus();
  } catch (const std::exception& error) {
    return Missing(fmt::format("is not readable as YAML ({})", error.what()));
  }
}

}  // namespace modelfs::store
