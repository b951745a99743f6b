// What a layer is made of, as a list of coarse operations over numbered buffers: what a backend
// compiles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/model/layer_spec.h"

namespace smelt {

/// A tensor that a backend holds ready; what is in it is the backend's.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual uint64_t bytes() const { return 0; }  ///< of the backend's memory, once it is used
};
using WeightPtr = std::shared_ptr<const Weight>;

/// Rows [first_row, first_row + rows) of a weight, and its bias (indexed likewise) or nullptr.
struct Matrix {
  WeightPtr weight = {}, bias = {};
  uint64_t first_row = 0;
  uint32_t rows = 0, columns = 0;
  uint64_t expert_rows = 0;      ///< rows from expert to expert where the weight stacks several
  TensorRef tensor = kNoTensor;  ///< of which the weight was made
  uint64_t count = 1;            ///< matrices that the weight stacks
  bool present() const { return weight != nullptr; }
};

/// Number of a buffer of [token][feature]. The first two outlive the graph: the residual stream and
/// the per-layer inputs; the others are scratch.
using Slot = uint32_t;
inline constexpr Slot kStream = 0, kInputs = 1;

/// out = norm(in), or out += norm(in). A weight shorter than the features repeats.
struct NormOp {
  Slot in = 0, out = 0;
  NormKind kind = NormKind::kRms;
  float epsilon = 0;
  WeightPtr weight = {}, bias = {};
  uint32_t features = 0, group = 0, weights = 0;
  bool add = false;
};

/// What becomes of y = W x + b.
enum class Store {
  kSet,          ///< out = y
  kAdd,          ///< out += y
  kActivate,     ///< out = act(y)
  kMultiplyAct,  ///< out = act(out) * y
};

/// out += scale * in.
struct AddOp {
  Slot in = 0, out = 0;
  uint32_t features = 0;
  float scale = 1;
};

/// x *= scale.
struct ScaleOp {
  Slot x = 0;
  uint32_t features = 0;
  float scale = 1;
};

struct MatMulOp {
  Slot in = 0, out = 0;
  Matrix matrix = {};
  Store store = Store::kSet;
  Activation activation = Activation::kSilu;
};

/// Rotates rope.dims of every head of q, those from q_first on, and the first of every head of k,
/// in place. Heads of k have head_size features as those of q, unless k_head_size says otherwise.
struct RopeOp {
  Slot q = 0, k = 0;
  Rope rope = {};
  uint32_t heads = 0, kv_heads = 0, head_size = 0, q_first = 0, k_head_size = 0;
};

/// x *= 1 + temperature ln(1 + floor(position / length)).
struct TemperatureOp {
  Slot x = 0;
  uint32_t features = 0;
  double temperature = 0;
  uint64_t length = 1;
};

/// Of each of `groups` equal groups of features, `count` from in_first on go to out_first.
struct CopyOp {
  Slot in = 0, out = 0;
  uint32_t groups = 1, in_stride = 0, in_first = 0, out_stride = 0, out_first = 0, count = 0;
};

/// Appends k and v to the state, if they are its own, then attends to all of it. Where values are a
/// part of the keys, those from value_first on, v is not there.
struct AttentionOp {
  Slot q = 0, k = 0, v = 0, out = 0;
  bool values_in_keys = false;
  uint32_t value_first = 0;
  uint32_t heads = 0, kv_heads = 0, key_size = 0, value_size = 0;
  float scale = 0, softcap = 0;
  uint64_t window = 0;
  WeightPtr sinks = {};
  bool causal = true;
  bool own_keys = true;  ///< false: the state is another layer's, which holds them already
};

/// Attention over one latent vector a token, from which keys and values of all heads are made. k:
/// rope_size rotated features, then the latent vector; it is appended to the state. q: heads of
/// plain_size features, then rope_size rotated ones. k_b, v_b: rows and columns of one head. What a
/// head's key is made by may work on the query instead, and its value's part on the sum.
struct LatentAttentionOp {
  Slot q = 0, k = 0, out = 0;
  uint32_t heads = 0, rank = 0, plain_size = 0, rope_size = 0, value_size = 0;
  float scale = 0;
  Matrix k_b = {}, v_b = {};
};

/// out = (or +=) the sum of the experts that the router chooses by `in`; they read `expert_in`, of
/// `width` features, as the result has.
struct ExpertsOp {
  Slot in = 0, expert_in = 0, out = 0;
  bool add = false;
  uint32_t count = 0, used = 0, width = 0, hidden = 0;
  Matrix router = {};
  float router_scale = 1;
  Experts::Gating gating = Experts::Gating::kSoftmax;
  float nearness = 0;
  WeightPtr selection_bias = {};
  uint32_t groups = 1, groups_used = 1;
  bool group_by_two_best = false;
  bool normalize = false;
  float sum_epsilon = 0;
  float scale = 1;
  WeightPtr expert_scale = {};
  Activation activation = Activation::kSilu;
  Matrix gate = {}, up = {}, down = {};  ///< rows and columns of one expert
  bool clamped = false;
  Activation shared_activation = Activation::kSilu;
  Matrix shared_gate_proj = {}, shared_up = {}, shared_down = {};
  Matrix shared_gate = {};  ///< one row
};

/// Causal convolution per channel over time, then SiLU unless plain, in place. Its window is part
/// of the state.
struct ConvOp {
  Slot x = 0;
  WeightPtr weight = {}, bias = {};
  uint32_t channels = 0, taps = 0;
  bool plain = false;
};

/// Mamba: h = exp(dt A) h + dt B x; out = (C h + D x) silu(z), dt = softplus(dt). Per channel.
struct Scan1Op {
  Slot x = 0, z = 0, dt = 0, b = 0, c = 0, out = 0;
  WeightPtr a = {}, d = {};
  uint32_t inner = 0, state = 0;
};

/// Mamba-2: one A, dt and D per head; B and C per group; x, B, C side by side in `xbc`. out = C h +
/// D x.
struct Scan2Op {
  Slot xbc = 0, dt = 0, out = 0;
  WeightPtr dt_bias = {}, a = {}, d = {};
  uint32_t inner = 0, state = 0, heads = 0, groups = 1;
  float dt_min = 0, dt_max = 0;
};

/// The gated delta rule, see DeltaNet; q, k and v side by side in `qkv`.
struct DeltaOp {
  Slot qkv = 0, beta = 0, alpha = 0, out = 0;  ///< q and k are brought to length 1 in place
  WeightPtr dt_bias = {}, a = {};
  uint32_t key_heads = 0, value_heads = 0, key_size = 0, value_size = 0;
  bool alternating = false;
  float epsilon = 1e-6f;  ///< added to the squared lengths of q and k
};

/// x *= act(z), or x *= z.
struct GateOp {
  Slot x = 0, z = 0;
  uint32_t features = 0;
  Activation activation = Activation::kSilu;
  bool plain = false;  ///< no activation
};

/// x = min(max(x, -limit), limit).
struct ClampOp {
  Slot x = 0;
  uint32_t features = 0;
  float limit = 0;
};

/// x = xielu(x).
struct XieluOp {
  Slot x = 0;
  uint32_t features = 0;
  Xielu xielu = {};
};

using Op = std::variant<NormOp, AddOp, ScaleOp, MatMulOp, RopeOp, TemperatureOp, CopyOp,
                        LatentAttentionOp, AttentionOp, ExpertsOp, ConvOp, Scan1Op, Scan2Op,
                        DeltaOp, GateOp, ClampOp, XieluOp>;

/// A buffer: how many features, and from which feature of the scratch memory on. Buffers that are
/// never alive together overlap.
struct SlotInfo {
  uint32_t features = 0;
  uint64_t offset = 0;
};

struct Graph {
  std::vector<Op> ops;
  std::vector<SlotInfo> slots;    ///< the first two are outside the scratch memory
  uint64_t scratch_features = 0;  ///< per token
  uint64_t state_per_token = 0;   ///< values a token leaves in the state (keys and values)
};

/// The matrices that are there.
std::vector<const Matrix*> MatricesOf(const Op& op);

/// Whether the buffers share memory.
bool Overlap(const Graph& graph, Slot a, Slot b);

/// How many operations from `first` on are products of one input that none of them writes: what may
/// be done at once, kMostProducts of them at most. Two that share an output follow each other.
inline constexpr size_t kMostProducts = 8;
size_t ProductsFrom(const Graph& graph, size_t first);

/// Goes through the operations in their order: `products(first, count)` does those that
/// ProductsFrom takes together, `other(op)` one that is no product. Stops where one fails, or the
/// job must.
template <typename Products, typename Other>
absl::Status ForOperations(const Graph& graph, const Products& products, const Other& other) {
  for (size_t i = 0, count = 0; i < graph.ops.size(); i += count) {
    if (MustStop()) return GoOn();
    count = std::max<size_t>(ProductsFrom(graph, i), 1);
    SMELT_RETURN_IF_ERROR(std::visit(
        [&](const auto& op) -> absl::Status {
          if constexpr (std::is_same_v<decltype(op), const MatMulOp&>) {
            return products(i, count);
          } else {
            return other(op);
          }
        },
        graph.ops[i]));
  }
  return absl::OkStatus();
}

}  // namespace smelt
