// tokenizer.chat_template*.
#include <algorithm>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/spec/json_members.h"

namespace smelt {
namespace {

bool NameChar(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

}  // namespace

absl::Status WriteChatTemplates(const TokenizerFolder& folder, Metadata& out) {
  std::vector<std::pair<std::string, std::string>> named;
  // As in transformers: files of templates count instead of those in tokenizer_config.json.
  if (folder.chat_template_file) named.emplace_back("default", *folder.chat_template_file);
  named.insert(named.end(), folder.additional_templates.begin(), folder.additional_templates.end());
  const JsonValue* value = named.empty() ? folder.config.FindNonNull("chat_template") : nullptr;
  if (named.empty() && value == nullptr)
    value = folder.chat_template_json.FindNonNull("chat_template");
  if (value != nullptr && value->is_string()) {
    named.emplace_back("default", *value->as_string());
  } else if (value != nullptr && value->is_array()) {
    for (const JsonValue& item : *value->as_array()) {
      const std::string name = TextOf(item, "name");
      const JsonValue* text = item.FindNonNull("template");
      if (text == nullptr || !text->is_string() || name.empty()) {
        return Error(ErrorCode::kInvalidInput, folder.path,
                     ": chat_template is a list whose entries are not all texts with a name");
      }
      named.emplace_back(name, *text->as_string());
    }
  } else if (value != nullptr) {
    return Error(ErrorCode::kInvalidInput, folder.path, ": chat_template is ", value->KindName(),
                 ", neither a text nor a list of named ones");
  }
  const std::string* standard = nullptr;
  std::vector<std::string> names;
  for (auto& [name, text] : named) {
    std::replace_if(
        name.begin(), name.end(), [](char c) { return !NameChar(c); }, '_');
    if (name == "default") {
      standard = &text;
      continue;
    }
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    out.Set(Cat("tokenizer.chat_template.", name), text);
  }
  if (!names.empty()) out.Set("tokenizer.chat_templates", names);
  if (standard != nullptr) out.Set("tokenizer.chat_template", *standard);
  return absl::OkStatus();
}

}  // namespace smelt
