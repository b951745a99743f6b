// A forward pass as plain as the definitions, in double precision, of any model of the engine.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <variant>
#include <vector>

#include "infer/backend.h"
#include "infer/tap.h"
#include "lib/model/layer_spec.h"
#include "tests/infer/memory_model.h"

namespace smelt::testing {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

double Act(Activation a, double x);
double Sigmoid(double x);

class Forward {
 public:
  Forward(const ModelSpec& spec, const MemoryModel& model,
          std::map<TensorRef, ReferenceInputs>* inputs = nullptr, CacheType cache = CacheType::kF32,
          double nudge = 0)
      : spec_(spec), model_(model), inputs_(inputs), cache_(cache), nudge_(nudge) {}

  Rows Run(const std::vector<int32_t>& ids) const;

 private:
  double At(TensorRef t, size_t i) const { return model_.Values(t)[i]; }

  // x goes into a product with expert `index` of a tensor.
  void Watch(TensorRef t, size_t index, const double* x) const;
  void Watch(TensorRef t, size_t index, size_t columns, size_t matrices, const double* x) const;
  Row Normed(const Norm& n, const Row& x) const;
  Row Multiply(const Linear& l, const Row& x, size_t expert = 0) const;

  struct KeysValues {
    Rows k, v;
  };

  // What every token gives to every layer.
  Rows Inputs(const std::vector<int32_t>& ids, const Rows& x) const;
  void Layer(const LayerSpec& layer, size_t number, const Rows& inputs,
             std::vector<KeysValues>& keys, Rows& x) const;
  Rows MixAny(const Attention& a, const Rows& in, std::vector<KeysValues>& keys) const;
  template <typename M>
  Rows MixAny(const M& mixer, const Rows& in, std::vector<KeysValues>& keys) const {
    return Mix(mixer, in);
  }
  void MixAndFeed(const LayerSpec& layer, std::vector<KeysValues>& keys, Rows& x) const;
  static void AddTo(Row& x, const Row& y, double scale = 1);

  Row Feed(const Mlp& mlp, const Row& x) const;
  Row Feed(const Experts& e, const Row& x, const Row& router_in) const;
  // SparseMixer's weights of the chosen, each among those that were left when it was.
  static Row ShareOfNear(const Experts& e, const Row& logits, const std::vector<size_t>& chosen);
  // Those in the groups that are looked at.
  static std::vector<bool> OpenExperts(const Experts& e, const Row& selection);

  // As they come back from the cache.
  void Keep(Rows& rows) const;
  void Rotate(const Rope& rope, size_t position, bool is_long, double* head) const;
  void RotateAll(const Attention& a, size_t heads, Rows& rows) const;
  KeysValues Keys(const Attention& a, const Rows& in) const;
  Rows Mix(const Attention& a, const Rows& in, const KeysValues& keys) const;
  // Keys and values of every head written out, which the engine never does.
  Rows Mix(const LatentAttention& a, const Rows& in) const;

  Rows Mix(const ShortConvolution& m, const Rows& in) const;
  static Rows Mix(std::monostate, const Rows& in) { return in; }
  // So many values for the first and so many for the second by turns.
  static std::pair<Row, Row> Split(const Row& row, size_t turns, size_t first, size_t second);
  // silu(causal convolution) of columns [first, first + channels).
  Rows Convolve(const Rows& in, size_t first, size_t channels, size_t taps, TensorRef weight,
                TensorRef bias, bool silu = true) const;
  Rows Mix(const Mamba1& m, const Rows& in) const;
  Rows Mix(const Mamba2& m, const Rows& in) const;
  static Row UnitLength(const Row& row, size_t first, size_t count);
  // q, k and v, each of all heads, and z; from rows by key head.
  static std::pair<Row, Row> Unfold(const DeltaNet& d, const Row& folded);
  Rows Mix(const DeltaNet& d, const Rows& in) const;

  const ModelSpec& spec_;
  const MemoryModel& model_;
  std::map<TensorRef, ReferenceInputs>* const inputs_;
  const CacheType cache_;
  const double nudge_;
};

}  // namespace smelt::testing
