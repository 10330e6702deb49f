// Descriptions and tags, of objects and of versions.
#include <fmt/core.h>

#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

// The object or version that has the tags and the description, with the record that each change to them
// rewrites. So two changes at once conflict, and the limit on the number of tags holds.
struct Bearer {
  StoredObject object;
  FullName name;
  VersionNumber number = 0;  // 0: the object itself
  VersionRecord version;
};

Result<Bearer> BearerOf(View& view, const Target& target) {
  Bearer bearer;
  if (target.version) {
    ASSIGN_OR_RETURN(bearer.object, view.Model(target.object));
    bearer.number = *target.version;
    ASSIGN_OR_RETURN(bearer.version, view.Version(bearer.object, bearer.number));
  } else {
    ASSIGN_OR_RETURN(bearer.object, view.Object(target.object));
  }
  ASSIGN_OR_RETURN(bearer.name, view.NameOf(bearer.object));
  return bearer;
}

std::string Shown(const Bearer& bearer) {
  if (bearer.number == 0) return bearer.name.ToString();
  return fmt::format("{} version {}", bearer.name.ToString(), bearer.number);
}

// "RegisteredModelTag", "ModelVersionTag", "CatalogTag", "SchemaTag".
std::string_view TagNoun(const Bearer& bearer) {
  if (bearer.number != 0) return "ModelVersionTag";
  switch (bearer.object.record.kind) {
    case ObjectKind::kModel:
      return "RegisteredModelTag";
    case ObjectKind::kSchema:
      return "SchemaTag";
    case ObjectKind::kCatalog:
      return "CatalogTag";
    case ObjectKind::kMetastore:
      return "MetastoreTag";
  }
  return "Tag";
}

Change::Params ParamsOf(const Bearer& bearer) {
  Change::Params params{{"full_name_arg", bearer.name.ToString()}};
  if (bearer.number != 0) params["version_arg"] = std::to_string(bearer.number);
  return params;
}

// The parameters that are known before the object has been read.
Change::Params ParamsOf(const Target& target, std::map<std::string, std::string> more) {
  if (target.version) more["version_arg"] = std::to_string(*target.version);
  return more;
}

void Touch(Change& change, Bearer& bearer, EventKind kind) {
  if (bearer.number == 0) {
    change.TouchObject(bearer.object);
  } else {
    bearer.version.updated = change.stamp();
    change.PutVersion(bearer.object, bearer.number, bearer.version);
  }
  change.Tell(kind, bearer.object);
  if (bearer.number != 0) {
    change.event().version = bearer.number;
    change.event().version_id = bearer.version.id;
  }
}

}  // namespace

Status EmbeddedRegistryImpl::SetDescription(const Caller& caller, const Target& target,
                                            std::string_view text) {
  RETURN_IF_ERROR(CheckDescription(text));
  const Asked asked{Operation::kDescribe, target.object,
                    ParamsOf(target, {{"comment_bytes", std::to_string(text.size())}}),
                    target.version ? "updateModelVersion" : ""};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(Bearer bearer, BearerOf(change, target));
    const std::string key = keys::Description(target.object, bearer.number);
    ASSIGN_OR_RETURN(const std::string present, change.Description(target.object, bearer.number));
    if (text == present) return OkStatus();
    if (text.empty()) {
      change.Delete(key);
    } else {
      change.Put(key, EncodeText(text));
    }
    (bearer.number == 0 ? bearer.object.record.has_description : bearer.version.has_description) =
        !text.empty();
    const bool of_version = bearer.number != 0;
    Touch(change, bearer, of_version ? EventKind::kVersionUpdated : EventKind::kUpdated);
    Change::Params params = ParamsOf(bearer);
    // The text itself stays out of the log, which is kept for ever.
    params["comment_bytes"] = std::to_string(text.size());
    const bool of_model = bearer.object.record.kind == ObjectKind::kModel;
    change.Audit(of_version ? "updateModelVersion"
                 : of_model ? "updateRegisteredModel"
                            : "updateComment",
                 bearer.name, target.object, std::move(params));
    return OkStatus();
  });
}

Status EmbeddedRegistryImpl::SetTag(const Caller& caller, const Target& target, std::string_view key,
                                    std::string_view value, TagMode mode) {
  RETURN_IF_ERROR(CheckTagKey(key));
  RETURN_IF_ERROR(CheckTagValue(value));
  const Asked asked{Operation::kTag, target.object,
                    ParamsOf(target, {{"key", std::string(key)}, {"value", std::string(value)}}),
                    target.version ? "setModelVersionTag" : ""};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(Bearer bearer, BearerOf(change, target));
    const std::string tag_key = keys::Tag(target.object, bearer.number, key);
    ASSIGN_OR_RETURN(const std::optional<KvEntry> present, change.Get(tag_key));
    if (present && mode == TagMode::kCreateOnly) {
      return Error(Code::kAlreadyExists, fmt::format("{}: has a tag {} already", Shown(bearer), key));
    }
    if (!present && mode == TagMode::kReplaceOnly) {
      return Error(Code::kNotFound, fmt::format("{}: has no tag {}", Shown(bearer), key));
    }
    const std::string encoded = EncodeText(value);
    if (present && present->value == encoded) return OkStatus();
    if (!present) {
      ASSIGN_OR_RETURN(const auto tags, change.Tags(target.object, bearer.number));
      if (tags.size() >= kMaxTagsPerObject) {
        return Error(Code::kResourceExhausted,
                     fmt::format("{}: has {} tags, the most there can be; remove one first", Shown(bearer),
                                 tags.size()));
      }
    }
    change.Put(tag_key, encoded);
    Touch(change, bearer, EventKind::kTagsChanged);
    Change::Params params = ParamsOf(bearer);
    params["key"] = key;
    params["value"] = value;
    change.Audit(fmt::format("set{}", TagNoun(bearer)), bearer.name, target.object, std::move(params));
    return OkStatus();
  });
}

Status EmbeddedRegistryImpl::DeleteTag(const Caller& caller, const Target& target, std::string_view key) {
  RETURN_IF_ERROR(CheckTagKey(key));
  const Asked asked{Operation::kTag, target.object, ParamsOf(target, {{"key", std::string(key)}}),
                    target.version ? "deleteModelVersionTag" : "delete{}Tag"};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(Bearer bearer, BearerOf(change, target));
    const std::string tag_key = keys::Tag(target.object, bearer.number, key);
    ASSIGN_OR_RETURN(const std::optional<KvEntry> present, change.Get(tag_key));
    if (!present) return Error(Code::kNotFound, fmt::format("{}: has no tag {}", Shown(bearer), key));
    change.Delete(tag_key);
    Touch(change, bearer, EventKind::kTagsChanged);
    Change::Params params = ParamsOf(bearer);
    params["key"] = key;
    change.Audit(fmt::format("delete{}", TagNoun(bearer)), bearer.name, target.object, std::move(params));
    return OkStatus();
  });
}

Result<std::map<std::string, std::string>> EmbeddedRegistryImpl::Tags(const Caller& caller,
                                                                      const Target& target) {
  return Inspect(caller, target.version ? Operation::kGet : Operation::kSee, target.object,
                 [&](View& view) -> Result<std::map<std::string, std::string>> {
                   ASSIGN_OR_RETURN(const Bearer bearer, BearerOf(view, target));
                   return view.Tags(target.object, bearer.number);
                 });
}

}  // namespace modelfs::store
