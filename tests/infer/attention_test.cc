// Attention of few queries over long caches against a plain sum, and that nothing depends on the
// number of threads.
#include "infer/cpu/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "infer/cpu/weights.h"
#include "lib/base/float16.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "quant/simd.h"
#include "tests/infer/memory_model.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using cpu::CpuState;

struct AttentionCase {
  std::string name;
  AttentionOp op;
  CacheType cache = CacheType::kF32;
  bool sinks = false;
  uint64_t positions = 0;  // before the queries
  uint64_t tokens = 1;
};

// Several chunks, and the odd ends of all of them.
std::vector<AttentionCase> Cases() {
  std::vector<AttentionCase> cases;
  const auto add = [&](const char* name, AttentionOp op, uint64_t positions) -> AttentionCase& {
    op.scale = 0.3f;
    return cases.emplace_back(AttentionCase{.name = name, .op = op, .positions = positions});
  };
  const AttentionOp grouped{.heads = 16, .kv_heads = 2, .key_size = 64, .value_size = 64};
  const AttentionOp odd{.heads = 15, .kv_heads = 3, .key_size = 69, .value_size = 43};
  const AttentionOp latent{.values_in_keys = true,
                           .value_first = 16,
                           .heads = 40,
                           .kv_heads = 1,
                           .key_size = 144,
                           .value_size = 128};
  add("first", grouped, 0);
  add("short", grouped, 13);
  add("grouped", grouped, 1337);
  add("odd", odd, 2001);
  add("latent", latent, 700);
  add("single", {.heads = 3, .kv_heads = 3, .key_size = 128, .value_size = 128}, 2500);
  add("tokens", grouped, 900).tokens = 5;
  add("latent_tokens", latent, 300).tokens = 3;
  add("softcap", odd, 1100).op.softcap = 2;
  add("sinks", grouped, 1100).sinks = true;
  add("both_ways", grouped, 900).tokens = 4;
  cases.back().op.causal = false;
  // A window that begins inside of a chunk, and ones that later tokens do not see a chunk of.
  add("window", grouped, 1337).op.window = 700;
  add("window_tokens", grouped, 1020).tokens = 8;
  cases.back().op.window = 3;
  add("window_sinks_softcap", odd, 1500).tokens = 4;
  cases.back().op.window = 900, cases.back().sinks = true, cases.back().op.softcap = 3;
  for (size_t i = 0, count = cases.size(); i < count; ++i) {
    AttentionCase& c = cases.emplace_back(cases[i]);
    c.name += "_f16", c.cache = CacheType::kF16;
  }
  return cases;
}

// What an f16 cache makes of keys and values.
void Round(std::vector<float>& values) {
  for (float& v : values) v = F16ToF32(F32ToF16(v));
}

class RowsOfAttention : public ::testing::TestWithParam<AttentionCase> {
 protected:
  void SetUp() override {
    const AttentionCase& c = GetParam();
    op_ = c.op;
    total_ = c.positions + c.tokens;
    keys_ = Random(total_ * KeyColumns(), 1);
    values_ = Random(total_ * ValueColumns(), 1);
    queries_ = Random(c.tokens * op_.heads * op_.key_size, 1);
    if (!c.sinks) return;
    const TensorRef sinks = model_.Add({op_.heads}, 2);
    sinks_ = model_.Values(sinks);
    const auto weight = cpu::CpuWeight::Load(model_, sinks, WeightUse::kValues);
    SMELT_ASSERT_OK(weight);
    op_.sinks = *weight;
  }

  size_t KeyColumns() const { return size_t{op_.kv_heads} * op_.key_size; }
  size_t ValueColumns() const {
    return op_.values_in_keys ? 0 : size_t{op_.kv_heads} * op_.value_size;
  }

  // Hidden states of the queries, in rows.
  std::vector<float> Compute() {
    CpuState state(1, Place::kMemory, GetParam().cache);
    const uint64_t before = GetParam().positions, tokens = GetParam().tokens;
    std::vector<float> out(tokens * op_.heads * op_.value_size);
    if (before > 0) {
      const std::vector<float> q(before * op_.heads * op_.key_size);
      std::vector<float> unused(before * op_.heads * op_.value_size);
      Feed(before, 0, q.data(), unused.data(), state);
    }
    Feed(tokens, before, queries_.data(), out.data(), state);
    return out;
  }

  void SpoilAKeyOfTheFirstQuery() {
    const uint64_t at = GetParam().positions;
    const uint64_t first = op_.window != 0 && at + 1 > op_.window ? at + 1 - op_.window : 0;
    keys_[first * KeyColumns()] = std::nanf("");
  }

  std::vector<double> Expected() {
    if (GetParam().cache == CacheType::kF16) Round(keys_), Round(values_);
    std::vector<double> out;
    const uint64_t before = GetParam().positions;
    for (uint64_t t = 0; t < GetParam().tokens; ++t) {
      for (size_t head = 0; head < op_.heads; ++head) {
        const size_t kv = head / (op_.heads / op_.kv_heads);
        const float* q = queries_.data() + (t * op_.heads + head) * op_.key_size;
        double sum = sinks_.empty() ? 0 : std::exp(sinks_[head]);
        std::vector<double> y(op_.value_size);
        for (uint64_t s = 0; s < (op_.causal ? before + t + 1 : total_); ++s) {
          if (op_.window != 0 && s + op_.window <= before + t) continue;
          const float* key = keys_.data() + s * KeyColumns() + kv * op_.key_size;
          const float* value = op_.values_in_keys
                                   ? key + op_.value_first
                                   : values_.data() + s * ValueColumns() + kv * op_.value_size;
          double dot = 0;
          for (size_t i = 0; i < op_.key_size; ++i) dot += static_cast<double>(q[i]) * key[i];
          dot *= op_.scale;
          if (op_.softcap > 0) dot = op_.softcap * std::tanh(dot / op_.softcap);
          const double weight = std::exp(dot);
          sum += weight;
          for (size_t i = 0; i < op_.value_size; ++i) y[i] += weight * value[i];
        }
        for (const double v : y) out.push_back(v / sum);
      }
    }
    return out;
  }

 private:
  static std::vector<float> Random(size_t count, uint64_t seed) {
    std::mt19937_64 random(seed + count);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> values(count);
    for (float& v : values) v = uniform(random);
    return values;
  }

  // Tokens as rows, however many.
  void Feed(uint64_t tokens, uint64_t position, const float* q, float* out, CpuState& state) {
    const Sequence sequence{.tokens = tokens, .position = position};
    AttentionOp op = op_;
    if (position == 0 && GetParam().positions > 0) op.window = 1, op.causal = true;
    SMELT_ASSERT_OK(cpu::Attend(op, cpu::MakeLayout({&sequence, 1}, tokens), q,
                                keys_.data() + position * KeyColumns(),
                                values_.data() + position * ValueColumns(), state, out));
  }

  testing::MemoryModel model_{1};
  AttentionOp op_;
  uint64_t total_ = 0;
  std::vector<float> keys_, values_, queries_, sinks_;
};

TEST_P(RowsOfAttention, EqualThePlainSum) {
  std::vector<std::vector<float>> of_target;
  for (const std::string& target : SimdTargets()) {
    SMELT_ASSERT_OK(ForceSimdTarget(target));
    of_target.push_back(Compute());
  }
  SMELT_ASSERT_OK(ForceSimdTarget(""));
  const std::vector<double> expected = Expected();
  for (const std::vector<float>& computed : of_target) {
    ASSERT_EQ(computed.size(), expected.size());
    double worst = 0, square = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      worst =
          std::max(worst, std::isfinite(computed[i]) ? std::fabs(computed[i] - expected[i]) : 1);
      square += expected[i] * expected[i] / static_cast<double>(expected.size());
    }
    EXPECT_LT(worst, 1e-4 * std::sqrt(square));
  }
}

TEST_P(RowsOfAttention, HaveTheSameBitsForAnyNumberOfThreads) {
  const int before = Threads();
  SetThreads(1);
  const std::vector<float> one = Compute();
  for (const int threads : {3, 8}) {
    SetThreads(threads);
    EXPECT_EQ(Compute(), one) << threads;
  }
  SetThreads(before);
}

// A score that is no number is not taken for one that counts nothing.
TEST_P(RowsOfAttention, KeepWhatIsNoNumber) {
  SpoilAKeyOfTheFirstQuery();
  const std::vector<float> computed = Compute();
  EXPECT_TRUE(std::isnan(computed[0]));
}

INSTANTIATE_TEST_SUITE_P(Cases, RowsOfAttention, ::testing::ValuesIn(Cases()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace smelt
