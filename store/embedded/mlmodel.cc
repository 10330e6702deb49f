#include "store/embedded/mlmodel.h"

#include <fmt/core.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

namespace modelfs::store {
namespace {

constexpr std::string_view kHowTo =
    "add one with mlflow.models.infer_signature(inputs, outputs) and save the model with signature=...";

Error Missing(std::string_view what) {
  return Error(Code::kFailedPrecondition, fmt::format("MLmodel: {}; {}", what, kHowTo));
}

// Only this depth of a list of specs is kept. Deeper parts (an object's properties, a tensor's shape) are
// skipped, so that a hostile text costs no more than its own size.
constexpr int kDepthKept = 2;

bool IsSpec(const nlohmann::json& spec) {
  if (!spec.is_object()) return false;
  const auto type = spec.find("type");
  return type != spec.end() && type->is_string() && !type->get_ref<const std::string&>().empty();
}

// MLflow keeps inputs and outputs as JSON in a string: a list of columns or tensors, each with a type.
// Aliases in the YAML are only followed here, never expanded.
Status CheckSpecs(const YAML::Node& node, std::string_view which) {
  if (!node.IsDefined() || node.IsNull()) return Missing(fmt::format("its signature has no {}", which));
  nlohmann::json specs;
  if (node.IsScalar()) {
    const auto keep = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
      return depth <= kDepthKept;
    };
    specs = nlohmann::json::parse(node.Scalar(), keep, false);
  }
  if (specs.is_array() && specs.empty()) {
    return Missing(fmt::format("the {} of its signature are an empty list", which));
  }
  if (!specs.is_array() || !std::all_of(specs.begin(), specs.end(), IsSpec)) {
    return Missing(
        fmt::format("the {0} of its signature are not in MLflow's form, a string with a JSON list of "
                    "columns or tensors, each "
                    "with its type, as in {0}: '[{{\"type\": \"double\", \"name\": \"x\"}}]'",
                    which));
  }
  return OkStatus();
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
    if (!signature.IsDefined() || signature.IsNull()) return Missing("has no signature");
    if (!signature.IsMap()) return Missing("its signature is not a mapping");
    RETURN_IF_ERROR(CheckSpecs(signature["inputs"], "inputs"));
    return CheckSpecs(signature["outputs"], "outputs");
  } catch (const std::exception& error) {
    return Missing(fmt::format("is not readable as YAML ({})", error.what()));
  }
}

}  // namespace modelfs::store
