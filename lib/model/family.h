// A family of published models as data: hyperparameters, GGUF keys, tensors. README.md here tells
// how to add one.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/base/checked.h"
#include "lib/base/metadata.h"
#include "lib/model/architecture.h"
#include "lib/model/config.h"
#include "lib/model/param.h"
#include "lib/model/recipe_source.h"
#include "lib/model/rope_config.h"

namespace smelt {

enum class HyperKind { kCount, kReal, kFlag };

/// What a hyperparameter is where the configuration does not say.
struct Fallback {
  enum class Kind { kRequired, kNumber, kSameAs, kAbsent } kind = Kind::kRequired;
  double number = 0;
  Param other = Param::kNone;
};
inline constexpr Fallback kRequired{};
constexpr Fallback Default(double number) { return {Fallback::Kind::kNumber, number}; }
constexpr Fallback SameAs(Param other) { return {Fallback::Kind::kSameAs, 0, other}; }
inline constexpr Fallback kAbsent{Fallback::Kind::kAbsent};  ///< Hyper::Has is false then

/// One hyperparameter. `fallback` is the default of transformers' configuration class (version 5.23
/// unless a comment says otherwise).
struct HyperRule {
  Param param = Param::kNone;
  std::string_view config;  ///< keys of config.json, "a|b": the first that is there
  HyperKind kind = HyperKind::kCount;
  Fallback fallback = kRequired;
  double low = 1, high = 1 << 24;  ///< of counts and reals
  /// Where the key is there with null. Empty: as where it is absent if the class then has no number
  /// of its own (kSameAs, kAbsent), else refused, as transformers does.
  std::optional<Fallback> null = std::nullopt;
};

/// A configuration key that we can honour at these values only. `allowed`: JSON texts,
/// "false|null".
struct FixedRule {
  std::string_view config, allowed;
};

/// Values of hyperparameters and of what was derived from them.
class Hyper {
 public:
  void Set(Param param, double value) { At(param) = value; }
  void Remove(Param param) { At(param).reset(); }
  bool Has(Param param) const { return At(param).has_value(); }
  /// 0 where it is absent, here and below.
  double real(Param param) const { return At(param).value_or(0); }
  /// 0 where it is no count, too.
  uint64_t operator()(Param param) const {
    return CheckedInteger<uint64_t>(real(param)).value_or(0);
  }
  bool flag(Param param) const { return real(param) != 0; }

 private:
  using Value = std::optional<double>;
  Value& At(Param param) { return values_[static_cast<size_t>(param)]; }
  const Value& At(Param param) const { return values_[static_cast<size_t>(param)]; }

  std::array<Value, kParamCount> values_;
};

struct Family;
struct ImaginedModel;

/// A tensor that several files hold in slices (Meta's parts): side by side, or one below the other.
struct SlicedTensor {
  std::vector<RawTensor> parts;
  bool by_columns = false;
};
using SlicedTensors = std::map<std::string, SlicedTensor, std::less<>>;

/// Everything known while a model is being described.
struct FamilyContext {
  const Family& family;
  const Config& config;
  const Container& container;  ///< what the files hold: where a layout's rest follows from shapes
  const SlicedTensors* sliced = nullptr;    ///< may be null
  const ImaginedModel* imagined = nullptr;  ///< where there are no files; else null
  Hyper hyper = {};
  RopeConfigs rope = {};
  std::vector<int32_t> kv_heads = {};  ///< by layer, 0 = no attention (hybrids)
  std::vector<int32_t> ffn = {};       ///< by layer, where they differ; 0 = no feed-forward part
  /// Rows of a matrix by section, from the first on, with the factor of each (TensorOp::kSections).
  std::vector<RowFactor> sections = {};
  std::vector<bool> sparse = {};  ///< layers with experts; empty = all of a family that has experts
  std::vector<bool> windowed = {};   ///< layers with the window; empty = no layer
  std::vector<bool> recurrent = {};  ///< layers with a recurrence in place of attention (hybrids)
  std::vector<bool> rotated =
      {};                       ///< layers whose q and k rotate; empty = as the architecture has it
  std::string activation = {};  ///< "silu", "gelu_tanh", ... as smelt.activation spells it
  Metadata extra = {};          ///< keys of hooks, written after the table's
  /// Lists of numbers that the files hold as tensors, by their metadata keys.
  std::map<std::string, std::vector<float>, std::less<>> numbers = {};
  std::vector<RecipeTensor> generated = {};  ///< tensors of hooks
  /// What llama.cpp does differently, half a sentence each.
  std::vector<std::string> differences = {};
  std::vector<std::string> notes = {}, warnings = {};
  uint64_t draft_blocks = 0;   ///< of a draft head that the files hold, kept or not
  bool wants_draft = false;    ///< somebody says that it is to be kept
  bool makes_vectors = false;  ///< as DescribeOptions
};

/// One GGUF key, without the architecture, which is put in front unless it begins with
/// "tokenizer.".
struct KeyRule {
  std::string_view key;
  ValueType type = ValueType::kU32;
  Param param = Param::kNone;                     ///< written only if it is there
  std::optional<double> constant = std::nullopt;  ///< written instead
  std::string_view text = "";  ///< written instead, of kString, where no row before it has the key
};
/// Places of keys that are computed: rotary parameters, window, file type.
inline constexpr KeyRule kRopeKeys{"@rope"};
inline constexpr KeyRule kWindowKeys{"@window"};
/// An array, one number a layer, where layers differ, else the number.
inline constexpr KeyRule kKvHeadsKey{"@kv_heads", ValueType::kU32, Param::kKvHeads};
inline constexpr KeyRule kFfnLengthsKey{"@ffn", ValueType::kU32, Param::kFfn};  ///< likewise
/// One flag a layer.
inline constexpr KeyRule kWindowFlagsKey{"@window_flags", ValueType::kArray};
inline constexpr KeyRule kRecurrentKey{"@recurrent", ValueType::kArray};
inline constexpr KeyRule kFileTypeKey{"@file_type"};

/// What happens to a published tensor on its way.
enum class TensorOp {
  kCopy,
  kRotaryQ,
  kRotaryK,            ///< half-split rotary rows to interleaved ones; heads of q, of k
  kAddOne,             ///< w + 1
  kTranspose,          ///< stored as (inputs, outputs)
  kHeadMajor,          ///< rows (heads, 3, head size) to (3, heads, head size)
  kHeadVectors,        ///< '#' in the source name is the head, each with a vector of `columns`
  kNumberOfLayer,      ///< one number; all layers' are a list under the metadata key `target`
  kExperts,            ///< '#' in the source name is the expert
  kPairedExperts,      ///< the same; of "a|b" both, of each expert half of its rows
  kStackedExperts,     ///< one tensor (experts, outputs, inputs)
  kTransposedExperts,  ///< one tensor (experts, inputs, outputs); where only the shape of
                       ///< kStackedExperts is right, that
  kTransposedExpertsFirst,
  kTransposedExpertsSecond,  ///< halves of columns of one tensor (experts, inputs, 2 outputs); or
                             ///< as kFusedExperts
  kFusedExpertsFirst,
  kFusedExpertsSecond,  ///< halves of rows of one tensor (experts, 2 outputs, inputs)
  kEvenExperts,
  kOddExperts,  ///< rows 0, 2, ... or 1, 3, ... of one tensor (experts, inputs, 2 outputs),
                ///< transposed
  kEvenExpertRows,
  kOddExpertRows,  ///< the same of one tensor (experts, 2 outputs, inputs), not transposed
  kEvenBias,
  kOddBias,      ///< the same of its biases (experts, 2 outputs)
  kExpertBias,   ///< (experts, outputs) as it is
  kNegativeExp,  ///< -exp(x)
  kFirstRows,
  kSecondRows,    ///< the first half of twice so many rows, the second
  kLatentKeys,    ///< of heads of (qk_nope_head_dim + v_head_dim) rows, the former, transposed
  kLatentValues,  ///< the latter
  kLatentKeysOfHeads,
  kLatentValuesOfHeads,  ///< one tensor (heads, inputs of the query, qk_nope_head_dim), turned
                         ///< already; (heads, v_head_dim, inputs)
  kSections,             ///< each section of rows times its factor
  kFlat,                 ///< stored as one vector of rows x columns values
  kFlatNegativeExp,      ///< the same, -exp(x)
  kConv,                 ///< (channels, 1, width) to (channels, width)
  // Of gated delta nets, whose value heads lie together by key head (k, j) and in a GGUF by turns
  // (j, k).
  kValueHeads,             ///< all rows are value heads'
  kValueHeadsNegativeExp,  ///< the same, -exp(x)
  kValueHeadColumns,       ///< all columns are value heads'
  kLastValueHeads,         ///< rows of q, of k, of the value heads
  kConvLastValueHeads,     ///< the same, and as kConv
  kUnfoldQkv,              ///< rows by key head: q, k, v, z each; all q, all k and all v of it
  kUnfoldGate,             ///< all z of it
  // Of one matrix of rows by key head: its queries, its key, its value.
  kGroupedRotaryQ,
  kGroupedRotaryK,
  kGroupedV,
};

/// '*' is the layer. Extents are names of hyperparameters (rows and columns of the GGUF tensor; no
/// columns: a vector).
struct TensorRule {
  std::string_view target;
  std::string_view source;  ///< "a|b": the first that is there
  Param rows = Param::kNone, columns = Param::kNone;
  TensorOp op = TensorOp::kCopy;
  Param bias = Param::kNone;  ///< flag that promises a bias of `rows` values
  bool (*when)(const FamilyContext&, uint64_t layer) = nullptr;
  /// Where the files have this tensor of all experts in place of `source`, with what happens to it.
  std::string_view fused = "";
  TensorOp fused_op = TensorOp::kStackedExperts;
  /// The same of what mlx-lm's class makes of it (mlx_layout.h undoes the rest).
  std::string_view mlx = "";
  TensorOp mlx_op = TensorOp::kStackedExperts;
  Param factors[2] = {};  ///< what it is multiplied by, one after the other
  bool optional = false;  ///< files may lack it
};

/// A tensor that is multiplied on its way; its operation comes before.
constexpr TensorRule Scaled(TensorRule rule, Param first, Param second = Param::kNone) {
  rule.factors[0] = first;
  rule.factors[1] = second;
  return rule;
}

/// Experts that some files hold one by one and others as the class holds them in memory.
constexpr TensorRule OrFused(TensorRule rule, std::string_view fused, TensorOp op) {
  rule.fused = fused;
  rule.fused_op = op;
  return rule;
}

/// What mlx-lm's class makes another tensor of.
constexpr TensorRule OrMlx(TensorRule rule, std::string_view mlx, TensorOp op) {
  rule.mlx = mlx;
  rule.mlx_op = op;
  return rule;
}

/// A tensor that files may lack.
constexpr TensorRule Optional(TensorRule rule) {
  rule.optional = true;
  return rule;
}

/// A rule that holds for some layers or models only.
constexpr TensorRule If(bool (*when)(const FamilyContext&, uint64_t layer), TensorRule rule) {
  rule.when = when;
  return rule;
}

/// What the list `layer_types` is to a class.
enum class LayerTypes {
  kDecides,   ///< it says which layers have the window
  kUnheeded,  ///< checked only: the class gives the window to all layers
  kMixers,    ///< kinds of mixers, which `derive` reads
};

/// Blocks after the model's own that guess further tokens (multi-token prediction). They are
/// carried along, evaluation does not run them.
struct DraftHead {
  /// What the names of their tensors begin with; "model.layers." is there under it, numbered from
  /// 0. "": they are numbered on from the model's own blocks.
  std::string_view prefix = "";
  std::string_view mark = "";                ///< a tensor of each of them; "": the class has none
  std::span<const TensorRule> tensors = {};  ///< besides the family's rules for a block
  bool kept = true;                          ///< a GGUF of the architecture has a place for them
};

struct Family {
  std::span<const std::string_view> names;  ///< of config.json's "architectures"
  std::string_view model_type = "";  ///< config.json's of that class, "a|b"; "": there is none
  const Architecture& architecture;
  /// Of a class of which several families are made: whether this one is meant. Before another.
  bool (*meant)(const Config& config) = nullptr;
  std::span<const HyperRule> hypers;
  std::span<const FixedRule> fixed;
  std::span<const KeyRule> keys;
  std::span<const TensorRule> tensors;
  /// Key of the object in config.json that describes the text model; "": the whole does.
  std::string_view part = "";
  bool part_optional = false;  ///< where it is absent, the whole describes the text model
  /// Its model_type, where classes with other parts share a name; "a|": or none at all.
  std::string_view part_type = "";
  std::span<const std::string_view> of_whole = {};  ///< keys that count outside of `part` only
  /// Keys of the class that change nothing in its results, which deserves a note.
  std::span<const std::string_view> without_effect = {};
  std::string_view body =
      "model.";  ///< prefix of all tensors but the head; models saved without head lack it
  std::string_view head = "lm_head.weight";  ///< "a|b": the first that is there
  std::string_view outer = "";               ///< prefix that all names of the files have besides
  std::span<const std::string_view> dropped = {};  ///< endings of tensors without influence
  /// How it is compared with transformers: recorded values of a small model, random configurations.
  std::string_view checked = "recorded, drawn";
  std::string_view llama_cpp = "";  ///< what llama.cpp does differently, half sentences
  RopeDefaults rope = {};
  bool rotary = true;
  bool partial_rotary = false;  ///< a part of the head may rotate
  std::string_view activation_key = "hidden_act";
  bool gelu_means_tanh = false;          ///< Gemma: a legacy value of the official releases
  std::string_view activation = "silu";  ///< where the configuration does not say
  /// Whether the class gives a layer the window of `window` positions; nullptr: it has no windows.
  bool (*windowed)(const Hyper& hyper, uint64_t layer) = nullptr;
  LayerTypes layer_types = LayerTypes::kDecides;
  bool llama_cpp_windows = false;  ///< llama.cpp honours windows of this architecture
  bool lists_windows = false;  ///< the key that says which layers have the window is always written
  bool ends_with_eod = false;  ///< texts end with eod_token_id, as llama.cpp's converter sees it
  DraftHead draft = {};
  bool rows_by_vocabulary =
      false;  ///< embedding rows beyond the tokenizer's vocabulary are left out
  absl::Status (*derive)(FamilyContext&) =
      nullptr;  ///< after the hyperparameters, before keys and tensors
};

/// Whether the configuration's part is of the family's `part_type`, where it has one.
bool HasPartOf(const Family& family, const Config& config);

/// Of the families that answer to a class's name, the one whose `part_type` the configuration has;
/// nullptr when there is none.
const Family* FindFamily(std::string_view architecture_name, const Config& config);

/// llama.cpp's converter of 2026 says more of a tokenizer and of sampling than that of 2025; files
/// of families that are as old stay as they were.
bool IsWrittenAsIn2025(const Family& family);

/// The configuration of the text model in a whole config.json, whose `model_type` must be the
/// family's.
absl::StatusOr<Config> TextPart(const Family& family, const Config& whole);

/// The family of a params.json (Meta's and Mistral's own layouts), by its content and the kind of
/// its weights (`meta`: consolidated.NN.pth).
const Family& FamilyOfParams(const Config& params, bool meta);

/// A model described: what a GGUF of it holds, besides general.* and tokenizer.*.
struct DescribedModel {
  Metadata keys;  ///< in file order; general.file_type among them with value 0
  std::vector<RecipeTensor> tensors;
  std::vector<std::string> notes, warnings;
  uint64_t vocabulary_rows = 0;
};

struct DescribeOptions {
  uint64_t vocabulary_size = 0;  ///< ids of the tokenizer, 0 when unknown
  /// Tensors of the container whose values lie in several files; their shape in it is that of the
  /// whole. May be null.
  const SlicedTensors* sliced = nullptr;
  std::optional<bool> keep_draft = std::nullopt;  ///< a draft head; nothing = as the family has it
  /// The model is published for its vectors: that no output matrix is stored is no mistake.
  bool makes_vectors = false;
};
absl::StatusOr<DescribedModel> Describe(const Family& family, const Config& config,
                                        const Container& container, const DescribeOptions& options);

// Shared by derive hooks.

/// `rope_factors_long.weight` and `rope_factors_short.weight`, checked against the rotary
/// dimensions.
absl::Status AddLongRopeFactors(FamilyContext& context);

/// The tables' steps, one file each.
absl::StatusOr<FamilyContext> ReadHyper(const Family& family, const Config& config,
                                        const Container& container, const SlicedTensors* sliced,
                                        std::optional<bool> keep_draft);
absl::Status WriteKeys(FamilyContext& context, Metadata& keys);
absl::StatusOr<std::vector<RecipeTensor>> MakeTensors(FamilyContext& context);

}  // namespace smelt
