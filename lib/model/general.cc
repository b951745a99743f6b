#include "lib/model/general.h"

#include <algorithm>
#include <filesystem>
#include <span>

#include "lib/base/cat.h"
#include "lib/base/checked.h"

namespace smelt {
namespace {

/// Text of a scalar of the model card; empty for anything else.
std::string ScalarText(const JsonValue* value) {
  if (value == nullptr || value->is_null() || value->is_array() || value->is_object()) return "";
  return value->as_string() != nullptr ? *value->as_string() : value->ToText();
}

std::vector<std::string> ListTexts(const JsonValue* value) {
  std::vector<std::string> texts;
  if (value == nullptr) return texts;
  if (value->as_array() == nullptr) {
    if (std::string text = ScalarText(value); !text.empty()) texts.push_back(std::move(text));
    return texts;
  }
  for (const JsonValue& item : *value->as_array()) {
    if (std::string text = ScalarText(&item); !text.empty()) texts.push_back(std::move(text));
  }
  return texts;
}

class GeneralWriter {
 public:
  GeneralWriter(const GeneralInputs& inputs, Metadata& out, std::vector<std::string>& warnings)
      : in_(inputs), out_(out), warnings_(warnings) {}

  void Write() {
    out_.Set("general.architecture", in_.architecture);
    out_.Set("general.type", "model");
    WriteSampling();
    CollectNames();
    WriteAuthorship();
  }

 private:
  const JsonValue* Card(std::initializer_list<std::string_view> keys) const {
    if (!in_.card) return nullptr;
    for (std::string_view key : keys) {
      if (const JsonValue* value = in_.card->FindNonNull(key)) return value;
    }
    return nullptr;
  }

  void SetText(std::string_view key, const std::string& text) {
    if (!text.empty()) out_.Set(Cat("general.", key), text);
  }

  void WriteSampling() {
    struct Hint {
      std::string_view config, key;
      ValueType type;
      double low = -2e9, high = 2e9;  // what a sampler can use
    };
    static constexpr Hint kHints[] = {
        {"sequence", "sequence", ValueType::kString},
        {"top_k", "top_k", ValueType::kI32},
        {"top_p", "top_p", ValueType::kF32, 0, 1},
        {"min_p", "min_p", ValueType::kF32, 0, 1},
        {"xtc_probability", "xtc_probability", ValueType::kF32, 0, 1},
        {"xtc_threshold", "xtc_threshold", ValueType::kF32, 0, 1},
        {"temperature", "temp", ValueType::kF32, 0},
        {"penalty_last_n", "penalty_last_n", ValueType::kI32},
        {"penalty_repeat", "penalty_repeat", ValueType::kF32},
        {"repetition_penalty", "penalty_repeat", ValueType::kF32},
        {"mirostat", "mirostat", ValueType::kI32},
        {"mirostat_tau", "mirostat_tau", ValueType::kF32},
        {"mirostat_eta", "mirostat_eta", ValueType::kF32},
    };
    if (!in_.generation) return;
    for (const Hint& hint : kHints) {
      const JsonValue* value = in_.generation->FindNonNull(hint.config);
      if (value == nullptr) continue;
      if (hint.config == "repetition_penalty" && !in_.states_repetition) continue;
      const std::string key = Cat("general.sampling.", hint.key);
      const auto number = value->as_double();
      const bool fits = number && hint.low <= *number && *number <= hint.high;
      if (hint.type == ValueType::kString && value->as_string() != nullptr) {
        SetText(Cat("sampling.", hint.key), *value->as_string());
      } else if (const auto real = fits ? CheckedFloat(*number) : std::nullopt;
                 hint.type == ValueType::kF32 && real) {
        out_.Set(key, *real);
      } else if (const auto whole = fits ? CheckedInteger<int32_t>(*number) : std::nullopt;
                 hint.type == ValueType::kI32 && whole) {
        out_.Set(key, *whole);
      } else {
        warnings_.push_back(Cat("generation_config.json: ", hint.config,
                                " has an unexpected value and is left out"));
      }
    }
  }

  /// First hit wins: model card, _name_or_path (with at most one slash), folder.
  void CollectNames() {
    name_ = ScalarText(Card({"name", "model_name"}));
    author_ = ScalarText(Card({"author", "model_author", "model_creator"}));
    organization_ = ScalarText(Card({"organization", "model_organization"}));
    version_ = ScalarText(Card({"version", "model_version"}));
    finetune_ = ScalarText(Card({"finetune", "model_finetune"}));
    basename_ = ScalarText(Card({"basename", "model_basename", "model_type"}));
    size_label_ = ScalarText(Card({"size_label", "model_size_label"}));
    description_ = ScalarText(Card({"description", "model_description"}));
    if (std::count(in_.config_name.begin(), in_.config_name.end(), '/') <= 1)
      TakeFrom(in_.config_name);
    TakeFrom(in_.folder);
    if (name_.empty()) name_ = in_.folder;
    if (size_label_.empty() && in_.sizes.total != 0) size_label_ = SizeLabel(in_.sizes);
  }

  void TakeFrom(const std::string& id) {
    if (id.empty()) return;
    const NameParts parts = ParseModelId(id, in_.sizes.total);
    const auto take = [](std::string& target, std::string value) {
      if (target.empty()) target = std::move(value);
    };
    take(name_, TitleOf(parts.full_name));
    take(organization_, TitleOf(parts.organization));
    take(basename_, parts.basename);
    take(finetune_, parts.finetune);
    take(version_, parts.version);
    take(size_label_, parts.size_label);
  }

  void WriteAuthorship() {
    SetText("name", name_);
    SetText("author", author_);
    SetText("version", version_);
    SetText("organization", organization_);
    SetText("finetune", finetune_);
    SetText("basename", basename_);
    SetText("description", description_);
    SetText("size_label", size_label_);
    std::string license;
    for (const std::string& text : ListTexts(Card({"license"})))
      license += Cat(license.empty() ? "" : ",", text);
    SetText("license", license);
    SetText("license.name", ScalarText(Card({"license_name"})));
    SetText("license.link", ScalarText(Card({"license_link"})));
    SetText("source.url", ScalarText(Card({"url", "model_url"})));
    SetText("source.doi", ScalarText(Card({"doi", "model_doi"})));
    SetText("source.uuid", ScalarText(Card({"uuid", "model_uuid"})));
    SetText("source.repo_url", ScalarText(Card({"repo_url", "model_repo_url"})));
    WriteOrigins("base_model", Card({"base_model", "base_models", "base_model_sources"}));
    WriteOrigins("dataset", Card({"datasets", "dataset", "dataset_sources"}));
    WriteList("tags", {Card({"tags"}), Card({"pipeline_tag"})});
    WriteList("languages", {Card({"languages"}), Card({"language"})});
  }

  void WriteList(std::string_view key, std::initializer_list<const JsonValue*> values) {
    std::vector<std::string> all;
    for (const JsonValue* value : values) {
      for (std::string& text : ListTexts(value)) all.push_back(std::move(text));
    }
    if (!all.empty()) out_.Set(Cat("general.", key), std::move(all));
  }

  void WriteOrigins(std::string_view kind, const JsonValue* value) {
    if (value == nullptr) return;
    std::vector<JsonValue> items;
    if (value->as_array() != nullptr) {
      items = *value->as_array();
    } else {
      items.push_back(*value);
    }
    std::erase_if(items, [](const JsonValue& item) {
      return !item.is_object() && ScalarText(&item).empty();
    });
    if (items.empty()) return;
    out_.Set(Cat("general.", kind, ".count"), static_cast<uint32_t>(items.size()));
    for (size_t i = 0; i < items.size(); ++i) WriteOrigin(Cat(kind, ".", i, "."), items[i]);
  }

  void WriteOrigin(const std::string& prefix, const JsonValue& item) {
    if (item.is_object()) {
      for (std::string_view key : {"name", "author", "version", "organization", "description",
                                   "url", "doi", "uuid", "repo_url"}) {
        SetText(Cat(prefix, key), ScalarText(item.Find(key)));
      }
      return;
    }
    const std::string text = ScalarText(&item);
    if (text.starts_with("http://") || text.starts_with("https://") || text.starts_with("ssh://") ||
        text.starts_with("git@")) {
      SetText(Cat(prefix, "repo_url"), text);
      return;
    }
    const NameParts parts = ParseModelId(text, in_.sizes.total);
    SetText(Cat(prefix, "name"), TitleOf(parts.full_name));
    SetText(Cat(prefix, "version"), parts.version);
    SetText(Cat(prefix, "organization"), TitleOf(parts.organization));
    if (std::count(text.begin(), text.end(), '/') == 1)
      SetText(Cat(prefix, "repo_url"), Cat("https://huggingface.co/", text));
  }

  const GeneralInputs& in_;
  Metadata& out_;
  std::vector<std::string>& warnings_;
  std::string name_, author_, organization_, version_, finetune_, basename_, size_label_,
      description_;
};

}  // namespace

void WriteGeneral(const GeneralInputs& inputs, Metadata& out, std::vector<std::string>& warnings) {
  GeneralWriter(inputs, out, warnings).Write();
}

std::string ModelFolderName(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path folder = fs::absolute(path, error).lexically_normal();
  if (error) folder = path;
  if (!folder.has_filename()) folder = folder.parent_path();
  const std::string parent = folder.parent_path().filename().string();
  const std::string cache = folder.parent_path().parent_path().filename().string();
  if (parent != "snapshots" || !cache.starts_with("models--")) return folder.filename().string();
  const std::string id = cache.substr(8);
  const size_t dashes = id.find("--");
  return dashes == std::string::npos ? id : Cat(id.substr(0, dashes), "/", id.substr(dashes + 2));
}

}  // namespace smelt
