#include "formats/model_card.h"

#include <yaml.h>

#include <memory>
#include <new>
#include <string>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr int kMaxDepth = 32;
// libyaml compares every anchor and every %TAG with all before it, and every level of nesting costs
// at every token. Cards of embedding models carry their benchmark results, some hundred KiB of
// them.
constexpr size_t kMaxBytes = 2 << 20;
constexpr int kMaxAnchors = 256;

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

struct Events {
  yaml_parser_t parser;
  bool has_parser = false;
  ~Events() {
    if (has_parser) yaml_parser_delete(&parser);
  }
};

// Memory that runs out is no fault of the card, which would only be left out. libyaml's loader does
// not always say so: it fails without an error where it copies a tag.
absl::Status NotYaml(const yaml_parser_t& parser) {
  if (parser.error == YAML_MEMORY_ERROR || parser.error == YAML_NO_ERROR) throw std::bad_alloc();
  return Error(ErrorCode::kInvalidInput, "front matter is no YAML: ",
               parser.problem == nullptr ? "unreadable" : parser.problem, " in line ",
               static_cast<uint64_t>(parser.problem_mark.line + 2));
}

const yaml_char_t* AnchorOf(const yaml_event_t& event) {
  if (event.type == YAML_SCALAR_EVENT) return event.data.scalar.anchor;
  if (event.type == YAML_SEQUENCE_START_EVENT) return event.data.sequence_start.anchor;
  if (event.type == YAML_MAPPING_START_EVENT) return event.data.mapping_start.anchor;
  return nullptr;
}

/// Refuses what libyaml's loader, which has no limits, would take quadratic time for.
absl::Status CheckLimits(const std::string& yaml) {
  if (yaml.size() > kMaxBytes) {
    return Error(ErrorCode::kInvalidInput, "front matter has ", yaml.size(),
                 " bytes, more than the ", kMaxBytes, " that are read");
  }
  int tags = 0;
  for (size_t at = 0; (at = yaml.find("%TAG", at)) != std::string::npos; ++at) ++tags;
  if (tags > kMaxAnchors)
    return Error(ErrorCode::kInvalidInput, "front matter has ", tags, " %TAG directives");
  Events events;
  if (!yaml_parser_initialize(&events.parser)) throw std::bad_alloc();
  events.has_parser = true;
  yaml_parser_set_input_string(&events.parser, reinterpret_cast<const unsigned char*>(yaml.data()),
                               yaml.size());
  yaml_parser_set_encoding(&events.parser, YAML_UTF8_ENCODING);
  int depth = 0, anchors = 0;
  for (bool more = true; more;) {
    yaml_event_t event;
    if (!yaml_parser_parse(&events.parser, &event)) return NotYaml(events.parser);
    const yaml_event_type_t type = event.type;
    if (AnchorOf(event) != nullptr) ++anchors;
    yaml_event_delete(&event);
    if (type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT) ++depth;
    if (type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT) --depth;
    if (depth > kMaxDepth || anchors > kMaxAnchors) {
      return Error(ErrorCode::kInvalidInput, "front matter is nested deeper than ", kMaxDepth,
                   " levels or has more than ", kMaxAnchors, " anchors");
    }
    more = type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT;
  }
  return absl::OkStatus();
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
  SMELT_RETURN_IF_ERROR(CheckLimits(*yaml));
  Document document;
  if (!yaml_parser_initialize(&document.parser)) throw std::bad_alloc();
  document.has_parser = true;
  yaml_parser_set_input_string(&document.parser,
                               reinterpret_cast<const unsigned char*>(yaml->data()), yaml->size());
  yaml_parser_set_encoding(&document.parser, YAML_UTF8_ENCODING);
  if (!yaml_parser_load(&document.parser, &document.document)) return NotYaml(document.parser);
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
