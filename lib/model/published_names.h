// Names of published tensors as paths: what training and serving programs wrap around a model is
// taken away, so that a name says which matrix it is and nothing else.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/text_hash.h"
#include "lib/model/family.h"

namespace smelt {

/// What becomes of a name without its wrappers.
struct BareName {
  std::string text;       ///< "layers.0.mlp.up_proj.weight"
  std::string adapter;    ///< of PEFT's modules_to_save.ADAPTER: the trained copy; else empty
  bool replaced = false;  ///< of PEFT's original_module: what modules_to_save replaces
};

/// Numbers in a name.
struct TensorPlace {
  uint64_t layer = 0, expert = 0;
};

/// The names that a family's tables have, and which names of files mean the same.
class PublishedNames {
 public:
  explicit PublishedNames(const Family& family);

  /// Without the components that wrap a model: those of torch.compile, DataParallel, FSDP, PEFT,
  /// the parts of a multimodal model, and the family's own prefixes ("model.", "transformer.").
  /// `outermost`: leading components that are wrappers too.
  BareName Bare(std::string_view name, size_t outermost = 0) const;

  /// The layer and the expert that make the first of "a|b" that can be a bare name of it ('*' and
  /// '#' are their numbers, 0 where it has none); nothing: it is none of them.
  std::optional<TensorPlace> PlaceIn(std::string_view sources, std::string_view bare) const;

  /// Whether the tables have it; `bare` is without wrappers, layers and experts are numbers.
  bool IsWanted(std::string_view bare) const;

  /// The number of leading components that belong to a wrapper of an unknown kind: all names have
  /// them in common, and the tables know the names only behind them.
  size_t OutermostWrappers(const std::vector<std::string_view>& names) const;

 private:
  bool IsWrapper(std::string_view component) const;
  void Want(std::string_view sources);
  /// `draft`: as its blocks have the rule.
  void WantRule(const TensorRule& rule, const DraftHead* draft);

  std::vector<std::string_view> own_;  ///< components of the family's prefixes
  TextSet<std::string> wanted_;        ///< bare, with '*' for numbers
};

/// What a family's name of a block's tensor is in a draft head's block `number`; '*' stays where
/// `number` is not given. Alternatives "a|b" stay alternatives.
std::string DraftName(const DraftHead& draft, std::string_view sources,
                      std::optional<uint64_t> number = std::nullopt);

/// The name of a weight's bias.
std::string BiasOf(std::string_view name);
/// The same of every one of "a|b".
std::string BiasesOf(std::string_view sources);

}  // namespace smelt
