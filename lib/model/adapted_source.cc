#include "lib/model/adapted_source.h"

#include <map>
#include <utility>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/model/forwarding_source.h"
#include "lib/model/merged_rows.h"
#include "lib/model/stored_values.h"

namespace smelt {
namespace {

class AdaptedSource : public ForwardingSource {
 public:
  AdaptedSource(std::unique_ptr<ModelSource> base, Metadata metadata)
      : ForwardingSource(*base),
        owned_(std::move(base)),
        metadata_(std::move(metadata)),
        tensors_(owned_->tensors()) {}

  absl::Status Add(GgufLora adapter) {
    for (auto& [name, change] : adapter.changes) {
      if (!adapter.ties) SMELT_RETURN_IF_ERROR(CheckTie(name, change));
      SMELT_RETURN_IF_ERROR(AddTo(name, change));
    }
    identities_ += Cat(adapter.identity, ";");
    return absl::OkStatus();
  }

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::string identity() const override {
    return Cat(base().identity(), "adapters ", XxHash64(std::as_bytes(std::span(identities_))),
               ";");
  }

  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    const auto it = merged_.find(tensor);
    if (it == merged_.end()) return base().ReadRows(tensor, first, count, out);
    SMELT_RETURN_IF_ERROR(it->second.Read(first, count, out));
    const TensorInfo& info = tensors_[tensor];
    const uint64_t columns = info.shape.columns();
    const auto bad = FirstNotFinite(out, count * columns);
    if (!bad) return absl::OkStatus();
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(info.name), " has the value ",
                 NotFiniteText(out[*bad]), " at row ", first + *bad / columns, ", column ",
                 *bad % columns, " (counted from 0) with the adapter: weights must be finite");
  }

  absl::Status ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                           std::byte* out) const override {
    if (!merged_.contains(tensor)) return base().ReadRawRows(tensor, first, count, out);
    return ReadRows(tensor, first, count, reinterpret_cast<float*>(out));
  }

  absl::StatusOr<MappedRows> MapRows(size_t tensor) const override {
    if (!merged_.contains(tensor)) return base().MapRows(tensor);
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensors_[tensor].name),
                 " is computed, it has no stored rows");
  }

 private:
  /// Rows of tokens are trained for both ends of a model, other changes for one of them.
  absl::Status CheckTie(const std::string& name, const GgufChange& change) const {
    const bool tied = name == "token_embd.weight" && Find("output.weight") < 0;
    if (!tied || (!change.whole && change.change.products.empty())) return absl::OkStatus();
    return Error(ErrorCode::kUnsupported, "an adapter changes the embedding, which is the output ",
                 "matrix of ", Escape(base().name(), 100),
                 " too, and was trained with that as it is: merge it into the published folder, "
                 "where the two can part");
  }

  absl::Status AddTo(const std::string& name, GgufChange& change) {
    const int found = Find(name);
    if (found < 0) {
      return Error(ErrorCode::kInvalidInput, "an adapter is for ", Escape(name, 100),
                   ", which the base does not have: ",
                   name.ends_with(".bias") ? "a bias cannot be merged where there is none"
                                           : "is this the base that it was trained on?");
    }
    const auto tensor = static_cast<size_t>(found);
    for (const TensorInfo& other : tensors_) {
      if (other.companion_of != tensor) continue;
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(name, 100), " is multiplied with ",
                   Escape(other.name, 100),
                   ", and adapters are not merged into such; merge it into the published folder");
    }
    TensorInfo& info = tensors_[tensor];
    const uint64_t rows = info.shape.rows(), columns = info.shape.columns();
    if (change.whole) {
      const RecipeMatrix whole = *change.whole;
      if (whole.rows() != rows || whole.columns() != columns) {
        return Error(ErrorCode::kInvalidInput, "tensor ", Escape(whole.name(), 100),
                     " of an adapter does not fit ", Escape(name, 100), " of ", info.shape.ToText(),
                     ": is this the base that it was trained on?");
      }
      merged_.insert_or_assign(
          tensor, MergedRows(name, rows, columns, [whole](uint64_t first, uint64_t n, float* out) {
            return whole.ReadRows(first, n, out);
          }));
    }
    const auto [it, added] = merged_.try_emplace(
        tensor, name, rows, columns, [this, tensor](uint64_t first, uint64_t count, float* out) {
          return base().ReadRows(tensor, first, count, out);
        });
    if (!info.unmerged) info.unmerged = info.type;
    info.type = TensorType::kF32;
    info.recipe = nullptr;
    return it->second.Add(std::move(change.change));
  }

  std::unique_ptr<ModelSource> owned_;  ///< the base
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::map<size_t, MergedRows> merged_;
  std::string identities_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelSource>> MakeAdaptedSource(std::unique_ptr<ModelSource> base,
                                                               std::vector<GgufLora> adapters,
                                                               Metadata metadata) {
  auto source = std::make_unique<AdaptedSource>(std::move(base), std::move(metadata));
  for (GgufLora& adapter : adapters) SMELT_RETURN_IF_ERROR(source->Add(std::move(adapter)));
  return std::unique_ptr<ModelSource>(std::move(source));
}

}  // namespace smelt
