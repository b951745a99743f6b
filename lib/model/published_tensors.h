// What the files of a model hold, by the names that a family's table uses.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/base/text_hash.h"
#include "lib/model/family.h"
#include "lib/model/published_names.h"

namespace smelt {

/// Whether a stored tensor's name is of a part that is no text model's: vision or audio.
bool IsOfOtherPart(std::string_view name);

class PublishedTensors {
 public:
  /// `family` and `container` must outlive the result. Fails where two tensors mean the same one,
  /// and where the files hold an adapter's matrices. `notes` receives what was chosen.
  static absl::StatusOr<PublishedTensors> Make(const Family& family, const Container& container,
                                               std::vector<std::string>& notes);

  /// Tensors of which there are no files: each is made up as it is looked for (the first of its
  /// names that is asked for, else the first), of the shape that Expect gives it. Those that are
  /// `asked` for, bare names, are there.
  static PublishedTensors Imagined(const Family& family, const Container& container,
                                   const TextSet<std::string>& asked);
  bool imagined() const { return asked_.has_value(); }
  /// Whether one of "a|b" is there, of any expert.
  bool Has(std::string_view sources, uint64_t layer = 0) const;
  /// The shape of a tensor that Find made up.
  void Expect(const RawTensor& tensor, const std::vector<uint64_t>& shape);

  /// The first of "a|b" that is there, with layer ('*') and expert ('#') filled in; nullptr when
  /// none is. What was found counts as used.
  const RawTensor* Find(std::string_view sources, uint64_t layer = 0, uint64_t expert = 0);
  /// Another name of a tensor.
  void AddName(std::string_view name, const RawTensor& tensor) {
    index_.emplace(names_.Bare(name).text, &tensor);
  }
  /// The stored name most like `name`, which is missing: of the tensors that the tables do not
  /// know, or of all where they know every one. Empty for an empty container.
  std::string Nearest(std::string_view name) const;

  /// An error names a tensor that nobody used although it may matter; parts of other modalities and
  /// heads that give values instead of texts are noted in the context.
  absl::Status CheckAllUsed(FamilyContext& context) const;

 private:
  PublishedTensors(const Family& family, const Container& container)
      : names_(family), container_(&container) {}
  absl::Status Index(std::vector<std::string>& notes);
  std::string NameOfAny(std::string_view source, uint64_t layer) const;
  const RawTensor* Imagine(std::string_view sources, uint64_t layer, uint64_t expert);

  PublishedNames names_;
  const Container* container_;
  size_t outermost_ = 0;  ///< leading components of all names that are wrappers
  TextMap<std::string, const RawTensor*> index_;  ///< by bare name
  std::unordered_set<const RawTensor*> used_;
  std::optional<TextSet<std::string>> asked_;  ///< of imagined ones, and without experts' numbers
  std::deque<RawTensor> made_up_;
};

/// The first name of "a|b" with layer and expert filled in.
std::string FilledName(std::string_view sources, uint64_t layer, uint64_t expert = 0);

/// True for the names of the family's output matrix, whatever is wrapped around them.
bool IsHead(const Family& family, std::string_view name);

}  // namespace smelt
