// The kernels of interleaved.cc, included once per instruction set: how the words of a format's
// rows lie, and the loops over them.

// No include guard: see above.

#define SMELT_LANES_INLINE inline __attribute__((always_inline))
#include "quant/interleaved_formats-inl.h"

namespace smelt {
namespace SMELT_LANES_NAMESPACE {

/// Asks for what is needed a page later: processors read ahead by themselves, but most not beyond a
/// page's end.
SMELT_LANES_INLINE void ReadAhead(const uint8_t* words, size_t bytes) {
#if SMELT_LANES_READ_AHEAD
#pragma GCC unroll 32
  for (size_t i = 0; i < bytes; i += 64)
    _mm_prefetch(reinterpret_cast<const char*>(words + i + 4096), _MM_HINT_T0);
#endif
}

/// How the words of a format's rows lie.
template <typename Format>
struct Layout {
  static constexpr size_t kWords = Format::kWordsFrom.size();
  static constexpr size_t kTailBytes = Format::kTailBytes;
  static constexpr size_t kBlockBytes = Format::kBytes;
  /// Blocks that share a word of scales, and words of all of them.
  static constexpr size_t kBlocks = kTailBytes == 0 ? 1 : 4 / kTailBytes;
  static constexpr size_t kTails = kTailBytes == 0 ? 0 : 1;
  static constexpr size_t kSharedWords = kTails + kBlocks * kWords;

  static uint64_t GroupBytes(uint64_t columns) {
    return (columns / Format::kElements + kBlocks - 1) / kBlocks * kSharedWords * sizeof(Words);
  }
  /// Where the words of block b are, in bytes, and where the one is that it shares.
  static uint64_t TailAt(uint64_t b) { return b / kBlocks * kSharedWords * sizeof(Words); }
  static uint64_t WordsAt(uint64_t b) {
    return TailAt(b) + (kTails + b % kBlocks * kWords) * sizeof(Words);
  }
};

template <typename Format>
void Dot(const uint8_t* group, uint64_t groups, uint64_t columns, const Activations8& x,
         float* out) {
  using L = Layout<Format>;
  constexpr size_t kParts = Format::kElements / 32;
  const uint64_t blocks = columns / Format::kElements;
  for (uint64_t g = 0; g < groups; ++g, group += L::GroupBytes(columns)) {
    Floats total{};
    for (uint64_t b = 0; b < blocks; ++b) {
      Words tail{};
      if constexpr (L::kTails != 0)
        tail = Word(group + L::TailAt(b), 0) >>
               static_cast<uint32_t>(8 * L::kTailBytes * (b % L::kBlocks));
      ReadAhead(group + L::WordsAt(b), L::kWords * sizeof(Words));
      total = Format::Add(group + L::WordsAt(b), tail,
                          {x.codes + b * Format::kElements, x.scales + b * kParts,
                           x.sums + b * 2 * kParts, x.pair_sums + b * kParts},
                          total);
    }
    std::memcpy(out + g * kLanes, &total, sizeof(total));
  }
}

template <typename Format>
void Interleave(const uint8_t* rows, uint64_t columns, uint8_t* group) {
  using L = Layout<Format>;
  const uint64_t blocks = columns / Format::kElements, row_bytes = blocks * L::kBlockBytes;
  for (uint64_t b = 0; b < blocks; ++b) {
    const uint8_t* const block = rows + b * L::kBlockBytes;
    uint8_t* to = group + L::WordsAt(b);
    for (const uint16_t from : Format::kWordsFrom) {
      for (uint64_t lane = 0; lane < kLanes; ++lane, to += 4)
        std::memcpy(to, block + lane * row_bytes + from, 4);
    }
    if constexpr (L::kTails != 0) {
      to = group + L::TailAt(b) + L::kTailBytes * (b % L::kBlocks);
      for (uint64_t lane = 0; lane < kLanes; ++lane, to += 4)
        std::memcpy(to, block + lane * row_bytes, L::kTailBytes);
    }
  }
}

/// 16-bit floats, two to a word; Format::Values gives the first and the second of each.
template <typename Format>
void DotFloats(const uint8_t* group, uint64_t groups, uint64_t columns, const float* x,
               float* out) {
  const uint64_t words = columns / 2;
  const auto add = [&](uint64_t k, Floats& evens, Floats& odds) {
    Floats first, second;
    Format::Values(Word(group, k), first, second);
    evens = Fma(first, Floats{} + x[2 * k], evens);
    odds = Fma(second, Floats{} + x[2 * k + 1], odds);
  };
  for (uint64_t g = 0; g < groups; ++g, group += words * sizeof(Words)) {
    Floats sums[4] = {};  // hide the latency of the additions
    uint64_t k = 0;
    for (; k + 2 <= words; k += 2) {
      ReadAhead(group + k * sizeof(Words), 2 * sizeof(Words));
      add(k, sums[0], sums[1]);
      add(k + 1, sums[2], sums[3]);
    }
    if (k < words) add(k, sums[0], sums[1]);
    const Floats total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    std::memcpy(out + g * kLanes, &total, sizeof(total));
  }
}

template <typename Format>
constexpr InterleavedKernels kFloatKernels = {kLanes, Layout<Format>::GroupBytes,
                                              Interleave<Format>, nullptr, DotFloats<Format>};

template <typename Format>
constexpr InterleavedKernels kKernels = {kLanes, Layout<Format>::GroupBytes, Interleave<Format>,
                                         Dot<Format>, nullptr};

const InterleavedKernels* Find(TensorType type) {
  switch (type) {
    case TensorType::kF16:
      return &kFloatKernels<LanesF16>;
    case TensorType::kBF16:
      return &kFloatKernels<LanesBF16>;
    case TensorType::kQ4_0:
      return &kKernels<LanesQ4_0>;
    case TensorType::kQ4_1:
      return &kKernels<LanesQ4_1>;
    case TensorType::kQ5_0:
      return &kKernels<LanesQ5_0>;
    case TensorType::kQ5_1:
      return &kKernels<LanesQ5_1>;
    case TensorType::kQ8_0:
      return &kKernels<LanesQ8_0>;
    case TensorType::kQ2_K:
      return &kKernels<LanesQ2_K>;
    case TensorType::kQ3_K:
      return &kKernels<LanesQ3_K>;
    case TensorType::kQ4_K:
      return &kKernels<LanesQ45_K<false>>;
    case TensorType::kQ5_K:
      return &kKernels<LanesQ45_K<true>>;
    case TensorType::kQ6_K:
      return &kKernels<LanesQ6_K>;
    case TensorType::kIQ4_NL:
      return &kKernels<LanesIQ4_NL>;
    case TensorType::kIQ4_XS:
      return &kKernels<LanesIQ4_XS>;
    case TensorType::kMXFP4:
      return &kKernels<LanesMXFP4>;
    default:
      return nullptr;
  }
}

}  // namespace SMELT_LANES_NAMESPACE
}  // namespace smelt

#undef SMELT_LANES_INLINE
