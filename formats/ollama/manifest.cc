#include "formats/ollama/manifest.h"

#include <algorithm>
#include <iterator>

#include "formats/ollama/name.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt::ollama {
namespace {

struct FileTypeName {
  uint32_t id;
  std::string_view name;
};

/// Names of general.file_type that Ollama knows. 0 (F32) is taken for missing there and comes out
/// as unknown.
constexpr FileTypeName kFileTypes[] = {
    {1, "F16"},      {2, "Q4_0"},       {3, "Q4_1"},    {7, "Q8_0"},    {8, "Q5_0"},
    {9, "Q5_1"},     {10, "Q2_K"},      {11, "Q3_K_S"}, {12, "Q3_K_M"}, {13, "Q3_K_L"},
    {14, "Q4_K_S"},  {15, "Q4_K_M"},    {16, "Q5_K_S"}, {17, "Q5_K_M"}, {18, "Q6_K"},
    {19, "IQ2_XXS"}, {20, "IQ2_XS"},    {21, "Q2_K_S"}, {22, "IQ3_XS"}, {23, "IQ3_XXS"},
    {24, "IQ1_S"},   {25, "IQ4_NL"},    {26, "IQ3_S"},  {27, "IQ3_M"},  {28, "IQ2_S"},
    {29, "IQ2_M"},   {30, "IQ4_XS"},    {31, "IQ1_M"},  {32, "BF16"},   {36, "TQ1_0"},
    {37, "TQ2_0"},   {38, "MXFP4_MOE"}, {39, "NVFP4"},  {40, "Q1_0"},
};

std::string FileTypeText(const Metadata& metadata) {
  const MetadataValue* value = metadata.Find("general.file_type");
  const uint32_t* id = value == nullptr ? nullptr : value->get_if<uint32_t>();
  if (id != nullptr) {
    for (const FileTypeName& type : kFileTypes) {
      if (type.id == *id) return std::string(type.name);
    }
  }
  return "unknown";
}

std::string LayerText(const Layer& layer) {
  std::string out = Cat("{\"mediaType\":", GoJsonString(layer.media_type),
                        ",\"digest\":", GoJsonString(layer.digest), ",\"size\":", layer.size);
  if (!layer.from.empty()) out += Cat(",\"from\":", GoJsonString(layer.from));
  return out + "}";
}

/// The first JSON value of a text that may go on after it.
std::string_view FirstValue(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (--depth <= 0) return text.substr(0, i + 1);
    }
  }
  return text;
}

absl::StatusOr<Layer> ReadLayer(const JsonValue& value, std::string_view file) {
  Layer layer;
  const auto text = [&value](std::string_view key) {
    const JsonValue* member = value.Find(key);
    const std::string* string = member == nullptr ? nullptr : member->as_string();
    return string == nullptr ? std::string() : *string;
  };
  layer.media_type = text("mediaType");
  layer.digest = text("digest");
  layer.from = text("from");
  const JsonValue* size = value.Find("size");
  const int64_t bytes = size == nullptr ? -1 : size->as_int().value_or(-1);
  const std::string blob = BlobName(layer.digest);
  if (!value.is_object() || blob.empty() || bytes < 0) {
    return Error(ErrorCode::kInvalidInput, file,
                 ": damaged manifest: a layer has no valid digest and size");
  }
  // As "sha256-..." Ollama opens a blob, but prunes it.
  layer.digest = Cat("sha256:", blob.substr(blob.find('-') + 1));
  layer.size = static_cast<uint64_t>(bytes);
  return layer;
}

}  // namespace

std::string GoJsonString(std::string_view text) {
  std::string out = "\"";
  const auto unicode = [&out](unsigned code) {
    static constexpr char kDigits[] = "0123456789abcdef";
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[code >> shift & 15];
  };
  for (size_t i = 0; i < text.size();) {
    const Utf8Char decoded = DecodeUtf8(text.substr(i));
    const char32_t c = decoded.valid ? decoded.code_point : 0xfffd;
    const std::string_view bytes = text.substr(i, decoded.length);
    i += decoded.length;
    static constexpr std::string_view kControl = "\b\f\n\r\t", kLetter = "bfnrt";
    if (!decoded.valid || c == '<' || c == '>' || c == '&' || c == 0x2028 || c == 0x2029) {
      unicode(static_cast<unsigned>(c));
    } else if (c == '"' || c == '\\') {
      out += {'\\', static_cast<char>(c)};
    } else if (c >= 0x20) {
      out += bytes;
    } else if (const size_t at = kControl.find(static_cast<char>(c)); at != kControl.npos) {
      out += {'\\', kLetter[at]};
    } else {
      unicode(static_cast<unsigned>(c));
    }
  }
  return out + "\"";
}

std::string BlobName(std::string_view digest) {
  constexpr size_t kPrefix = 7;
  if (!digest.starts_with("sha256:") && !digest.starts_with("sha256-")) return "";
  const std::string_view hex = digest.substr(kPrefix);
  const bool valid = hex.size() == 64 && std::all_of(hex.begin(), hex.end(), [](char c) {
                       return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                     });
  return valid ? Cat("sha256-", hex) : "";
}

absl::StatusOr<Config> ConfigOf(const GgufFile& file) {
  Config config;
  absl::StatusOr<std::string> family = file.metadata.String("general.architecture");
  if (!family.ok()) return Prefixed(Cat(Escape(file.files.front()->name()), ": "), family.status());
  config.family = *std::move(family);
  uint64_t parameters = 0;
  for (const GgufTensor& tensor : file.tensors) parameters += tensor.elements();
  config.parameters = ParameterText(parameters);
  config.file_type = FileTypeText(file.metadata);
  return config;
}

absl::StatusOr<Config> ReadConfig(std::string_view text, std::string_view file) {
  SMELT_ASSIGN_OR_RETURN(const JsonValue root, ParseJsonValue(FirstValue(text), file));
  const auto member = [&root](std::string_view key) {
    const JsonValue* value = root.Find(key);
    const std::string* string = value == nullptr ? nullptr : value->as_string();
    return string == nullptr ? std::string() : *string;
  };
  Config config;
  config.format = member("model_format");
  config.family = member("model_family");
  config.parameters = member("model_type");
  config.file_type = member("file_type");
  config.renderer = member("renderer");
  config.parser = member("parser");
  config.least_ollama = member("requires");
  return config;
}

std::string WriteConfig(const Config& config) {
  std::string digests;
  for (const std::string& digest : config.layers) {
    digests += Cat(digests.empty() ? "" : ",", GoJsonString(digest));
  }
  const std::string family = GoJsonString(config.family);
  std::string families = family;
  for (size_t i = 0; i < config.adapters; ++i) families += Cat(",", family);
  const auto optional = [](std::string_view key, std::string_view value) {
    return value.empty() ? "" : Cat(",\"", key, "\":", GoJsonString(value));
  };
  return Cat(
      "{\"model_format\":", GoJsonString(config.format), ",\"model_family\":", family,
      ",\"model_families\":[", families, "],\"model_type\":", GoJsonString(config.parameters),
      ",\"file_type\":", GoJsonString(config.file_type), optional("renderer", config.renderer),
      optional("parser", config.parser), optional("requires", config.least_ollama),
      ",\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[",
      digests, "]}}\n");
}

std::string WriteManifest(const Manifest& manifest) {
  std::string layers;
  for (const Layer& layer : manifest.layers) {
    layers += Cat(layers.empty() ? "" : ",", LayerText(layer));
  }
  return Cat(
      "{\"schemaVersion\":2,\"mediaType\":\"application/"
      "vnd.docker.distribution.manifest.v2+json\",",
      "\"config\":", LayerText(manifest.config), ",\"layers\":[", layers, "]}\n");
}

absl::StatusOr<Manifest> ReadManifest(std::string_view text, std::string_view file) {
  SMELT_ASSIGN_OR_RETURN(const JsonValue root, ParseJsonValue(FirstValue(text), file));
  const std::string name = Escape(file);
  const JsonValue* layers = root.Find("layers");
  if (layers == nullptr || layers->as_array() == nullptr) {
    return Error(ErrorCode::kInvalidInput, name, ": damaged manifest: it has no list of layers");
  }
  Manifest manifest;
  if (const JsonValue* config = root.FindNonNull("config")) {
    absl::StatusOr<Layer> layer = ReadLayer(*config, name);
    if (layer.ok())
      manifest.config = *std::move(layer);  // a missing one is tolerated, as by Ollama
  }
  for (const JsonValue& value : *layers->as_array()) {
    SMELT_ASSIGN_OR_RETURN(Layer layer, ReadLayer(value, name));
    manifest.layers.push_back(std::move(layer));
  }
  return manifest;
}

}  // namespace smelt::ollama
