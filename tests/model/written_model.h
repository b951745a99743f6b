// Writes models of plain_model.h as their makers publish them, and GGUF files of any source.
#pragma once

#include <string>
#include <vector>

#include "lib/model/model_source.h"
#include "tests/model/plain_model.h"
#include "tests/model/small_folder.h"

namespace smelt::testing {

/// A model folder: config.json and one safetensors file.
class Published {
 public:
  explicit Published(std::string config) : config_(std::move(config)) {}
  const std::string& config() const { return config_; }

  // Tensors in a family's names and layout. `experts`: prefix of their names in a layer.
  void AddDecoder(const plain::Model& model, const std::string& experts = "");
  void AddPhi3(const plain::Model& model);
  void AddStarcoder2(const plain::Model& model);
  void AddGpt2(const plain::Model& model);
  void AddGptNeox(const plain::Model& model);
  void AddGptOss(const plain::Model& model);

  void Add(const std::string& name, const plain::Matrix& matrix);
  void Add(const std::string& name, const plain::Norm& norm);
  void AddVector(const std::string& name, std::vector<float> values);

  void Write(const std::string& folder) const;

  std::string shared_expert = "shared_expert";  ///< what a family calls it

  /// What conversion must say of llama.cpp, a part of each statement.
  std::vector<std::string> differences;
  /// What it must say besides, a part of each note.
  std::vector<std::string> notes;

 private:
  void AddEnds(const plain::Model& model, const std::string& embedding, const std::string& norm,
               const std::string& head);
  void AddAttention(const plain::Layer& layer, const std::string& prefix);
  void AddTransposed(const std::string& name, const plain::Matrix& matrix);

  std::string config_;
  FolderTensors tensors_;
};

/// All tensors of `source` as f32, with its keys.
void WriteF32Gguf(const ModelSource& source, const std::string& path);

}  // namespace smelt::testing
