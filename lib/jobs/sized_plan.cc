#include "lib/jobs/sized_plan.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>

#include "lib/base/ascii.h"
#include "lib/base/atomic_file.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/jobs/tensor_losses.h"
#include "quant/allocation.h"

namespace smelt {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

/// The preset that decides what is not chosen, and that the file's type is named after: the
/// coarsest one of at least so many bits.
struct Nearest {
  double bits;
  const char* preset;
};
constexpr Nearest kPresets[] = {{2.8, "q2_k"},   {3.9, "q3_k_m"}, {4.6, "q4_k_s"}, {5.3, "q4_k_m"},
                                {6.2, "q5_k_m"}, {7.5, "q6_k"},   {1e9, "q8_0"}};

/// A pattern for this name alone.
std::string PatternFor(std::string_view name) {
  std::string out = "^";
  for (const char c : name) {
    if (std::string_view(".\\+*?()[]{}|^$").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out + "$";
}

/// What the target is about, in bytes.
uint64_t SizeOf(const Plan& plan, const SizeTarget& target) {
  if (target.bytes != 0) return plan.file_bytes;
  uint64_t bytes = 0;
  for (const PlannedTensor& t : plan.tensors) bytes += t.bytes;
  return bytes;
}

uint64_t Limit(const Plan& plan, const SizeTarget& target) {
  if (target.bytes != 0) return target.bytes;
  return static_cast<uint64_t>(target.bits_per_weight * static_cast<double>(plan.parameters) / 8);
}

std::pair<double, const char*> InUnit(uint64_t bytes) {
  const double size = static_cast<double>(bytes);
  if (size >= 1e9) return {size / 1e9, "GB"};
  if (size >= 1e6) return {size / 1e6, "MB"};
  return {size / 1e3, "kB"};
}

std::string InWords(uint64_t bytes, const Plan& plan, const SizeTarget& target) {
  char text[64];
  if (target.bytes != 0) {
    const auto [number, unit] = InUnit(bytes);
    std::snprintf(text, sizeof(text), "%.3f %s", number, unit);
  } else {
    std::snprintf(text, sizeof(text), "%.3f bits per weight",
                  8 * static_cast<double>(bytes) / static_cast<double>(plan.parameters));
  }
  return text;
}

/// Fits the types of one model to a target.
class Fitter {
 public:
  Fitter(const ModelSource& source, const PlanOptions& options, const SizeTarget& target,
         const Observer& observer)
      : source_(source), options_(options), target_(target), observer_(observer) {}

  absl::StatusOr<PlanOptions> Run(const std::string& types_file) {
    SMELT_RETURN_IF_ERROR(MakeBase());
    if (!types_file.empty() && Exists(types_file)) {
      SMELT_ASSIGN_OR_RETURN(const Rows rows, ReadTypesFile(types_file));
      observer_.Note(Cat("the types are those of ", Escape(types_file)));
      return Checked(rows);
    }
    if (ToChoose().empty()) {
      return Error(ErrorCode::kUsage, "--type ", Escape(options_.type),
                   " leaves no tensor to choose a type for: name a quantizing one, or none");
    }
    SMELT_ASSIGN_OR_RETURN(losses_, MeasureTensorLosses(source_, base_, ToChoose(), observer_));
    MakeItems();
    SMELT_ASSIGN_OR_RETURN(const PlanOptions fitted, Choose());
    if (!types_file.empty()) SMELT_RETURN_IF_ERROR(Write(types_file));
    TellWhatMoreWouldGain();
    return fitted;
  }

 private:
  absl::Status MakeBase() {
    if (UpperAscii(options_.type) == "AUTO") {
      uint64_t parameters = 1;
      for (const TensorInfo& t : source_.tensors()) parameters += t.shape.elements();
      const double bits = target_.bytes == 0 ? target_.bits_per_weight
                                             : 8 * static_cast<double>(target_.bytes) /
                                                   static_cast<double>(parameters);
      options_.type =
          std::ranges::find_if(kPresets, [&](const Nearest& n) { return bits <= n.bits; })->preset;
    }
    SMELT_ASSIGN_OR_RETURN(base_, MakePlan(source_, options_));
    return absl::OkStatus();
  }

  /// What the preset quantizes and no option names.
  std::vector<size_t> ToChoose() const {
    std::vector<size_t> out;
    for (size_t i = 0; i < base_.tensors.size(); ++i) {
      const PlannedTensor& t = base_.tensors[i];
      if (Info(t.type).quantized && t.type != t.source_type && !t.why.starts_with("--"))
        out.push_back(i);
    }
    return out;
  }

  void MakeItems() {
    for (const TensorLosses& t : losses_) {
      std::vector<AllocationChoice>& choices = items_.emplace_back();
      const Shape& shape = base_.tensors[t.tensor].shape;
      for (const TensorLosses::Loss& loss : t.types) {
        choices.push_back(
            {Padded(*RowBytes(loss.type, shape.columns()) * shape.rows()), loss.loss});
      }
    }
  }

  /// With what stands between tensors where the size of a file counts.
  uint64_t Padded(uint64_t bytes) const {
    return target_.bytes == 0 ? bytes : (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  uint64_t SizeOf(const Plan& plan) const { return smelt::SizeOf(plan, target_); }
  uint64_t Limit() const { return smelt::Limit(base_, target_); }
  std::string InWords(uint64_t bytes) const { return smelt::InWords(bytes, base_, target_); }

  absl::Status TooSmall(uint64_t least) const {
    return Error(ErrorCode::kUsage, "the smallest types that this model can be stored in make ",
                 InWords(least), ", more than the ", InWords(Limit()), " asked for",
                 options_.imatrix.empty() && !options_.gathers()
                     ? "; --imatrix auto or --effort best allow smaller ones"
                     : "");
  }

  // What lies beside the tensors (a header, or several, with their padding) is what the plan that
  // comes out says: where it is too large, again with less.
  absl::StatusOr<PlanOptions> Choose() {
    uint64_t chosen_before = 0;
    for (const TensorLosses& t : losses_) chosen_before += Padded(base_.tensors[t.tensor].bytes);
    uint64_t beside = SizeOf(base_) - std::min(SizeOf(base_), chosen_before);
    uint64_t least = beside;
    for (const auto& choices : items_)
      least += std::ranges::min(choices, {}, &AllocationChoice::bytes).bytes;
    for (;;) {
      std::optional<std::vector<size_t>> chosen;
      if (beside <= Limit()) chosen = Allocate(items_, Limit() - beside);
      if (!chosen) return TooSmall(least);
      chosen_ = *std::move(chosen);
      PlanOptions fitted = WithRows(RowsOf(chosen_));
      SMELT_ASSIGN_OR_RETURN(const Plan plan, MakePlan(source_, fitted));
      if (SizeOf(plan) <= Limit()) return fitted;
      beside += SizeOf(plan) - Limit();
    }
  }

  Rows RowsOf(const std::vector<size_t>& chosen) const {
    Rows rows;
    for (size_t i = 0; i < losses_.size(); ++i) {
      rows.emplace_back(PatternFor(base_.tensors[losses_[i].tensor].name),
                        LowerAscii(Info(losses_[i].types[chosen[i]].type).name));
    }
    return rows;
  }

  PlanOptions WithRows(const Rows& rows) const {
    PlanOptions out = options_;
    out.tensor_types.insert(out.tensor_types.end(), rows.begin(), rows.end());
    return out;
  }

  absl::StatusOr<PlanOptions> Checked(const Rows& rows) const {
    PlanOptions out = WithRows(rows);
    SMELT_ASSIGN_OR_RETURN(const Plan plan, MakePlan(source_, out));
    SMELT_RETURN_IF_ERROR(CheckSize(plan, target_));
    return out;
  }

  absl::Status Write(const std::string& path) const {
    std::string text = Cat("# Types for ", InWords(Limit()), ", ", options_.effort,
                           " effort: tensor, type, and the loss (KL divergence) expected of it\n");
    const Rows rows = RowsOf(chosen_);
    for (size_t i = 0; i < rows.size(); ++i) {
      char loss[32];
      std::snprintf(loss, sizeof(loss), "%.3g", items_[i][chosen_[i]].loss);
      text += Cat(rows[i].first, "=", rows[i].second, "  # ", loss, "\n");
    }
    SMELT_RETURN_IF_ERROR(WriteFileAtomically(path, text, false));
    observer_.Note(Cat("the types are in ", Escape(path)));
    return absl::OkStatus();
  }

  double LossOf(const std::vector<size_t>& chosen) const {
    double sum = 0;
    for (size_t i = 0; i < items_.size(); ++i) sum += items_[i][chosen[i]].loss;
    return sum;
  }

  void TellWhatMoreWouldGain() const {
    uint64_t used = 0;
    for (size_t i = 0; i < items_.size(); ++i) used += items_[i][chosen_[i]].bytes;
    const uint64_t more = Limit() / 20;
    const auto next = Allocate(items_, used + more);
    const double now = LossOf(chosen_);
    if (!next || now <= 0) return;
    char text[32];
    std::snprintf(text, sizeof(text), "%.0f", 100 * (1 - LossOf(*next) / now));
    observer_.Note(Cat("at ", InWords(Limit() + more), ", 5 % more, the loss would be about ", text,
                       " % smaller"));
  }

  static constexpr uint64_t kAlignment = 32;

  const ModelSource& source_;
  PlanOptions options_;
  const SizeTarget target_;
  const Observer& observer_;
  Plan base_;
  std::vector<TensorLosses> losses_;
  std::vector<std::vector<AllocationChoice>> items_;  ///< as losses_
  std::vector<size_t> chosen_;
};

std::string Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(kSpace) + 1 - first));
}

}  // namespace

absl::StatusOr<Rows> ReadTypesFile(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  Rows rows;
  size_t line = 0;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view whole = std::string_view(text).substr(begin, end - begin);
    const std::string row = Trimmed(whole.substr(0, whole.find('#')));
    begin = end + 1;
    if (row.empty()) continue;
    const size_t at = row.rfind('=');
    if (at == std::string::npos || at == 0 || at + 1 == row.size()) {
      return Error(ErrorCode::kInvalidInput, Escape(path), ": line ", line + 1, " is \"",
                   Escape(row, 60), "\": write REGEX=TYPE, such as ffn_down=q6_k");
    }
    rows.emplace_back(Trimmed(row.substr(0, at)), Trimmed(row.substr(at + 1)));
  }
  return rows;
}

std::string NameOf(const SizeTarget& target) {
  char text[40] = "";
  if (target.bits_per_weight != 0)
    std::snprintf(text, sizeof(text), "%.6gbpw", target.bits_per_weight);
  if (target.bytes != 0) {
    const auto [number, unit] = InUnit(target.bytes);
    std::snprintf(text, sizeof(text), "%.6g%s", number, unit);
  }
  return text;
}

absl::Status CheckSize(const Plan& plan, const SizeTarget& target) {
  const uint64_t size = SizeOf(plan, target), limit = Limit(plan, target);
  if (size <= limit) return absl::OkStatus();
  return Error(ErrorCode::kUsage, "with these types the output takes ", InWords(size, plan, target),
               ", more than the ", InWords(limit, plan, target), " asked for");
}

absl::StatusOr<PlanOptions> FitToSize(const ModelSource& source, const PlanOptions& options,
                                      const SizeTarget& target, const std::string& types_file,
                                      const Observer& observer) {
  if (target.bytes != 0 && target.bits_per_weight != 0)
    return Error(ErrorCode::kUsage, "--target-size and --target-bpw: give one of the two");
  if (options.pure || UpperAscii(options.type) == "COPY") {
    return Error(
        ErrorCode::kUsage,
        "a size to order chooses types tensor by tensor: leave --pure and --type copy out");
  }
  return Fitter(source, options, target, observer).Run(types_file);
}

}  // namespace smelt
