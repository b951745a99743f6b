// Where the engine computes. The engine hands over graphs, batches of tokens and opaque buffers; it
// never sees how or where a backend keeps them.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/graph.h"
#include "infer/score.h"
#include "infer/tap.h"
#include "lib/model/model_source.h"

namespace smelt {

/// A run of tokens of one sequence, the first at `position`.
struct Sequence {
  uint64_t tokens = 0;
  uint64_t position = 0;
};

/// How the tokens of one run lie in buffers, with the scratch buffers that programs share.
class Batch {
 public:
  explicit Batch(std::span<const Sequence> of) : sequences(of.begin(), of.end()) {}
  virtual ~Batch() = default;
  const std::vector<Sequence> sequences;
};

/// Where a buffer's values lie: those of a file may be written out when memory is wanted.
enum class Place { kMemory, kTemporaryFile };

/// How keys and values are kept. What attends to them computes in f32.
enum class CacheType { kF32, kF16 };

/// Activations of a batch, [token][feature], in the backend's own memory and layout.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Copy(Place place) const = 0;
};

/// What a layer keeps between runs, for each sequence of a batch: keys and values, or a recurrent
/// state and a window.
class State {
 public:
  virtual ~State() = default;
  virtual std::unique_ptr<State> Copy() const = 0;
  virtual void Clear() = 0;  ///< as new; memory is kept
  /// Forgets what came after so many positions of every sequence. False where that is impossible.
  virtual bool Truncate(uint64_t positions) = 0;
};

/// A graph made ready. Holds its weights.
class Program {
 public:
  virtual ~Program() = default;
};

/// What a weight is for.
enum class WeightUse {
  kValues,    ///< a small one (norms, biases, ...): all values are kept as f32
  kStream,    ///< a matrix that is read and decoded on the fly; nothing is kept
  kResident,  ///< a matrix used again and again: what cannot be mapped is kept in memory
  /// The same, for single tokens above all: what a backend multiplies faster in another order is
  /// kept in that order too, where there is memory for it.
  kInterleaved,
};

/// The end of a model: logits = cap(scale W x).
struct Head {
  Matrix output = {};
  float scale = 1, softcap = 0;
};

/// What gives a batch's logits: a head and what goes into it.
struct HeadInput {
  const Head* head = nullptr;
  const Buffer* x = nullptr;
};

/// A token to be scored: the logits at batch token `token` against the id that came next.
struct Target {
  uint32_t token = 0;
  int32_t next = 0;
};

/// In nats. `reference_nll`, `kl` (of the reference's distribution to the model's) and `same_top`
/// only with a reference.
struct TokenLoss {
  double nll = 0, reference_nll = 0, kl = 0;
  bool same_top = false, finite = true, reference_finite = true;
};

/// What a device was told to do.
struct CommandCounts {
  uint64_t dispatches = 0;  ///< runs of a shader
  uint64_t barriers = 0;    ///< commands that waited for those before them
  uint64_t submits = 0;     ///< hand-overs to the driver
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// So far; nothing where there is no device besides the processor.
  virtual CommandCounts counts() const { return {}; }
  /// Of the weights that are kept in another order too.
  virtual uint64_t interleaved_bytes() const { return 0; }

  virtual absl::StatusOr<WeightPtr> LoadWeight(const ModelSource& source, TensorRef tensor,
                                               WeightUse use) = 0;
  virtual absl::StatusOr<std::unique_ptr<Program>> Compile(Graph graph, Precision precision) = 0;

  /// `length`: positions of the sequence in use, for Rope::long_from.
  virtual absl::StatusOr<std::unique_ptr<Batch>> NewBatch(std::span<const Sequence> sequences,
                                                          uint64_t length) = 0;
  virtual absl::StatusOr<std::unique_ptr<Buffer>> NewBuffer(const Batch& batch, uint32_t features,
                                                            Place place = Place::kMemory) = 0;
  virtual std::unique_ptr<State> NewState(size_t sequences, Place place = Place::kMemory,
                                          CacheType cache = CacheType::kF32) = 0;

  /// Whether the state is one that this backend made, or can run with.
  virtual bool Owns(const State& state) const = 0;

  /// What a batch's activations, keys and values take at most where it holds more than one
  /// sequence.
  virtual uint64_t activation_bytes() const = 0;

  /// What the weights of a program that stays may take, with keys and values.
  virtual uint64_t resident_bytes() const { return std::numeric_limits<uint64_t>::max(); }

  /// Values of the tokens from `first` on, [token][feature], from the host's memory to a buffer and
  /// back. All of a new buffer are written, in their order.
  virtual absl::Status Write(const Batch& batch, uint32_t first, std::span<const float> values,
                             Buffer& to) = 0;
  virtual absl::Status Read(const Batch& batch, uint32_t first, const Buffer& from,
                            std::span<float> values) = 0;

  /// Records the program's operations for this batch, submits them and waits. `x` is the residual
  /// stream; `inputs` are the per-layer inputs, of models that have them. `state` is that of the
  /// layer whose keys the program's attends to. `tap` sees what goes into its products.
  virtual absl::Status Run(const Program& program, Batch& batch, State& state, Buffer& x,
                           Buffer* inputs = nullptr, Tap* tap = nullptr) = 0;

  /// Tells the tap that `x` goes into a product with `matrix`, which is not carried out.
  virtual absl::Status Watch(const Batch& batch, const Matrix& matrix, const Buffer& x,
                             Tap& tap) = 0;

  /// Losses of `targets` by tiles of the vocabulary, [model][target]. The heads of the models have
  /// the same number of rows; `reference`, which all of them are compared with, may be nullptr.
  virtual absl::Status Loss(const Batch& batch, std::span<const HeadInput> models,
                            const HeadInput* reference, std::span<const Target> targets,
                            Precision precision, std::span<TokenLoss> losses) = 0;

  /// Logits of some tokens, [token][vocabulary], to host memory.
  virtual absl::Status Logits(const Batch& batch, const Head& head, const Buffer& x,
                              std::span<const uint32_t> tokens, Precision precision,
                              std::span<float> logits) = 0;
};

std::unique_ptr<Backend> NewCpuBackend();

}  // namespace smelt
