// Speed of the codecs from cache: encode, decode, unpack and dot products, per weight and core.
#include <benchmark/benchmark.h>

#include <cmath>
#include <string>
#include <vector>

#include "lib/base/tensor_type.h"
#include "quant/codec.h"
#include "quant/encoder.h"
#include "quant/simd.h"

namespace smelt {
namespace {

constexpr uint64_t kColumns = 2048;
constexpr uint64_t kRows = 16;

std::vector<float> Weights(uint64_t count) {
  std::vector<float> x(count);
  uint32_t state = 1;
  for (float& v : x) {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 1664525u + 1013904223u;
      sum += static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    v = 0.04f * sum;
  }
  return x;
}

struct Encoded {
  std::vector<std::byte> bytes;
  std::vector<float> x = Weights(kRows * kColumns);
  const Codec* codec;

  explicit Encoded(TensorType type) : codec(FindCodec(type)) {
    bytes.resize(kRows * RowBytes(type, kColumns).value_or(0));
    EncodeScratch scratch;
    if (const Encoder* encoder = FindEncoder(type))
      encoder->Encode(kRows, kColumns, x.data(), {}, bytes.data(), scratch);
  }
};

void Report(benchmark::State& state) {
  state.counters["weights/s"] = benchmark::Counter(static_cast<double>(kRows * kColumns),
                                                   benchmark::Counter::kIsIterationInvariantRate);
}

void Encode(benchmark::State& state, TensorType type, bool importance) {
  Encoded e(type);
  EncodeScratch scratch;
  std::vector<float> weights(kColumns);
  for (uint64_t i = 0; i < kColumns; ++i) weights[i] = 0.1f + std::abs(e.x[i]);
  InputStatistics statistics;
  if (importance) statistics.importance = weights;
  for (auto _ : state) {
    FindEncoder(type)->Encode(kRows, kColumns, e.x.data(), statistics, e.bytes.data(), scratch);
    benchmark::ClobberMemory();
  }
  Report(state);
}

void Decode(benchmark::State& state, TensorType type) {
  const Encoded e(type);
  std::vector<float> out(kRows * kColumns);
  for (auto _ : state) {
    e.codec->Decode(e.bytes.data(), out.size(), out.data());
    benchmark::ClobberMemory();
  }
  Report(state);
}

void Unpack8(benchmark::State& state, TensorType type) {
  const Encoded e(type);
  const uint64_t count = kRows * kColumns;
  std::vector<int8_t> codes(count);
  std::vector<float> scales(count / 16), minimums(count / 16);
  for (auto _ : state) {
    e.codec->Unpack8(e.bytes.data(), count, {codes.data(), scales.data(), minimums.data()});
    benchmark::ClobberMemory();
  }
  Report(state);
}

void Dot(benchmark::State& state, TensorType type) {
  const Encoded e(type);
  const uint64_t row_bytes = e.bytes.size() / kRows;
  for (auto _ : state) {
    for (uint64_t r = 0; r < kRows; ++r) {
      benchmark::DoNotOptimize(e.codec->Dot(e.bytes.data() + r * row_bytes, e.x.data(), kColumns));
    }
  }
  Report(state);
}

void DotQ8(benchmark::State& state, TensorType type) {
  const Encoded e(type);
  alignas(64) static int8_t codes[kColumns];
  std::vector<float> scales(kColumns / 32), sums(kColumns / 16), pair_sums(kColumns / 32),
      out(kRows);
  QuantizeActivations8(e.x.data(), kColumns, codes, scales.data(), sums.data(), pair_sums.data());
  for (auto _ : state) {
    e.codec->DotQ8(e.bytes.data(), kRows, kColumns,
                   {codes, scales.data(), sums.data(), pair_sums.data()}, out.data());
    benchmark::ClobberMemory();
  }
  Report(state);
}

void Activations(benchmark::State& state) {
  const std::vector<float> x = Weights(kRows * kColumns);
  std::vector<int8_t> codes(x.size());
  std::vector<float> scales(x.size() / 32), sums(x.size() / 16), pair_sums(x.size() / 32);
  for (auto _ : state) {
    QuantizeActivations8(x.data(), x.size(), codes.data(), scales.data(), sums.data(),
                         pair_sums.data());
    benchmark::ClobberMemory();
  }
  Report(state);
}

void RegisterAll() {
  for (const TensorTypeInfo& info : AllTensorTypes()) {
    const Codec* codec = FindCodec(info.type);
    if (codec == nullptr) continue;
    const std::string name(info.name);
    const TensorType type = info.type;
    auto add = [&](const std::string& what, auto fn, auto... args) {
      benchmark::RegisterBenchmark((what + "/" + name).c_str(), fn, type, args...);
    };
    if (CanEncode(type)) {
      add("Encode", Encode, false);
      if (info.quantized) add("EncodeImportance", Encode, true);
    }
    add("Decode", Decode);
    add("Dot", Dot);
    if (codec->unpack_group() == 0) continue;
    add("Unpack8", Unpack8);
    add("DotQ8", DotQ8);
  }
  benchmark::RegisterBenchmark("QuantizeActivations8", Activations);
}

}  // namespace
}  // namespace smelt

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const absl::Status simd = smelt::InitSimd();
  if (!simd.ok()) {
    fprintf(stderr, "codec_bench: %s\n", std::string(simd.message()).c_str());
    return 2;
  }
  smelt::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
