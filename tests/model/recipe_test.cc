// Recipes against a plain reference that works on whole matrices in memory.
#include "lib/model/recipe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "lib/base/float16.h"
#include "lib/base/status.h"
#include "lib/model/recipe_source.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

struct Matrix {
  uint64_t rows = 0, columns = 0;
  std::vector<float> values;
  float at(uint64_t r, uint64_t c) const { return values[r * columns + c]; }
};

Matrix RandomMatrix(uint64_t rows, uint64_t columns, uint32_t seed) {
  std::mt19937 random(seed);
  Matrix m{rows, columns, std::vector<float>(rows * columns)};
  for (float& v : m.values)
    v = Bf16ToF32(F32ToBf16(static_cast<float>(random() % 4001) / 1000 - 2));
  return m;
}

RawTensor Raw(std::string name, RawType type, std::vector<uint64_t> shape,
              const std::vector<float>& values) {
  RawTensor tensor;
  tensor.name = std::move(name);
  tensor.dtype = type;
  tensor.shape = std::move(shape);
  int64_t step = 1;
  tensor.strides.resize(tensor.shape.size());
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    tensor.strides[i] = step;
    step *= static_cast<int64_t>(tensor.shape[i]);
  }
  std::vector<std::byte> bytes(7);  // an odd offset
  const auto append = [&bytes](const auto& v) {
    const auto* p = reinterpret_cast<const std::byte*>(&v);
    bytes.insert(bytes.end(), p, p + sizeof v);
  };
  for (float v : values) {
    if (type == RawType::kF64) append(static_cast<double>(v));
    if (type == RawType::kF32) append(v);
    if (type == RawType::kF16) append(F32ToF16(v));
    if (type == RawType::kBF16) append(F32ToBf16(v));
    if (type == RawType::kI8) append(static_cast<int8_t>(v));
  }
  tensor.offset = 7;
  tensor.storage = MemoryStorage("memory", std::move(bytes));
  return tensor;
}

RecipeTensor Tensor(std::string name, std::vector<uint64_t> ne, Recipe recipe) {
  RecipeTensor tensor;
  tensor.name = std::move(name);
  tensor.shape.dims = static_cast<int>(ne.size());
  std::copy(ne.begin(), ne.end(), tensor.shape.ne.begin());
  tensor.recipe = std::move(recipe);
  return tensor;
}

std::unique_ptr<ModelSource> Source(RecipeTensor tensor) {
  std::vector<RecipeTensor> tensors;
  tensors.push_back(std::move(tensor));
  auto source = MakeRecipeSource("test", Metadata(), std::move(tensors), {}, "");
  EXPECT_TRUE(source.ok()) << source.status().ToString();
  return source.ok() ? *std::move(source) : nullptr;
}

/// Every way of reading gives the same as `expected`, in tiles of several heights.
void ExpectRows(const ModelSource& source, const std::vector<float>& expected) {
  const Shape shape = source.tensors()[0].shape;
  ASSERT_EQ(shape.elements(), expected.size());
  for (uint64_t height : {uint64_t{1}, uint64_t{3}, uint64_t{7}, shape.rows()}) {
    std::vector<float> all;
    for (uint64_t row = 0; row < shape.rows(); row += height) {
      const uint64_t n = std::min(height, shape.rows() - row);
      std::vector<float> tile(n * shape.columns());
      SMELT_ASSERT_OK(source.ReadRows(0, row, n, tile.data()));
      all.insert(all.end(), tile.begin(), tile.end());
    }
    ASSERT_EQ(all, expected) << "tiles of " << height;
  }
}

/// Stored bytes of all rows, in two tiles, are `expected` in the stored type.
void ExpectRawRows(const ModelSource& source, const std::vector<float>& expected) {
  const TensorInfo& info = source.tensors()[0];
  const uint64_t rows = info.shape.rows(), columns = info.shape.columns(), half = rows / 2;
  const uint64_t size = Info(info.type).block_bytes;
  std::vector<std::byte> bytes(rows * columns * size);
  SMELT_ASSERT_OK(source.ReadRawRows(0, 0, half, bytes.data()));
  SMELT_ASSERT_OK(source.ReadRawRows(0, half, rows - half, bytes.data() + half * columns * size));
  for (uint64_t i = 0; i < expected.size(); ++i) {
    float value = 0;
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * size, sizeof bits);
    if (info.type == TensorType::kF32) std::memcpy(&value, bytes.data() + i * size, sizeof value);
    if (info.type == TensorType::kF16) value = F16ToF32(bits);
    if (info.type == TensorType::kBF16) value = Bf16ToF32(bits);
    ASSERT_EQ(value, expected[i]) << Info(info.type).name << " element " << i;
  }
}

TEST(RecipeTest, EveryStoredTypeReadsTheSame) {
  const Matrix m = RandomMatrix(9, 5, 1);
  for (RawType type : {RawType::kF64, RawType::kF32, RawType::kF16, RawType::kBF16}) {
    Recipe recipe;
    recipe.leaves.push_back(RawLeaf{Raw("w", type, {9, 5}, m.values), 5});
    std::vector<float> expected = m.values;
    if (type == RawType::kF16) {
      for (float& v : expected) v = F16ToF32(F32ToF16(v));
    }
    ExpectRows(*Source(Tensor("w", {5, 9}, recipe)), expected);
  }
}

TEST(RecipeTest, RotaryRowsOfHeads) {
  const uint64_t heads = 3, half = 4, columns = 6;
  const Matrix m = RandomMatrix(heads * 2 * half, columns, 2);
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("q", RawType::kBF16, {m.rows, columns}, m.values), columns});
  recipe.rows.push_back(SwapRows{heads, 2, half});
  std::vector<float> expected;
  for (uint64_t h = 0; h < heads; ++h) {
    for (uint64_t j = 0; j < half; ++j) {
      for (uint64_t p = 0; p < 2; ++p) {
        for (uint64_t c = 0; c < columns; ++c)
          expected.push_back(m.at(h * 2 * half + p * half + j, c));
      }
    }
  }
  const auto source = Source(Tensor("q", {columns, m.rows}, recipe));
  EXPECT_EQ(source->tensors()[0].type, TensorType::kBF16);
  ExpectRows(*source, expected);
  // The stored bytes pass through in the same order.
  std::vector<uint16_t> raw(expected.size());
  SMELT_ASSERT_OK(source->ReadRawRows(0, 0, m.rows, reinterpret_cast<std::byte*>(raw.data())));
  for (size_t i = 0; i < raw.size(); ++i) ASSERT_EQ(Bf16ToF32(raw[i]), expected[i]);
}

// Heads of 11 rows of which 8 rotate.
TEST(RecipeTest, RotaryRowsOfAPartOfEachHead) {
  const uint64_t heads = 2, half = 4, size = 11, columns = 3;
  const Matrix m = RandomMatrix(heads * size, columns, 8);
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("q", RawType::kF32, {m.rows, columns}, m.values), columns});
  recipe.rows.push_back(SwapRows{heads, 2, half, 1, size - 2 * half});
  std::vector<float> expected;
  for (uint64_t h = 0; h < heads; ++h) {
    for (uint64_t r = 0; r < size; ++r) {
      const uint64_t from = r < 2 * half ? r % 2 * half + r / 2 : r;
      for (uint64_t c = 0; c < columns; ++c) expected.push_back(m.at(h * size + from, c));
    }
  }
  ExpectRows(*Source(Tensor("q", {columns, m.rows}, recipe)), expected);
}

TEST(RecipeTest, RowsAreScaledBySection) {
  const Matrix m = RandomMatrix(9, 4, 9);
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("w", RawType::kBF16, {9, 4}, m.values), 4});
  recipe.elements = {ScaleRows{{{0, 1.25}}}, ScaleRows{{{2, 0.3}, {3, 3}, {0, 7}, {4, -0.7}}}};
  std::vector<float> expected;
  for (uint64_t r = 0; r < 9; ++r) {
    const float factor = r < 2 ? 0.3f : r < 5 ? 3.0f : -0.7f;
    for (uint64_t c = 0; c < 4; ++c) expected.push_back(m.at(r, c) * 1.25f * factor);
  }
  const auto source = Source(Tensor("w", {4, 9}, recipe));
  ExpectRows(*source, expected);
  EXPECT_EQ(source->tensors()[0].recipe->ToText(),
            "0.3, 3, 7, -0.7 (rows by section) times 1.25 times w [BF16 9 x 4]");
}

TEST(RecipeTest, VectorsArePermutedAndSplit) {
  const Matrix m = RandomMatrix(1, 24, 3);
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("b", RawType::kF32, {24}, m.values), 1});
  recipe.rows.push_back(SwapRows{3, 2, 4});
  std::vector<float> expected;
  for (int h = 0; h < 3; ++h) {
    for (int j = 0; j < 4; ++j) {
      for (int p = 0; p < 2; ++p) expected.push_back(m.values[h * 8 + p * 4 + j]);
    }
  }
  ExpectRows(*Source(Tensor("b", {24}, recipe)), expected);

  Recipe split;  // a vector as rows of groups
  split.leaves.push_back(RawLeaf{Raw("n", RawType::kF32, {24}, m.values), 24});
  ExpectRows(*Source(Tensor("n", {6, 4}, split)), m.values);
}

TEST(RecipeTest, UnitsOfRowsChangePlaces) {
  const uint64_t heads = 3, size = 2, columns = 4;  // (heads, 3, size) to (3, heads, size)
  const Matrix m = RandomMatrix(heads * 3 * size, columns, 4);
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("qkv", RawType::kF16, {m.rows, columns}, m.values), columns});
  recipe.rows.push_back(SwapRows{1, heads, 3, size});
  std::vector<float> expected;
  for (uint64_t part = 0; part < 3; ++part) {
    for (uint64_t h = 0; h < heads; ++h) {
      for (uint64_t r = 0; r < size; ++r) {
        for (uint64_t c = 0; c < columns; ++c)
          expected.push_back(F16ToF32(F32ToF16(m.at((h * 3 + part) * size + r, c))));
      }
    }
  }
  ExpectRows(*Source(Tensor("qkv", {columns, m.rows}, recipe)), expected);
}

TEST(RecipeTest, TransposedLeavesAreTurned) {
  const Matrix m = RandomMatrix(70, 33, 5);  // stored (inputs, outputs)
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("c_fc", RawType::kF32, {70, 33}, m.values), 70, true});
  std::vector<float> expected;
  for (uint64_t r = 0; r < 33; ++r) {
    for (uint64_t c = 0; c < 70; ++c) expected.push_back(m.at(c, r));
  }
  const auto source = Source(Tensor("t", {70, 33}, recipe));
  EXPECT_EQ(source->tensors()[0].type, TensorType::kF32);
  ExpectRows(*source, expected);
  EXPECT_FALSE(source->MapRows(0).ok());
}

TEST(RecipeTest, StackedExpertsEveryOtherRow) {
  const uint64_t experts = 3, rows = 8, columns = 5;
  std::vector<Matrix> all;
  Recipe recipe;
  for (uint64_t e = 0; e < experts; ++e) {
    all.push_back(RandomMatrix(rows, columns, 10 + static_cast<uint32_t>(e)));
    recipe.leaves.push_back(
        RawLeaf{Raw("e", RawType::kBF16, {rows, columns}, all.back().values), columns});
  }
  recipe.rows.push_back(SliceRows{1, 2, experts * rows / 2});
  std::vector<float> expected;
  for (const Matrix& m : all) {
    for (uint64_t r = 1; r < rows; r += 2) {
      for (uint64_t c = 0; c < columns; ++c) expected.push_back(m.at(r, c));
    }
  }
  ExpectRows(*Source(Tensor("up", {columns, rows / 2, experts}, recipe)), expected);
}

TEST(RecipeTest, SideBySide) {
  const Matrix a = RandomMatrix(6, 4, 20), b = RandomMatrix(6, 4, 21);
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("a", RawType::kF32, {6, 4}, a.values), 4});
  recipe.leaves.push_back(RawLeaf{Raw("b", RawType::kF32, {6, 4}, b.values), 4});
  recipe.across = 2;
  std::vector<float> expected;
  for (uint64_t r = 0; r < 6; ++r) {
    for (const Matrix* m : {&a, &b}) {
      for (uint64_t c = 0; c < 4; ++c) expected.push_back(m->at(r, c));
    }
  }
  ExpectRows(*Source(Tensor("w", {8, 6}, recipe)), expected);
}

TEST(RecipeTest, ElementOperationsInOrder) {
  const Matrix m = RandomMatrix(4, 4, 30);
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("w", RawType::kBF16, {4, 4}, m.values), 4});
  recipe.elements = {AddConstant{1}, NegativeExp{}};
  std::vector<float> expected;
  for (float v : m.values)
    expected.push_back(static_cast<float>(-std::exp(static_cast<double>(v + 1.0f))));
  ExpectRows(*Source(Tensor("w", {4, 4}, recipe)), expected);
}

TEST(RecipeTest, StridedViewsOfAnArchive) {
  const Matrix m = RandomMatrix(10, 12, 40);
  for (RawType type : {RawType::kF32, RawType::kF16, RawType::kBF16}) {
    RawTensor tensor = Raw("view", type, {10, 12}, m.values);
    tensor.shape = {12, 5};  // transposed, every other stored row
    tensor.strides = {1, 24};
    Recipe recipe;
    recipe.leaves.push_back(RawLeaf{tensor, 5});
    const auto rounded = [type](float v) {
      return type == RawType::kF16 ? F16ToF32(F32ToF16(v)) : v;
    };
    std::vector<float> expected;
    for (uint64_t r = 0; r < 12; ++r) {
      for (uint64_t c = 0; c < 5; ++c) expected.push_back(rounded(m.at(2 * c, r)));
    }
    const auto source = Source(Tensor("view", {5, 12}, recipe));
    ExpectRows(*source, expected);
    ASSERT_EQ(source->tensors()[0].type, *SameTensorType(type));
    ExpectRawRows(*source, expected);
  }
}

TEST(RecipeTest, NotFiniteIsNamedByItsPlaceInTheSource) {
  for (bool transposed : {false, true}) {
    Matrix m = RandomMatrix(8, 8, 50);
    m.values[5 * 8 + 2] = std::numeric_limits<float>::quiet_NaN();
    Recipe recipe;
    recipe.leaves.push_back(
        RawLeaf{Raw("model.w", RawType::kBF16, {8, 8}, m.values), 8, transposed});
    if (!transposed) recipe.rows.push_back(SwapRows{1, 2, 4});
    const auto source = Source(Tensor("blk.0.w", {8, 8}, recipe));
    std::vector<float> out(64);
    const absl::Status status = source->ReadRows(0, 0, 8, out.data());
    ASSERT_FALSE(status.ok());
    const std::string message(status.message());
    EXPECT_NE(message.find("model.w (blk.0.w)"), std::string::npos) << message;
    EXPECT_NE(message.find("row 5, column 2 "), std::string::npos) << message;
  }
}

TEST(RecipeTest, IntegersAreNoWeights) {
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{Raw("w", RawType::kI8, {2, 2}, {1, 2, 3, 4}), 2});
  std::vector<RecipeTensor> tensors;
  tensors.push_back(Tensor("w", {2, 2}, recipe));
  const auto source = MakeRecipeSource("test", Metadata(), std::move(tensors), {}, "");
  ASSERT_FALSE(source.ok());
  EXPECT_EQ(CodeOf(source.status()), ErrorCode::kUnsupported);
  EXPECT_NE(std::string(source.status().message()).find("I8"), std::string::npos);
}

// Value heads (key head, j) to (j, key head), behind rows that stay and in columns.
TEST(Recipe, MovesHeadsAmongTheLastRowsAndColumns) {
  constexpr uint64_t kFirst = 2, kKeys = 3, kShared = 2, kSize = 2, kHeads = kKeys * kShared;
  const Matrix m = RandomMatrix(kFirst + kHeads * kSize, kHeads * kSize, 17);
  std::vector<uint64_t> heads;  // where each row or column of the heads comes from
  for (uint64_t j = 0; j < kShared; ++j)
    for (uint64_t key = 0; key < kKeys; ++key)
      for (uint64_t i = 0; i < kSize; ++i) heads.push_back((key * kShared + j) * kSize + i);
  std::vector<float> expected;
  for (uint64_t r = 0; r < m.rows; ++r) {
    const uint64_t from = r < kFirst ? r : kFirst + heads[r - kFirst];
    for (uint64_t c = 0; c < m.columns; ++c) expected.push_back(m.at(from, heads[c]));
  }
  for (const RawType type : {RawType::kF32, RawType::kBF16}) {
    Recipe recipe;
    recipe.leaves.push_back(
        RawLeaf{Raw("w", type, {m.rows, m.columns}, m.values), m.columns, false});
    recipe.rows.push_back(
        SwapRows{.groups = 1, .outer = kKeys, .inner = kShared, .unit = kSize, .first = kFirst});
    recipe.columns = SwapRows{1, kKeys, kShared, kSize};
    const auto source = Source(Tensor("t", {m.columns, m.rows}, recipe));
    ASSERT_NE(source, nullptr);
    ExpectRows(*source, expected);
    ExpectRawRows(*source, expected);
    EXPECT_FALSE(source->MapRows(0).ok());
    recipe.columns->unit = 3;
    EXPECT_FALSE(
        MakeRecipeSource("test", Metadata(), {Tensor("t", {m.columns, m.rows}, recipe)}, {}, "")
            .ok());
  }
}

}  // namespace
}  // namespace smelt
