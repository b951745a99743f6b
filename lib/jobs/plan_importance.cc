#include "lib/jobs/plan_importance.h"

#include <string>
#include <string_view>

#include "lib/base/status.h"
#include "quant/encoder.h"

namespace smelt {
namespace {

constexpr size_t kLongestText = 127;  // of the keys; llama-quantize's

/// Inputs of the first are ids, of the last nobody need have looked at: no file must have these.
bool IsEnd(std::string_view tensor) {
  return tensor == "token_embd.weight" || tensor == "per_layer_token_embd.weight" ||
         tensor == "output.weight";
}

bool NeedsIt(const Plan& plan, const PlannedTensor& tensor) {
  if (IsEnd(tensor.name) || plan.options.gathers()) return false;
  return NeedsImportance(tensor.type) ||
         (plan.type == "Q2_K_S" && tensor.type == TensorType::kQ2_K);
}

absl::Status Refuse(const Plan& plan, const PlannedTensor& tensor) {
  const std::string what = Cat("tensor ", Escape(tensor.name), " would become ",
                               Info(tensor.type).name, ", which loses too much without importance");
  if (plan.importance == nullptr) {
    return Error(
        ErrorCode::kUnsupported, what,
        ": give an importance matrix with --imatrix (`smelt imatrix` makes one, auto gathers it), "
        "or choose another --type");
  }
  return Error(ErrorCode::kUnsupported, what, ", and ", Escape(plan.options.imatrix),
               " says nothing of it: give one of this very model, or another type for the tensor "
               "with --tensor-type");
}

absl::Status WrongSize(const Plan& plan, const PlannedTensor& tensor) {
  const ImportanceEntry& entry = plan.importance->entries()[static_cast<size_t>(tensor.importance)];
  return Error(ErrorCode::kInvalidInput, Escape(plan.options.imatrix), ": tensor ",
               Escape(tensor.name), " has values for ", entry.columns, " columns of ",
               entry.matrices(), " matrices, in the model it is ", tensor.shape.ToText(),
               ": the importance matrix is of another model");
}

/// Numbers of plan.tensors, by what the file says of them.
struct Tally {
  uint64_t quantized = 0, matched = 0, left_out = 0;
  std::string first_left_out;
};

void WarnAbout(const Tally& tally, Plan& plan) {
  const std::string name = Escape(plan.options.imatrix);
  if (tally.quantized == 0) {
    plan.warnings.push_back(
        Cat("--imatrix has no effect with --type ", Escape(plan.options.type),
            ": it weighs the errors of types such as q4_k_m, and no tensor is quantized"));
  }
  if (plan.importance == nullptr || tally.quantized == 0) return;
  if (tally.matched == 0) {
    plan.warnings.push_back(Cat("--imatrix has no effect: ", name,
                                " names none of the tensors that are quantized; it is of another "
                                "model"));
  } else if (tally.left_out > 0) {
    plan.warnings.push_back(Cat(name, " says nothing of ", tally.left_out,
                                tally.left_out == 1 ? " tensor that is" : " tensors that are",
                                " quantized (first ", Escape(tally.first_left_out, 60),
                                "): done without importance"));
  }
}

}  // namespace

absl::Status OpenImportance(Plan& plan) {
  if (plan.options.imatrix.empty() || plan.options.imatrix == kGather) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(plan.importance, ImportanceFile::Open(plan.options.imatrix));
  return absl::OkStatus();
}

void SetImportanceKeys(const Plan& plan, Metadata& metadata) {
  if (plan.importance == nullptr && plan.gathering) {
    metadata.Set("quantize.imatrix.file", std::string(kGather));
    metadata.Set("quantize.imatrix.dataset", plan.gathering->Dataset().substr(0, kLongestText));
  }
  if (plan.importance == nullptr) return;
  const ImportanceOrigin& origin = plan.importance->origin();
  metadata.Set("quantize.imatrix.file", plan.options.imatrix.substr(0, kLongestText));
  if (!origin.datasets.empty())
    metadata.Set("quantize.imatrix.dataset", origin.datasets[0].substr(0, kLongestText));
  metadata.Set("quantize.imatrix.entries_count",
               static_cast<uint32_t>(plan.importance->entries().size()));
  if (origin.chunks > 0) metadata.Set("quantize.imatrix.chunks_count", origin.chunks);
}

absl::Status MatchImportance(Plan& plan) {
  Tally tally;
  for (PlannedTensor& tensor : plan.tensors) {
    if (!Info(tensor.type).quantized || tensor.type == tensor.source_type) continue;
    ++tally.quantized;
    if (plan.importance != nullptr) tensor.importance = plan.importance->Find(tensor.name);
    if (tensor.importance >= 0 &&
        !plan.importance->Fits(static_cast<size_t>(tensor.importance), tensor.shape.columns(),
                               tensor.shape.ne[2] * tensor.shape.ne[3])) {
      if (!IsEnd(tensor.name)) return WrongSize(plan, tensor);
      tensor.importance = -1;  // of an embedding it is no importance in any file
    }
    if (tensor.importance >= 0) {
      ++tally.matched;
      continue;
    }
    if (NeedsIt(plan, tensor)) return Refuse(plan, tensor);
    if (IsEnd(tensor.name)) continue;
    if (tally.left_out++ == 0) tally.first_left_out = tensor.name;
  }
  if (!plan.options.imatrix.empty()) WarnAbout(tally, plan);
  return absl::OkStatus();
}

}  // namespace smelt
