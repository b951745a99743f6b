#include "lib/jobs/open_model.h"

#include "formats/ollama/store.h"
#include "lib/base/status.h"
#include "quant/simd.h"

namespace smelt {

absl::StatusOr<std::string> ResolveModel(const std::string& name) {
  return ollama::ResolveModelArgument(name);
}

absl::StatusOr<std::unique_ptr<ModelSource>> OpenModelByName(const std::string& name,
                                                             const OpenOptions& options,
                                                             const Observer& observer) {
  SMELT_RETURN_IF_ERROR(InitSimd());
  SMELT_ASSIGN_OR_RETURN(const std::string path, ResolveModel(name));
  SMELT_ASSIGN_OR_RETURN(OpenedModel model, OpenModel(path, options));
  for (const std::string& note : model.notes) observer.Note(note);
  for (const std::string& warning : model.warnings) observer.Warn(warning);
  return std::move(model.source);
}

}  // namespace smelt
