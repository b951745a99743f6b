#include "formats/model_card.h"

#include <yaml.h>

#include <memory>
#include <string>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr int kMaxDepth = 32;

/// The lines between the markers; nullopt when the text does not begin with one.
std::optional<std::string> FrontMatter(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::string lines;
  bool inside = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line == "---") {
      if (inside) return lines;
      inside = true;
      continue;
    }
    if (!inside) return std::nullopt;
    for (char c : line) {
      if (c == '\t') {
        lines += "  ";
      } else {
        lines += c;
      }
    }
    lines += '\n';
  }
  return std::nullopt;  // never closed
}

struct Document {
  yaml_parser_t parser;
  yaml_document_t document;
  bool has_parser = false, has_document = false;
  ~Document() {
    if (has_document) yaml_document_delete(&document);
    if (has_parser) yaml_parser_delete(&parser);
  }
};

/// A YAML tree copied; aliases may point at a node many times, so the copies are counted.
class Copier {
 public:
  Copier(yaml_document_t* document, size_t budget) : document_(document), budget_(budget) {}

  std::optional<JsonValue> Copy(int index, int depth) {
    yaml_node_t* node = yaml_document_get_node(document_, index);
    if (node == nullptr || depth > kMaxDepth || budget_-- == 0) return std::nullopt;
    if (node->type == YAML_SCALAR_NODE) return Scalar(*node);
    if (node->type == YAML_SEQUENCE_NODE) {
      JsonValue::Array items;
      for (auto* item = node->data.sequence.items.start; item < node->data.sequence.items.top;
           ++item) {
        auto value = Copy(*item, depth + 1);
        if (!value) return std::nullopt;
        items.push_back(std::move(*value));
      }
      return JsonValue(std::move(items));
    }
    JsonValue::Object members;
    for (auto* pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; ++pair) {
      const auto key = Copy(pair->key, depth + 1);
      auto value = Copy(pair->value, depth + 1);
      if (!key || !value) return std::nullopt;
      members.emplace_back(key->as_string() != nullptr ? *key->as_string() : key->ToText(),
                           std::move(*value));
    }
    return JsonValue(std::move(members));
  }

 private:
  JsonValue Scalar(const yaml_node_t& node) const {
    std::string text(reinterpret_cast<const char*>(node.data.scalar.value),
                     node.data.scalar.length);
    const bool plain = node.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (plain && (text.empty() || text == "~" || text == "null")) return JsonValue();
    return JsonValue(std::move(text));
  }

  yaml_document_t* document_;
  size_t budget_;
};

}  // namespace

absl::StatusOr<std::optional<JsonValue>> ParseModelCard(std::string_view text) {
  const std::optional<std::string> yaml = FrontMatter(text);
  if (!yaml) return std::optional<JsonValue>();
  Document document;
  if (!yaml_parser_initialize(&document.parser))
    return Error(ErrorCode::kOutOfMemory, "no memory for YAML");
  document.has_parser = true;
  yaml_parser_set_input_string(&document.parser,
                               reinterpret_cast<const unsigned char*>(yaml->data()), yaml->size());
  if (!yaml_parser_load(&document.parser, &document.document)) {
    const char* problem = document.parser.problem;
    return Error(ErrorCode::kInvalidInput,
                 "front matter is no YAML: ", problem == nullptr ? "unreadable" : problem,
                 " in line ", static_cast<uint64_t>(document.parser.problem_mark.line + 2));
  }
  document.has_document = true;
  const yaml_node_t* root = yaml_document_get_root_node(&document.document);
  if (root == nullptr) return std::optional<JsonValue>();
  if (root->type != YAML_MAPPING_NODE)
    return Error(ErrorCode::kInvalidInput, "front matter is no YAML mapping");
  auto value = Copier(&document.document, yaml->size() + 16).Copy(1, 0);
  if (!value) return Error(ErrorCode::kInvalidInput, "front matter is nested or repeated too much");
  return std::optional<JsonValue>(std::move(*value));
}

}  // namespace smelt
