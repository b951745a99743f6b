// Quantized weights against the values that the quantizers' own libraries give back
// (testdata/quantized), and damaged ones.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <regex>
#include <span>

#include "formats/quantized/join.h"
#include "formats/quantized/stored_matrix.h"
#include "formats/safetensors.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

struct Case {
  std::string name, weight;
  JsonValue config;
  Container container;
  std::vector<float> expected;

  QuantizationConfig Config() const {
    QuantizationConfig out;
    out.key = "quantization_config";
    out.dictionary = &config;
    if (const JsonValue* method = config.FindNonNull("quant_method"))
      out.method = *method->as_string();
    if (out.method.empty() && config.FindNonNull("bits") != nullptr) out.method = "mlx";
    return out;
  }
};

JsonValue Cases() {
  const std::string path = testing::TestdataPath("quantized/vectors/cases.json");
  return *ParseJsonValue(testing::ReadFile(path), path);
}

std::vector<std::string> CaseNames() {
  std::vector<std::string> names;
  const JsonValue cases = Cases();
  for (const auto& [name, value] : *cases.as_object()) names.push_back(name);
  return names;
}

Case Open(const std::string& name) {
  Case out;
  out.name = name;
  const JsonValue all = Cases();
  const JsonValue& row = *all.Find(name);
  out.weight = *row.Find("weight")->as_string();
  out.config = *row.Find("config");
  out.container =
      *OpenSafetensors(testing::TestdataPath(Cat("quantized/vectors/", name, ".safetensors")));
  std::erase_if(out.container.tensors, [&](const RawTensor& tensor) {
    if (tensor.name != "expected") return false;
    out.expected = *ReadAllFloats(tensor, 1 << 24);
    return true;
  });
  return out;
}

absl::Status Join(Case& c) {
  std::vector<QuantizedCount> counts;
  std::vector<std::string> notes;
  return JoinQuantized(c.Config(), c.container, counts, notes);
}

class QuantizedVectors : public ::testing::TestWithParam<std::string> {};

TEST_P(QuantizedVectors, HaveTheLibrarysValues) {
  Case c = Open(GetParam());
  SMELT_ASSERT_OK(Join(c));
  ASSERT_EQ(c.container.tensors.size(), 1u);
  const RawTensor& tensor = c.container.tensors[0];
  EXPECT_EQ(tensor.name, c.weight);
  ASSERT_EQ(tensor.elements(), c.expected.size());
  ASSERT_NE(tensor.computed, nullptr);
  const uint64_t columns = tensor.shape.back(), rows = tensor.elements() / columns;
  const struct {
    uint64_t first, count;
  } parts[] = {{0, rows}, {5, 3}, {rows - 1, 1}, {1, rows - 2}};
  for (const auto& part : parts) {
    std::vector<float> values(part.count * columns, -1);
    SMELT_ASSERT_OK(tensor.computed->ReadRows(part.first, part.count, values.data()));
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i], c.expected[part.first * columns + i])
          << "row " << part.first + i / columns << ", column " << i % columns;
    }
  }
}

// A part that is missing, of another shape or of another type is named, or was not needed.
TEST_P(QuantizedVectors, DamagedOnesAreNamed) {
  const size_t count = Open(GetParam()).container.tensors.size();
  const auto check = [&](Case& c, const std::string& what) {
    const absl::Status status = Join(c);
    if (!status.ok()) {
      EXPECT_LT(status.message().size(), 400u) << what << ": " << status;
      EXPECT_NE(CodeOf(status), ErrorCode::kInternal) << what << ": " << status;
      return;
    }
    for (const RawTensor& tensor : c.container.tensors) {
      if (tensor.computed == nullptr) continue;
      const uint64_t columns = tensor.shape.back(), rows = tensor.elements() / columns;
      std::vector<float> values(tensor.elements());
      const absl::Status read = tensor.computed->ReadRows(0, rows, values.data());
      if (!read.ok()) {
        EXPECT_LT(read.message().size(), 400u) << what << ": " << read;
        EXPECT_NE(CodeOf(read), ErrorCode::kInternal) << what << ": " << read;
      }
    }
  };
  for (size_t i = 0; i < count; ++i) {
    Case without = Open(GetParam());
    const std::string name = without.container.tensors[i].name;
    without.container.tensors.erase(without.container.tensors.begin() + static_cast<ptrdiff_t>(i));
    check(without, "without " + name);
    for (size_t d = 0; d < Open(GetParam()).container.tensors[i].shape.size(); ++d) {
      Case shorter = Open(GetParam());
      RawTensor& tensor = shorter.container.tensors[i];
      if (tensor.shape[d] == 0) continue;
      --tensor.shape[d];
      tensor.strides = ContiguousStrides(tensor.shape);
      check(shorter, "shorter " + name);
    }
    for (const RawType type : {RawType::kU8, RawType::kI8, RawType::kF16, RawType::kF32,
                               RawType::kI32, RawType::kBool}) {
      Case other = Open(GetParam());
      RawTensor& tensor = other.container.tensors[i];
      if (BitsOf(type) > BitsOf(tensor.dtype)) continue;
      tensor.dtype = type;
      check(other, Cat(name, " as ", Name(type)));
    }
  }
  for (const std::string_view config :
       {R"({"bits":7,"group_size":7,"quant_method":"gptq"})", R"({"bits":4,"group_size":-1})",
        R"({"bits":0,"group_size":0,"weight_block_size":[0,-3]})",
        R"({"group_size":9223372036854775807,"bits":-9223372036854775808})",
        R"({"config_groups":{"a":{"weights":{"num_bits":77}},"b":3}})", "{}"}) {
    Case other = Open(GetParam());
    other.config = *ParseJsonValue(config, "config.json");
    check(other, std::string(config));
  }
}

INSTANTIATE_TEST_SUITE_P(Libraries, QuantizedVectors, ::testing::ValuesIn(CaseNames()),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

/// A stored tensor of these bytes.
RawTensor Stored(std::string name, RawType type, std::vector<uint64_t> shape,
                 const std::vector<std::byte>& bytes) {
  RawTensor tensor;
  tensor.name = std::move(name);
  tensor.dtype = type;
  tensor.shape = std::move(shape);
  tensor.strides = ContiguousStrides(tensor.shape);
  tensor.storage = MemoryStorage(tensor.name, bytes);
  return tensor;
}
std::vector<std::byte> Floats(const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

// As many scales as rows are still those of blocks, or of columns, when their shape says so.
TEST(QuantizedWeights, ShapesSayWhatScalesBelongTo) {
  constexpr uint64_t kRows = 32, kColumns = 256;
  const std::vector<std::byte> ones(kRows * kColumns, std::byte{0x38});
  std::vector<float> counted(kRows), by_column(kColumns);
  for (size_t i = 0; i < kRows; ++i) counted[i] = static_cast<float>(i + 1);
  for (size_t i = 0; i < kColumns; ++i) by_column[i] = static_cast<float>(i + 1);
  const struct {
    std::vector<uint64_t> shape;
    const std::vector<float>& scales;
    float expected;  ///< of row 17, column 33
  } cases[] = {
      {{2, 16}, counted, 19},     // blocks of 16 x 16: the second line, the third of it
      {{kRows, 1}, counted, 18},  // rows
      {{kRows}, counted, 18},
      {{1, kColumns}, by_column, 34},
  };
  const JsonValue dictionary = *ParseJsonValue(R"({"weight_block_size":[16,16]})", "config.json");
  for (const auto& c : cases) {
    Container container;
    container.tensors = {Stored("layer.weight", RawType::kF8_E4M3, {kRows, kColumns}, ones),
                         Stored("layer.weight_scale", RawType::kF32, c.shape, Floats(c.scales))};
    QuantizationConfig config;
    config.method = "fp8";
    config.dictionary = &dictionary;
    std::vector<QuantizedCount> counts;
    std::vector<std::string> notes;
    SMELT_ASSERT_OK(JoinQuantized(config, container, counts, notes));
    std::vector<float> row(kColumns);
    SMELT_ASSERT_OK(container.tensors[0].computed->ReadRows(17, 1, row.data()));
    EXPECT_EQ(row[33], c.expected) << ShapeText(c.shape);
  }
}

// Bytes of another meaning are no codes.
TEST(QuantizedWeights, TypesThatHoldNoCodesAreNamed) {
  const std::vector<std::byte> zeros(8192);
  const std::vector<std::vector<RawTensor>> cases = {
      {Stored("l.weight_blocks", RawType::kF32, {2, 1, 16}, zeros),
       Stored("l.weight_scales", RawType::kU8, {2, 1}, zeros)},
      {Stored("l.weight_packed", RawType::kU8, {2, 16}, zeros),
       Stored("l.weight_scale", RawType::kU8, {}, zeros)},
      {Stored("l.qweight", RawType::kF32, {16, 128}, zeros),
       Stored("l.qzeros", RawType::kI32, {1, 16}, zeros),
       Stored("l.scales", RawType::kF16, {1, 128}, zeros)},
  };
  for (const std::vector<RawTensor>& tensors : cases) {
    Container container;
    container.tensors = tensors;
    QuantizationConfig config;
    const JsonValue dictionary = *ParseJsonValue(R"({"bits":4})", "config.json");
    config.dictionary = &dictionary;
    std::vector<QuantizedCount> counts;
    std::vector<std::string> notes;
    const absl::Status status = JoinQuantized(config, container, counts, notes);
    EXPECT_FALSE(status.ok()) << tensors[0].name;
    EXPECT_NE(CodeOf(status), ErrorCode::kInternal) << status;
  }
}

// Group indices come from a file.
TEST(QuantizedWeights, AGroupThatIsNotThereIsNamed) {
  Case c = Open("gptq-v2-8");
  for (RawTensor& tensor : c.container.tensors) {
    if (!tensor.name.ends_with("g_idx")) continue;
    std::vector<std::byte> bytes(tensor.elements() * 4, std::byte{0x7f});
    tensor.storage = MemoryStorage("groups", bytes);
    tensor.offset = 0;
  }
  SMELT_ASSERT_OK(Join(c));
  const RawTensor& tensor = c.container.tensors[0];
  std::vector<float> values(tensor.elements());
  const absl::Status status = tensor.computed->ReadRows(0, tensor.shape[0], values.data());
  EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
  EXPECT_NE(status.message().find("layer.g_idx: column 0 is in group"), absl::string_view::npos)
      << status;
}

// The tensor and the place of a scale that is no number, not of the weights that it spoils.
TEST(QuantizedWeights, AScaleThatIsNoNumberIsNamed) {
  for (const auto& [name, part] :
       {std::pair("gptq-v2-8", "layer.scales"), std::pair("awq-gemv", "layer.scales"),
        std::pair("ct-int3", "layer.weight_scale"), std::pair("fp8-deepseek", "layer.scale"),
        std::pair("bnb-nf4", "layer.weight.absmax"), std::pair("ct-nvfp4", "layer.weight_scale"),
        std::pair("hqq-4-axis1", "layer.scale"), std::pair("mlx-4", "layer.biases"),
        std::pair("quark-mxfp4", "layer.weight_scale")}) {
    Case c = Open(name);
    for (RawTensor& tensor : c.container.tensors) {
      if (tensor.name != part) continue;
      tensor.storage =
          MemoryStorage("ones", std::vector<std::byte>(tensor.elements() * 8, std::byte{0xff}));
      tensor.offset = 0;
    }
    absl::Status status = Join(c);
    if (status.ok()) {
      const RawTensor& tensor = c.container.tensors[0];
      std::vector<float> values(tensor.shape.back());
      status = tensor.computed->ReadRows(0, 1, values.data());
    }
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << name;
    for (const char* said : {part, "NaN", "(counted from 0)"})
      EXPECT_NE(status.message().find(said), absl::string_view::npos) << name << ": " << status;
  }
}

// A module of MLX with settings of its own takes nothing from those of all.
TEST(QuantizedWeights, ModulesOfMlxHaveTheirOwnDefaults) {
  const std::vector<float> expected = Open("mlx-4").expected;
  for (const char* own : {R"({"group_size":64,"bits":4})", R"({"bits":4})"}) {
    Case c = Open("mlx-4");
    c.config = *ParseJsonValue(
        Cat(R"({"group_size":32,"bits":4,"mode":"mxfp4","layer":)", own, "}"), "config.json");
    SMELT_ASSERT_OK(Join(c));
    const RawTensor& tensor = c.container.tensors[0];
    std::vector<float> values(tensor.elements());
    SMELT_ASSERT_OK(
        tensor.computed->ReadRows(0, values.size() / tensor.shape.back(), values.data()));
    EXPECT_EQ(values, expected) << own;
  }
}

// A group size that the shapes contradict: the tensor and the key are named, also where every
// column names its group.
TEST(QuantizedWeights, AGroupSizeThatContradictsTheScalesIsNamed) {
  const std::regex size(R"("group_size": ?(32|64))"), block(R"("weight_block_size": ?\[[^\]]*)");
  for (const char* name : {"auto-round-gptq-4", "auto-round-awq", "mlx-4", "ct-int4-asym",
                           "gptq-v2-8", "fp8-deepseek"}) {
    Case c = Open(name);
    std::string text = c.config.ToText();
    text = std::regex_replace(text, size, "\"group_size\":48");
    text = std::regex_replace(text, block, "\"weight_block_size\":[64,64");
    ASSERT_NE(text, c.config.ToText()) << name;
    c.config = *ParseJsonValue(text, "config.json");
    const absl::Status status = Join(c);
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << name << ": " << status;
    for (const char* said : {"scale", "config.json"})
      EXPECT_NE(status.message().find(said), absl::string_view::npos) << name << ": " << status;
  }
}

// What config.json or another part says must be there, and agree.
TEST(QuantizedWeights, PartsOfBitsandbytesAndHqqAreMissedByName) {
  const auto message = [](Case& c) { return std::string(Join(c).message()); };
  const auto without = [](const std::string& name, const std::string& part) {
    Case c = Open(name);
    std::erase_if(c.container.tensors,
                  [&](const RawTensor& t) { return t.name.find(part) != std::string::npos; });
    return c;
  };
  Case absmax = without("bnb-nf4", "absmax"), state = without("bnb-nf4", "quant_state");
  EXPECT_NE(message(absmax).find("layer.weight.absmax is missing"), std::string::npos);
  EXPECT_NE(message(state).find("quant_state.bitsandbytes__nf4"), std::string::npos);
  const std::vector<std::byte> zeros(4096);
  Case eight = Open("bnb-nf4");
  eight.container.tensors = {Stored("layer.weight", RawType::kI8, {16, 32}, zeros)};
  EXPECT_NE(message(eight).find("layer.SCB is missing"), std::string::npos);
  Case axis = Open("hqq-4-axis1");
  for (RawTensor& tensor : axis.container.tensors) {
    if (tensor.name != "layer.axis") continue;
    tensor.storage = MemoryStorage("zero", std::vector<std::byte>(8));
    tensor.offset = 0;
  }
  EXPECT_NE(message(axis).find("axis 0"), std::string::npos) << message(axis);
  Case numbers = without("hqq-4-axis1", "nbits");
  EXPECT_NE(message(numbers).find("layer.nbits is missing"), std::string::npos);
  std::erase_if(numbers.container.tensors,
                [](const RawTensor& t) { return t.name.ends_with(".shape"); });
  EXPECT_NE(message(numbers).find("save_to_safetensors"), std::string::npos);
}

// Integers that config.json gives zero points mean something else without.
TEST(QuantizedWeights, ZeroPointsThatAreSaidAreNeeded) {
  for (const char* name : {"ct-int4-asym", "ct-int5-asym-actorder", "ct-int4-tensor"}) {
    Case c = Open(name);
    std::erase_if(c.container.tensors,
                  [](const RawTensor& t) { return t.name.ends_with("zero_point"); });
    const absl::Status status = Join(c);
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << name;
    EXPECT_NE(status.message().find("layer.weight_zero_point is missing"), absl::string_view::npos)
        << name << ": " << status;
  }
  Case eight = Open("ct-int8-group-96");
  eight.config = *ParseJsonValue(
      R"({"config_groups":{"a":{"weights":{"num_bits":8,"group_size":96,"symmetric":false}}}})",
      "c");
  EXPECT_NE(Join(eight).message().find("zero_point is missing"), absl::string_view::npos);
}

// A group size that modules have by a pattern, and one that nobody says and nothing follows from.
TEST(QuantizedWeights, GroupsOfModulesAreFoundByTheirSize) {
  const std::vector<std::byte> zeros(1 << 16);
  const struct {
    const char* config;
    float expected;  ///< of row 1, column 224, in the first group of 256 or the second of 192
  } cases[] = {{R"({"quant_method":"gptq","bits":4,"group_size":128,"desc_act":false,"dynamic":)"
                R"({"+:.*layer":{"group_size":256}}})",
                1},
               {R"({"quant_method":"gptq","bits":4,"group_size":192})", 2},
               {R"({"quant_method":"gptq","bits":4})", 0}};
  for (const auto& c : cases) {
    const JsonValue dictionary = *ParseJsonValue(c.config, "config.json");
    std::vector<std::byte> zero_points(64);
    for (size_t i = 32; i < 64; ++i) zero_points[i] = std::byte{0x11};  // of the second group
    Container container;
    container.tensors = {
        Stored("layer.qweight", RawType::kI32, {48, 64}, zeros),
        Stored("layer.qzeros", RawType::kI32, {2, 8}, zero_points),
        Stored("layer.scales", RawType::kF32, {2, 64}, Floats(std::vector<float>(128, -1)))};
    QuantizationConfig config;
    config.method = "gptq";
    config.dictionary = &dictionary;
    std::vector<QuantizedCount> counts;
    std::vector<std::string> notes;
    const absl::Status status = JoinQuantized(config, container, counts, notes);
    if (c.expected == 0) {
      EXPECT_NE(status.message().find("is not said"), absl::string_view::npos) << status;
      continue;
    }
    SMELT_ASSERT_OK(status);
    std::vector<float> row(384);
    SMELT_ASSERT_OK(container.tensors[0].computed->ReadRows(1, 1, row.data()));
    EXPECT_EQ(row[224], c.expected) << c.config;
    // A g_idx that was left at its beginning means the same, where the size is known.
    container.tensors = {
        Stored("layer.qweight", RawType::kI32, {48, 64}, zeros),
        Stored("layer.qzeros", RawType::kI32, {2, 8}, zero_points),
        Stored("layer.scales", RawType::kF32, {2, 64}, Floats(std::vector<float>(128, -1))),
        Stored("layer.g_idx", RawType::kI32, {384}, zeros)};
    SMELT_ASSERT_OK(JoinQuantized(config, container, counts, notes));
    SMELT_ASSERT_OK(container.tensors[0].computed->ReadRows(1, 1, row.data()));
    EXPECT_EQ(row[224], c.expected) << c.config;
  }
  Container container;
  container.tensors = {
      Stored("layer.qweight", RawType::kI32, {48, 64}, zeros),
      Stored("layer.qzeros", RawType::kI32, {2, 8}, zeros),
      Stored("layer.scales", RawType::kF32, {2, 64}, Floats(std::vector<float>(128, -1))),
      Stored("layer.g_idx", RawType::kI32, {384}, zeros)};
  std::vector<QuantizedCount> counts;
  std::vector<std::string> notes;
  SMELT_ASSERT_OK(JoinQuantized({}, container, counts, notes));
  std::vector<float> row(384);
  const absl::Status read = container.tensors[0].computed->ReadRows(1, 1, row.data());
  EXPECT_NE(read.message().find("layer.g_idx has every column in group 0 of 2"),
            absl::string_view::npos)
      << read;
}

TEST(QuantizedWeights, FormatsThatAreNotReadAreNamed) {
  for (const auto& [name, format] :
       {std::pair("layer.codebooks", "AQLM"), std::pair("layer.q_weight", "EXL2"),
        std::pair("layer.trellis", "EXL3"), std::pair("layer.centroids.weight", "VPTQ"),
        std::pair("layer.B", "Marlin"), std::pair("layer_weight_qdata", "torchao"),
        std::pair("layer.weight.bitmask", "sparse"),
        std::pair("layer.pre_quant_scale", "scaled inputs")}) {
    Container container;
    container.tensors.push_back({.name = name,
                                 .dtype = RawType::kI32,
                                 .shape = {1},
                                 .strides = {1},
                                 .storage = MemoryStorage("x", std::vector<std::byte>(4))});
    std::vector<QuantizedCount> counts;
    std::vector<std::string> notes;
    const absl::Status status = JoinQuantized({}, container, counts, notes);
    EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
    EXPECT_NE(status.message().find(format), absl::string_view::npos) << status;
  }
}

}  // namespace
}  // namespace smelt
