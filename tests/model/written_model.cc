#include "tests/model/written_model.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/gguf.h"
#include "lib/base/cat.h"
#include "tests/testing/testing.h"

namespace smelt::testing {

using plain::Layer;
using plain::Matrix;
using plain::Mlp;
using plain::Model;
using plain::Norm;

void Published::Add(const std::string& name, const Matrix& matrix) {
  if (matrix.rows == 0) return;
  tensors_[name + ".weight"] = {{matrix.rows, matrix.columns}, matrix.values};
  if (!matrix.bias.empty()) AddVector(name + ".bias", matrix.bias);
}

void Published::Add(const std::string& name, const Norm& norm) {
  if (norm.kind == Norm::Kind::kNone || norm.weight.empty()) return;
  AddVector(name + ".weight", norm.weight);
  if (!norm.bias.empty()) AddVector(name + ".bias", norm.bias);
}

void Published::AddVector(const std::string& name, std::vector<float> values) {
  tensors_[name] = {{values.size()}, std::move(values)};
}

namespace {

std::vector<float> Transposed(const Matrix& m) {
  std::vector<float> turned(m.values.size());
  for (size_t r = 0; r < m.rows; ++r)
    for (size_t c = 0; c < m.columns; ++c) turned[c * m.rows + r] = m.values[r * m.columns + c];
  return turned;
}

/// One matrix below the other.
Matrix Below(const std::vector<const Matrix*>& parts) {
  Matrix all;
  all.columns = parts[0]->columns;
  for (const Matrix* part : parts) {
    all.rows += part->rows;
    all.values.insert(all.values.end(), part->values.begin(), part->values.end());
    all.bias.insert(all.bias.end(), part->bias.begin(), part->bias.end());
  }
  return all;
}

/// Rows [first, first + count).
Matrix Part(const Matrix& m, size_t first, size_t count) {
  Matrix part{count, m.columns, {}, {}};
  part.values.assign(m.values.begin() + first * m.columns,
                     m.values.begin() + (first + count) * m.columns);
  if (!m.bias.empty()) part.bias.assign(m.bias.begin() + first, m.bias.begin() + first + count);
  return part;
}

}  // namespace

void Published::AddTransposed(const std::string& name, const Matrix& matrix) {
  tensors_[name + ".weight"] = {{matrix.columns, matrix.rows}, Transposed(matrix)};
  AddVector(name + ".bias", matrix.bias);
}

void Published::AddEnds(const Model& model, const std::string& embedding, const std::string& norm,
                        const std::string& head) {
  Add(embedding, model.embedding);
  Add(norm, model.final_norm);
  Add(head, model.output);
}

void Published::AddAttention(const Layer& layer, const std::string& prefix) {
  Add(prefix + "self_attn.q_proj", layer.q);
  Add(prefix + "self_attn.k_proj", layer.k);
  Add(prefix + "self_attn.v_proj", layer.v);
  Add(prefix + "self_attn.o_proj", layer.output);
  Add(prefix + "self_attn.q_norm", layer.q_norm);
  Add(prefix + "self_attn.k_norm", layer.k_norm);
}

void Published::AddDecoder(const Model& model, const std::string& experts) {
  AddEnds(model, "model.embed_tokens", "model.norm", "lm_head");
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const Layer& l = model.layers[i];
    const std::string p = Cat("model.layers.", i, ".");
    AddAttention(l, p);
    Add(p + "input_layernorm", l.mixer_norm);
    // With norms after both parts (Gemma 2, 3), the one before the second has a name of its own.
    const bool four = l.after_mixer.kind != Norm::Kind::kNone;
    Add(p + "post_attention_layernorm", four ? l.after_mixer : l.ffn_norm);
    if (four) Add(p + "pre_feedforward_layernorm", l.ffn_norm);
    Add(p + "post_feedforward_layernorm", l.after_ffn);
    const auto gated = [&](const std::string& name, const Mlp& mlp) {
      Add(name + "gate_proj", mlp.gate);
      Add(name + "up_proj", mlp.up);
      Add(name + "down_proj", mlp.down);
    };
    if (l.experts.each.empty()) {
      gated(p + "mlp.", l.mlp);
      continue;
    }
    Add(p + experts + "gate", l.experts.router);
    for (size_t e = 0; e < l.experts.each.size(); ++e) {
      const std::string name = Cat(p, experts, "experts.", e, ".");
      if (experts == "mlp.") {
        gated(name, l.experts.each[e]);
      } else {  // Mixtral
        Add(name + "w1", l.experts.each[e].gate);
        Add(name + "w3", l.experts.each[e].up);
        Add(name + "w2", l.experts.each[e].down);
      }
    }
    gated(p + "mlp." + shared_expert + ".", l.experts.shared);
    Add(p + "mlp.shared_expert_gate", l.experts.shared_gate);
  }
}

void Published::AddPhi3(const Model& model) {
  AddEnds(model, "model.embed_tokens", "model.norm", "lm_head");
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const Layer& l = model.layers[i];
    const std::string p = Cat("model.layers.", i, ".");
    Add(p + "self_attn.qkv_proj", Below({&l.q, &l.k, &l.v}));
    Add(p + "self_attn.o_proj", l.output);
    Add(p + "mlp.gate_up_proj", Below({&l.mlp.gate, &l.mlp.up}));
    Add(p + "mlp.down_proj", l.mlp.down);
    Add(p + "input_layernorm", l.mixer_norm);
    Add(p + "post_attention_layernorm", l.ffn_norm);
  }
}

void Published::AddStarcoder2(const Model& model) {
  AddEnds(model, "model.embed_tokens", "model.norm", "lm_head");
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const Layer& l = model.layers[i];
    const std::string p = Cat("model.layers.", i, ".");
    AddAttention(l, p);
    Add(p + "mlp.c_fc", l.mlp.up);
    Add(p + "mlp.c_proj", l.mlp.down);
    Add(p + "input_layernorm", l.mixer_norm);
    Add(p + "post_attention_layernorm", l.ffn_norm);
  }
}

void Published::AddGpt2(const Model& model) {
  AddEnds(model, "transformer.wte", "transformer.ln_f", "lm_head");
  Add("transformer.wpe", model.positions);
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const Layer& l = model.layers[i];
    const std::string p = Cat("transformer.h.", i, ".");
    AddTransposed(p + "attn.c_attn", Below({&l.q, &l.k, &l.v}));
    AddTransposed(p + "attn.c_proj", l.output);
    AddTransposed(p + "mlp.c_fc", l.mlp.up);
    AddTransposed(p + "mlp.c_proj", l.mlp.down);
    Add(p + "ln_1", l.mixer_norm);
    Add(p + "ln_2", l.ffn_norm);
  }
}

void Published::AddGptNeox(const Model& model) {
  AddEnds(model, "gpt_neox.embed_in", "gpt_neox.final_layer_norm", "embed_out");
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const Layer& l = model.layers[i];
    const std::string p = Cat("gpt_neox.layers.", i, ".");
    std::vector<Matrix> parts;  // q, k, v of one head after the other
    for (size_t h = 0; h < l.heads; ++h) {
      for (const Matrix* m : {&l.q, &l.k, &l.v}) parts.push_back(Part(*m, h * l.head, l.head));
    }
    std::vector<const Matrix*> order;
    for (const Matrix& part : parts) order.push_back(&part);
    Add(p + "attention.query_key_value", Below(order));
    Add(p + "attention.dense", l.output);
    Add(p + "mlp.dense_h_to_4h", l.mlp.up);
    Add(p + "mlp.dense_4h_to_h", l.mlp.down);
    Add(p + "input_layernorm", l.mixer_norm);
    Add(p + "post_attention_layernorm", l.ffn_norm);
  }
}

void Published::AddGptOss(const Model& model) {
  AddEnds(model, "model.embed_tokens", "model.norm", "lm_head");
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const Layer& l = model.layers[i];
    const std::string p = Cat("model.layers.", i, ".");
    AddAttention(l, p);
    AddVector(p + "self_attn.sinks", l.sinks);
    Add(p + "input_layernorm", l.mixer_norm);
    Add(p + "post_attention_layernorm", l.ffn_norm);
    Add(p + "mlp.router", l.experts.router);
    // (experts, inputs, outputs), a gate's output beside each of up.
    FolderTensor both, down, both_bias, down_bias;
    const size_t experts = l.experts.each.size(), ffn = l.experts.each[0].up.rows,
                 width = l.experts.each[0].up.columns;
    for (const Mlp& e : l.experts.each) {
      for (size_t c = 0; c < width; ++c) {
        for (size_t r = 0; r < ffn; ++r) {
          both.values.push_back(e.gate.values[r * width + c]);
          both.values.push_back(e.up.values[r * width + c]);
        }
      }
      for (size_t r = 0; r < ffn; ++r) {
        both_bias.values.push_back(e.gate.bias[r]);
        both_bias.values.push_back(e.up.bias[r]);
      }
      const std::vector<float> turned = Transposed(e.down);
      down.values.insert(down.values.end(), turned.begin(), turned.end());
      down_bias.values.insert(down_bias.values.end(), e.down.bias.begin(), e.down.bias.end());
    }
    both.shape = {experts, width, 2 * ffn};
    both_bias.shape = {experts, 2 * ffn};
    down.shape = {experts, ffn, width};
    down_bias.shape = {experts, width};
    tensors_[p + "mlp.experts.gate_up_proj"] = both;
    tensors_[p + "mlp.experts.gate_up_proj_bias"] = both_bias;
    tensors_[p + "mlp.experts.down_proj"] = down;
    tensors_[p + "mlp.experts.down_proj_bias"] = down_bias;
  }
}

void Published::Write(const std::string& folder) const { WriteFolder(folder, config_, tensors_); }

void WriteF32Gguf(const ModelSource& source, const std::string& path) {
  std::vector<GgufTensorSpec> specs;
  for (const TensorInfo& tensor : source.tensors())
    specs.push_back({tensor.name, tensor.shape.ne, tensor.shape.dims, TensorType::kF32});
  const auto layout = SerializeGgufHeader(source.metadata(), specs);
  SMELT_ASSERT_OK(layout);
  std::string file(layout->file_size, '\0');
  std::memcpy(file.data(), layout->header.data(), layout->header.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    std::vector<float> values(layout->bytes[i] / sizeof(float));
    SMELT_ASSERT_OK(source.ReadRows(i, 0, source.tensors()[i].shape.rows(), values.data()));
    std::memcpy(file.data() + layout->offsets[i], values.data(), layout->bytes[i]);
  }
  WriteFile(path, file);
}

}  // namespace smelt::testing
