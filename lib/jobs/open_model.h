// From what a user calls a model to its ModelSource.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/open.h"
#include "smelt/observer.h"

namespace smelt {

/// The path of a model: `name` itself when it exists, or what is meant inside of it (see
/// LocateModel), else the weights that it names in an Ollama store. kNotFound names all
/// possibilities.
absl::StatusOr<std::string> ResolveModel(const std::string& name);

/// The same where only the vocabulary is wanted: a folder that has a tokenizer is meant itself.
absl::StatusOr<std::string> ResolveVocabulary(const std::string& name);

/// Opens a directory, snapshot folder, GGUF or store name (with the adapter layers that it has
/// there); notes and warnings go to the observer.
/// The first step of every job: also honours SMELT_SIMD.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenModelByName(const std::string& name,
                                                             const OpenOptions& options,
                                                             const Observer& observer);

/// What OpenModelByName does but for adapters, which it merges.
OpenOptions WithAdapters(std::vector<std::pair<std::string, double>> adapters);

/// Whether the existing file `output` belongs to the model at the path `source`: the file itself,
/// another part of a split GGUF, or a file of a published folder (but for GGUFs that lie there).
bool IsPartOfSource(const std::string& output, const std::string& source);

}  // namespace smelt
