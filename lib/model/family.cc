#include "lib/model/family.h"

#include "lib/base/status.h"
#include "lib/model/alternatives.h"
#include "lib/model/quantized.h"
#include "lib/model/unread_keys.h"

namespace smelt {

absl::StatusOr<Config> TextPart(const Family& family, const Config& whole) {
  SMELT_ASSIGN_OR_RETURN(const auto type, whole.Text("model_type"));
  if (type && !IsAlternative(family.model_type, *type)) {
    return Error(ErrorCode::kUnsupported, whole.name(), ": model_type is ", Escape(*type, 40),
                 ", but architectures says ", family.names[0], ", whose model_type is ",
                 Alternatives(family.model_type)[0],
                 ": transformers builds what model_type says, llama.cpp what architectures says; "
                 "correct the wrong one");
  }
  if (!family.part.empty() && (!family.part_optional || whole.Has(family.part)))
    return whole.Nested(family.part, family.of_whole);
  if (whole.Has("text_config")) {
    return Error(ErrorCode::kUnsupported, whole.name(), ": text_config is there, but ",
                 family.names[0], " has no parts: which values count is not clear");
  }
  return whole;
}

absl::StatusOr<DescribedModel> Describe(const Family& family, const Config& config,
                                        const Container& container,
                                        const DescribeOptions& options) {
  DescribedModel model;
  SMELT_ASSIGN_OR_RETURN(FamilyContext context,
                         ReadHyper(family, config, container, options.sliced, options.keep_draft));
  context.makes_vectors = options.makes_vectors;
  if (options.vocabulary_size != 0 && family.rows_by_vocabulary) {
    context.hyper.Set(Param::kVocabularyRows, static_cast<double>(options.vocabulary_size));
  }
  SMELT_RETURN_IF_ERROR(WriteKeys(context, model.keys));
  SMELT_RETURN_IF_ERROR(CheckForeignKeys(context));
  SMELT_ASSIGN_OR_RETURN(model.tensors, MakeTensors(context));
  for (auto& [key, list] : context.numbers) model.keys.Set(key, MetadataValue(std::move(list)));
  for (const RecipeTensor& tensor : model.tensors) {
    if (tensor.name == "token_embd.weight") model.vocabulary_rows = tensor.shape.ne[1];
  }

  model.notes.insert(model.notes.end(), context.notes.begin(), context.notes.end());
  model.warnings = std::move(context.warnings);
  if (!context.differences.empty()) {
    std::string note = "llama.cpp computes something else for this model: it ";
    for (size_t i = 0; i < context.differences.size(); ++i)
      note += Cat(i == 0 ? "" : "; it ", context.differences[i]);
    model.notes.push_back(std::move(note));
  }
  if (std::string note = UnknownKeysNote(config); !note.empty())
    model.notes.push_back(std::move(note));
  return model;
}

}  // namespace smelt
