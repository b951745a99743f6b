// The engine's products beside the machine's peak, all on one thread: `peak` is what the
// multiply-add units can do, the others report the same unit (floating point operations a second),
// so their quotient is the share of the peak.
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>

#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/q8_kernel.h"
#include "lib/base/tensor_type.h"
#include "quant/codec.h"
#include "quant/encoder.h"

namespace smelt {
namespace {

using cpu::Array;
using cpu::kPanel;

constexpr size_t kRows = 96, kPanels = 16, kPadding = 16;

Array<float> Random(size_t count) {
  std::mt19937 random(1);
  Array<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(random() % 2001) / 1000 - 1;
  return values;
}

void SetRate(benchmark::State& state, double operations) {
  state.counters["flops"] = benchmark::Counter(operations, benchmark::Counter::kIsRate);
}

void Peak(benchmark::State& state) {
  double operations = 0;
  for (auto _ : state) operations += cpu::FmaPeakWork(1 << 20);
  SetRate(state, operations);
}
BENCHMARK(Peak);

// A tile of decoded weights times 512 tokens.
void PanelProduct(benchmark::State& state) {
  const size_t columns = static_cast<size_t>(state.range(0));
  const Array<float> w = Random(kRows * (columns + kPadding)),
                     x = Random(kPanels * columns * kPanel);
  Array<float> out(kPanels * kRows * kPanel);
  for (auto _ : state) {
    for (size_t p = 0; p < kPanels; ++p) {
      cpu::GemmPanel(w.data(), columns + kPadding, 1, kRows, x.data() + p * columns * kPanel,
                     columns, out.data() + p * kRows * kPanel, false);
    }
    benchmark::DoNotOptimize(out.data());
  }
  SetRate(state,
          2.0 * static_cast<double>(kRows * columns * kPanels * kPanel * state.iterations()));
}
BENCHMARK(PanelProduct)->Arg(576)->Arg(1536)->Arg(2048)->Arg(4096);

// The same with the decoding of the weights, as evaluation does it: once per batch.
void DecodedProduct(benchmark::State& state) {
  const Codec& codec = *FindCodec(static_cast<TensorType>(state.range(0)));
  constexpr size_t kColumns = 2048;
  const Array<float> values = Random(kRows * kColumns), x = Random(kPanels * kColumns * kPanel);
  const uint64_t row = RowBytes(codec.type(), kColumns).value();
  std::vector<std::byte> bytes(row * kRows);
  EncodeScratch scratch;
  FindEncoder(codec.type())->Encode(kRows, kColumns, values.data(), {}, bytes.data(), scratch);
  Array<float> tile(kRows * (kColumns + kPadding)), out(kPanels * kRows * kPanel);
  for (auto _ : state) {
    for (size_t r = 0; r < kRows; ++r)
      codec.Decode(bytes.data() + r * row, kColumns, tile.data() + r * (kColumns + kPadding));
    for (size_t p = 0; p < kPanels; ++p) {
      cpu::GemmPanel(tile.data(), kColumns + kPadding, 1, kRows, x.data() + p * kColumns * kPanel,
                     kColumns, out.data() + p * kRows * kPanel, false);
    }
    benchmark::DoNotOptimize(out.data());
  }
  SetRate(state,
          2.0 * static_cast<double>(kRows * kColumns * kPanels * kPanel * state.iterations()));
  state.SetLabel(std::string(Info(codec.type()).name));
}
BENCHMARK(DecodedProduct)
    ->Arg(static_cast<int>(TensorType::kBF16))
    ->Arg(static_cast<int>(TensorType::kQ8_0))
    ->Arg(static_cast<int>(TensorType::kQ4_K))
    ->Arg(static_cast<int>(TensorType::kQ6_K));

// 8-bit products; the operations are the same in number, the units others.
void Q8Product(benchmark::State& state) {
  const Codec& codec = *FindCodec(static_cast<TensorType>(state.range(0)));
  constexpr size_t kColumns = 2048, kStride = kColumns + 64;
  const size_t groups = kColumns / codec.unpack_group();
  const Array<float> values = Random(kRows * kColumns), x = Random(kPanels * kColumns * kPanel);
  const uint64_t row = RowBytes(codec.type(), kColumns).value();
  std::vector<std::byte> bytes(row * kRows);
  EncodeScratch scratch;
  FindEncoder(codec.type())->Encode(kRows, kColumns, values.data(), {}, bytes.data(), scratch);
  Array<int8_t> codes(kRows * kStride), inputs(kPanels * kColumns * kPanel);
  Array<float> scales(kRows * groups), minimums(kRows * groups), input_scales(kPanels * kColumns);
  Array<float> sums(2 * kPanels * kColumns), out(kRows * kPanel);
  for (size_t p = 0; p < kPanels; ++p) {
    cpu::QuantizePanel(x.data() + p * kColumns * kPanel, kColumns,
                       inputs.data() + p * kColumns * kPanel, input_scales.data() + p * kColumns,
                       sums.data() + 2 * p * kColumns);
  }
  for (auto _ : state) {
    for (size_t r = 0; r < kRows; ++r) {
      codec.Unpack8(
          bytes.data() + r * row, kColumns,
          {codes.data() + r * kStride, scales.data() + r * groups, minimums.data() + r * groups});
    }
    const cpu::Q8Tile tile{codes.data(),
                           kStride,
                           scales.data(),
                           codec.unpack_has_minimum() ? minimums.data() : nullptr,
                           codec.unpack_group(),
                           kRows,
                           kColumns,
                           codec.unpack_range().low,
                           codec.unpack_range().high};
    for (size_t p = 0; p < kPanels; ++p) {
      cpu::MultiplyQ8(tile, inputs.data() + p * kColumns * kPanel,
                      input_scales.data() + p * kColumns, sums.data() + 2 * p * kColumns,
                      out.data());
    }
    benchmark::DoNotOptimize(out.data());
  }
  SetRate(state,
          2.0 * static_cast<double>(kRows * kColumns * kPanels * kPanel * state.iterations()));
  state.SetLabel(std::string(Info(codec.type()).name));
}
BENCHMARK(Q8Product)
    ->Arg(static_cast<int>(TensorType::kQ8_0))
    ->Arg(static_cast<int>(TensorType::kQ4_K))
    ->Arg(static_cast<int>(TensorType::kQ6_K));

}  // namespace
}  // namespace smelt

BENCHMARK_MAIN();
