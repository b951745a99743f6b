// Gemma 1, 2 and 3.
#include "tests/model/drawn_models.h"

namespace smelt::testing {
namespace {

Model StartGemma(Maker& m) {
  m.DrawSizes(true);
  m.tied = true;
  Model model = m.Start(1);
  model.embedding_scale = std::sqrt(static_cast<double>(m.width));
  for (float& v : model.embedding.values) v /= static_cast<float>(model.embedding_scale);
  return model;
}

/// Whether the layers without a window are every nth, which a number can say.
bool HasPeriod(const Model& model) {
  const size_t n = model.layers.size();
  for (size_t period = 1; period <= n + 1; ++period) {
    bool fits = true;
    for (size_t i = 0; i < n; ++i)
      fits = fits && (model.layers[i].window == 0) == ((i + 1) % period == 0);
    if (fits) return true;
  }
  return false;
}

/// Rotation of Gemma 3 as config.json may state it: that of the layers with a window has a base of
/// its own, the scaling is of the others.
struct Rotation {
  const char* text;
  bool scaled;       ///< by 8, linearly
  const char* note;  ///< what must be said of it
};
constexpr const char* kRest = "rope_parameters counts only what it has under full_attention";
constexpr Rotation kRotations[] = {
    {R"(,"rope_local_base_freq":333.0,"rope_scaling":{"rope_type":"linear","factor":8.0})", true,
     nullptr},
    {R"(,"rope_parameters":{"full_attention":{"rope_type":"linear","factor":8.0},"sliding_attention":{"rope_theta":333.0}})",
     true, nullptr},
    {R"(,"rope_local_base_freq":333.0,"rope_parameters":{"rope_type":"linear","factor":8.0,"rope_theta":55.0})",
     false, kRest},
    {R"(,"rope_parameters":{"rope_type":"linear","factor":8.0,"full_attention":null,"sliding_attention":{"rope_theta":333.0}})",
     false, kRest},
    {R"(,"rope_parameters":{"full_attention":{"rope_type":"default"},"sliding_attention":{"rope_theta":333.0}},"rope_scaling":{"rope_type":"linear","factor":8.0})",
     true, nullptr},
};

/// Gemma 2 and 3: windows by layer_types of no period, a query scale of its own. `part`: of a model
/// that sees, too.
Published LaterGemma(Maker& m, Model& model, bool third, bool part = false) {
  if (part) m.FixEps(1e-6);  // the class's, whatever the whole says
  model = StartGemma(m);
  m.layers = 5;
  const double scalar = m.Pick<double>({7, 20, 64}), cap = m.Pick<double>({2, 5});
  const double local_theta = third ? 333 : m.theta;
  const size_t window = m.Pick<size_t>({1, 3, 11});
  const Rotation& rotation = kRotations[third ? m.Below(std::size(kRotations)) : 0];
  std::vector<bool> windowed;
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    windowed.push_back(m.Coin());
    if (windowed[i]) l.window = window;
    if (windowed[i]) l.rope.theta = local_theta;
    if (!windowed[i] && third && rotation.scaled) l.rope.divisors.assign(m.head / 2, 8);
    l.scale = 1 / std::sqrt(scalar);
    if (!third) l.cap = cap;
    if (third) {
      l.q_norm = m.Rms(m.head, 1);
      l.k_norm = m.Rms(m.head, 1);
    }
    l.mixer_norm = m.Rms(m.width, 1);
    l.after_mixer = m.Rms(m.width, 1);
    l.ffn_norm = m.Rms(m.width, 1);
    l.after_ffn = m.Rms(m.width, 1);
    l.mlp = m.Gated("gelu_tanh", m.ffn);
    model.layers.push_back(l);
  }
  model.cap = third ? 0 : 4;
  std::string more =
      Cat(m.Theta(), m.HeadDim(), R"(,"query_pre_attn_scalar":)", scalar, R"(,"sliding_window":)",
          window, m.LayerTypes(windowed), part ? "" : m.RmsEps());
  more += third ? rotation.text
                : Cat(R"(,"attn_logit_softcapping":)", cap, R"(.0,"final_logit_softcapping":4.0)");
  std::vector<std::string> notes;
  if (third && rotation.note != nullptr) notes.push_back(rotation.note);
  std::string config = m.Config(third ? "Gemma3ForCausalLM" : "Gemma2ForCausalLM", more);
  if (part) {
    // The head is the whole's; what else the whole says of the mathematics is not the text's.
    m.tied = false;
    config = Cat(
        R"({"architectures":["Gemma3ForConditionalGeneration"],"model_type":"gemma3",)",
        R"("tie_word_embeddings":true,"rms_norm_eps":0.5,"query_pre_attn_scalar":3,"rope_theta":99.0,)",
        R"("text_config":)",
        m.Config("Gemma3TextModel", Cat(more, R"(,"final_logit_softcapping":1.0)")), "}");
    m.tied = true;
    notes.push_back("final_logit_softcapping has no effect");
    notes.push_back("rms_norm_eps, query_pre_attn_scalar, rope_theta");
  }
  Published out(config);
  out.AddDecoder(model);
  out.notes = std::move(notes);
  if (scalar != static_cast<double>(m.head)) out.differences.push_back("scales queries by");
  if (!HasPeriod(model)) out.differences.push_back("do not read a list of windows");
  return out;
}
}  // namespace

Published Gemma(Maker& m, Model& model) {
  model = StartGemma(m);
  for (size_t i = 0; i < m.layers; ++i) {
    Layer l = m.Attention(false, false);
    l.mixer_norm = m.Rms(m.width, 1);
    l.ffn_norm = m.Rms(m.width, 1);
    l.mlp = m.Gated("gelu_tanh", m.ffn);
    model.layers.push_back(l);
  }
  Published out(m.Config("GemmaForCausalLM", Cat(m.RmsEps(), m.Theta(), m.HeadDim())));
  out.AddDecoder(model);
  return out;
}

Published Gemma2(Maker& m, Model& model) { return LaterGemma(m, model, false); }
Published Gemma3(Maker& m, Model& model) { return LaterGemma(m, model, true); }
Published Gemma3Conditional(Maker& m, Model& model) { return LaterGemma(m, model, true, true); }

}  // namespace smelt::testing
