// The whole output decided before its first byte is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/importance.h"
#include "lib/base/tensor_type.h"
#include "lib/jobs/fallbacks.h"
#include "lib/jobs/gathering.h"
#include "lib/model/model_source.h"
#include "smelt/metadata_edits.h"

namespace smelt {

/// Raised whenever an encoder gives other bytes than before: plans and half-written files of
/// another version are not continued.
inline constexpr uint32_t kEncoderVersion = 4;

/// What the user may decide about the bytes of an output. The same source, options and encoder
/// version give the same file.
struct PlanOptions {
  std::string type = "auto";  ///< preset, "f32", "f16", "bf16", "auto" or "copy"; any letter case
  bool pure = false;
  std::string output_tensor_type{}, token_embedding_type{};         ///< empty: as the preset says
  std::vector<std::pair<std::string, std::string>> tensor_types{};  ///< regex, type name
  MetadataEdits metadata{};    ///< resolved (lib/jobs/metadata_edit.h)
  bool allow_fallback = true;  ///< false: refuse where a type's blocks do not divide the rows
  bool allow_requantize = false;
  std::string effort = "normal";  ///< of the encoders: fast, normal or best
  std::string imatrix{};          ///< importance-matrix file; "auto": gathered; empty: none
  std::vector<std::string> calibration{};  ///< texts to gather on; empty: the bundled one
  uint64_t calibration_tokens = 0;         ///< of all of them, at most; 0: by the model's size
  std::string statistics{};  ///< file that keeps what is gathered, or has it; empty: none
  std::vector<std::pair<std::string, double>> adapters{};  ///< folders, strengths
  std::string base{};
  std::string mtp{};
  std::string pre{};
  bool allow_tokenizer_mismatch = false;
  uint64_t split_size = 0;     ///< bytes of a part, unless one tensor takes more; 0: one file
  uint64_t split_tensors = 0;  ///< tensors of a part; 0: one file

  /// Whether the walk gathers statistics.
  bool gathers() const { return effort == "best" || imatrix == "auto"; }

  friend bool operator==(const PlanOptions&, const PlanOptions&) = default;
};

/// A tensor of the output and the tiles in which it is written. Tiles never cross a matrix (an
/// expert).
struct PlannedTensor {
  std::string name;
  size_t source = 0;  ///< index in ModelSource::tensors()
  Shape shape;
  TensorType source_type = TensorType::kF32;
  TensorType type = TensorType::kF32;
  std::string why;
  int importance = -1;      ///< entry of Plan::importance, or -1
  size_t file = 0;          ///< index in Plan::files
  uint64_t offset = 0;      ///< from the start of that file
  uint64_t bytes = 0;       ///< without padding
  uint64_t padding = 0;     ///< zeros that follow
  uint64_t tile_rows = 1;   ///< rows of a tile; the last of a matrix may have fewer
  uint64_t tiles = 1;       ///< all of the tensor
  uint64_t first_tile = 0;  ///< number of its first tile in the whole plan

  uint64_t matrix_rows() const { return shape.ne[1]; }
  uint64_t tiles_per_matrix() const { return (matrix_rows() + tile_rows - 1) / tile_rows; }
};

/// Rows [first_row, first_row + rows) of a planned tensor; rows run over all matrices together.
struct Tile {
  size_t tensor = 0, file = 0;
  uint64_t first_row = 0, rows = 0;
  uint64_t offset = 0, bytes = 0;  ///< in the file
  uint64_t padding = 0;            ///< zeros after it: the tensor's, when it is the last tile
};

/// One of the files that the output consists of: usually there is one, with `--split-size` several,
/// of which a reader opens the first.
struct PlannedFile {
  std::vector<std::byte> header;
  uint64_t bytes = 0;    ///< header included
  uint64_t tensors = 0;  ///< neighbours; all of a tensor is in one file
  uint64_t first_tile = 0, tiles = 0;
};

struct Plan {
  std::string source;           ///< as the user named it
  std::string source_identity;  ///< ModelSource::identity()
  std::string architecture;
  std::string type;  ///< name in capitals: "Q4_K_M", "F16", "COPY"
  PlanOptions options;
  uint32_t encoder_version = kEncoderVersion;
  std::vector<std::string> warnings;  ///< options that do not do what they say; not saved
  Fallbacks fallbacks;                ///< of the preset; not saved
  std::shared_ptr<const ImportanceFile> importance;  ///< nullptr: none
  std::optional<Gathering> gathering;  ///< while the output is written, if there is any
  std::vector<PlannedFile> files;
  std::vector<PlannedTensor> tensors;
  uint64_t file_bytes = 0;  ///< of all files
  uint64_t parameters = 0;
  uint64_t tiles = 0;

  uint64_t header_bytes() const;  ///< of all files
  /// Size of all tensors in bits over their elements.
  double bits_per_weight() const;
  /// Identifies the output's bytes: everything that they depend on.
  uint64_t Fingerprint() const;
  Tile TileAt(uint64_t number) const;
};

/// Tensor types fixed by a saved plan, in the order of the source's tensors.
struct FixedTypes {
  std::vector<std::pair<TensorType, std::string>> types;  ///< type, why
};

/// Decides types, metadata and layout. Errors: kUsage for options, kUnsupported for what cannot be
/// encoded (or would quantize twice without options.allow_requantize).
absl::StatusOr<Plan> MakePlan(const ModelSource& source, const PlanOptions& options,
                              const FixedTypes* fixed = nullptr);

/// Output name when the user gives none: BASENAME-SIZE-FINETUNE-VERSION-TYPE.gguf from the
/// metadata, or the source's own name. `type`: what to call it instead of the plan's; empty:
/// nothing.
std::string DefaultOutputName(const ModelSource& source, const Plan& plan,
                              const std::string& type = "");

}  // namespace smelt
