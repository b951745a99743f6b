#include "tests/infer/random_models.h"

#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>

namespace smelt::testing {
namespace {

class Builder {
 public:
  Builder(MemoryModel& m, uint32_t width, TensorType type) : m_(m), width_(width), type_(type) {}

  Norm Rms(uint64_t n, double epsilon = 1e-5) {
    return {.kind = NormKind::kRms, .epsilon = epsilon, .weight = m_.Add({n}, 0.5, 1)};
  }
  Norm Layer(uint64_t n) {
    return {.kind = NormKind::kLayer,
            .epsilon = 1e-5,
            .weight = m_.Add({n}, 0.5, 1),
            .bias = m_.Add({n}, 0.3)};
  }
  Linear Dense(uint64_t in, uint64_t out, bool bias = false, double gain = 1) {
    Linear l;
    // Block formats want whole blocks; other rows stay f32, as a converter would do.
    const TensorType type = in % Info(type_).block_elements == 0 ? type_ : TensorType::kF32;
    l.weight = m_.Add({in, out}, gain * std::sqrt(3.0 / static_cast<double>(in)), 0, type);
    if (bias) l.bias = m_.Add({out}, 0.3);
    return l;
  }
  Linear Stacked(uint64_t in, uint64_t out, uint64_t count, bool bias = false) {
    Linear l;
    const TensorType type = in % Info(type_).block_elements == 0 ? type_ : TensorType::kF32;
    l.weight = m_.Add({in, out, count}, 1.5 * std::sqrt(3.0 / static_cast<double>(in)), 0, type);
    if (bias) l.bias = m_.Add({out, count}, 0.3);
    return l;
  }
  Rope Rotary(RopeStyle style, uint32_t dims, double theta = 10000, double magnitude = 1) {
    Rope rope{.style = style,
              .dims = dims,
              .frequency = {},
              .magnitude = magnitude,
              .long_frequency = {}};
    for (uint32_t j = 0; j < dims / 2; ++j)
      rope.frequency.push_back(std::pow(theta, -2.0 * j / dims));
    return rope;
  }
  Attention Heads(uint32_t heads, uint32_t kv, uint32_t size, bool bias = false) {
    Attention a;
    a.heads = heads, a.kv_heads = kv, a.key_size = a.value_size = size;
    a.scale = 1 / std::sqrt(static_cast<double>(size));
    a.rope = Rotary(RopeStyle::kHalves, size);
    // Peaked attention, so that a mistake in it shows.
    a.q = Dense(width_, heads * size, bias, 2), a.k = Dense(width_, kv * size, bias, 2);
    a.v = Dense(width_, kv * size, bias), a.output = Dense(heads * size, width_, bias);
    return a;
  }
  Mlp Gated(uint32_t hidden, Activation act = Activation::kSilu, bool bias = false) {
    return {.activation = act,
            .gate = Dense(width_, hidden, bias),
            .up = Dense(width_, hidden, bias),
            .down = Dense(hidden, width_, bias)};
  }
  Mlp Plain(uint32_t hidden, Activation act) {
    return {.activation = act,
            .gate = {},
            .up = Dense(width_, hidden, true),
            .down = Dense(hidden, width_, true)};
  }
  Experts Mixture(uint32_t count, uint32_t used, uint32_t hidden, bool bias = false) {
    Experts e;
    e.count = count, e.used = used;
    e.router = Dense(width_, count, bias, 3);
    e.router.weight = m_.Add({width_, count}, 3 * std::sqrt(3.0 / width_));
    e.gate = Stacked(width_, hidden, count, bias), e.up = Stacked(width_, hidden, count, bias);
    e.down = Stacked(hidden, width_, count, bias);
    return e;
  }
  /// Without gates, between two projections.
  Experts LatentMixture(uint32_t count, uint32_t used, uint32_t hidden, uint32_t latent) {
    Experts e;
    e.count = count, e.used = used, e.activation = Activation::kRelu2;
    e.router.weight = m_.Add({width_, count}, 3 * std::sqrt(3.0 / static_cast<double>(width_)));
    e.up = Stacked(latent, hidden, count), e.down = Stacked(hidden, latent, count);
    e.latent_down = Dense(width_, latent), e.latent_up = Dense(latent, width_);
    return e;
  }
  Mamba1 Selective(uint32_t inner, uint32_t state, uint32_t conv, uint32_t rank, bool norms) {
    Mamba1 m;
    m.inner = inner, m.state = state, m.conv = conv, m.rank = rank;
    m.in = Dense(width_, 2 * inner), m.x = Dense(inner, rank + 2 * state),
    m.dt = Dense(rank, inner, true);
    m.conv_weight = m_.Add({conv, inner}, 0.8), m.conv_bias = m_.Add({inner}, 0.3);
    if (norms) m.dt_norm = Rms(rank), m.b_norm = Rms(state), m.c_norm = Rms(state);
    m.a = m_.Add({state, inner}, 0.9, -1), m.d = m_.Add({inner}, 0.5, 1);
    m.out = Dense(inner, width_);
    return m;
  }
  Mamba2 Heads2(uint32_t inner, uint32_t state, uint32_t conv, uint32_t heads, uint32_t groups) {
    Mamba2 m;
    m.inner = inner, m.state = state, m.conv = conv, m.heads = heads, m.groups = groups;
    m.in = Dense(width_, 2 * inner + 2 * groups * state + heads);
    m.conv_weight = m_.Add({conv, inner + 2 * groups * state}, 0.8);
    m.conv_bias = m_.Add({inner + 2 * groups * state}, 0.3);
    m.dt_bias = m_.Add({heads}, 1), m.a = m_.Add({heads}, 0.9, -1), m.d = m_.Add({heads}, 0.5, 1);
    m.norm = Rms(inner);
    m.norm.group = inner / groups;
    m.out = Dense(inner, width_);
    return m;
  }
  ShortConvolution Short(uint32_t conv, bool bias) {
    ShortConvolution c;
    const uint32_t width = static_cast<uint32_t>(width_);
    c.channels = width, c.conv = conv;
    c.in = Dense(width_, 3 * width_, bias), c.out = Dense(width_, width_, bias);
    c.conv_weight = m_.Add({conv, width_}, 0.8);
    if (bias) c.conv_bias = m_.Add({width_}, 0.3);
    return c;
  }
  /// `q_rank` 0: the query has no latent vector.
  LatentAttention Latent(uint32_t heads, uint32_t rank, uint32_t plain, uint32_t rotated,
                         uint32_t value, uint32_t q_rank) {
    LatentAttention a;
    a.heads = heads, a.rank = rank, a.plain_size = plain, a.rope_size = rotated;
    a.value_size = value;
    a.scale = 1.3 / std::sqrt(static_cast<double>(plain + rotated));
    a.rope = Rotary(RopeStyle::kInterleaved, rotated, 100, 1.1);
    if (q_rank != 0) a.q_a = Dense(width_, q_rank, true), a.q_a_norm = Rms(q_rank);
    a.q = Dense(q_rank != 0 ? q_rank : width_, heads * (plain + rotated), false, 2);
    a.kv_a = Dense(width_, rank + rotated, q_rank != 0), a.kv_a_norm = Rms(rank);
    a.k_b = Stacked(plain, rank, heads), a.v_b = Stacked(rank, value, heads);
    a.output = Dense(static_cast<uint64_t>(heads) * value, width_);
    return a;
  }
  TensorRef Vector(uint64_t n, double spread) { return m_.Add({n}, spread); }
  TensorRef Values(uint64_t n) { return m_.Add({n}, 0.5, 1); }
  DeltaNet Remembering(uint32_t key_heads, uint32_t value_heads, uint32_t key_size,
                       uint32_t value_size, uint32_t conv) {
    DeltaNet d;
    d.key_heads = key_heads, d.value_heads = value_heads;
    d.key_size = key_size, d.value_size = value_size, d.conv = conv;
    const uint32_t values = value_heads * value_size, rows = 2 * key_heads * key_size + values;
    d.qkv = Dense(width_, rows), d.gate = Dense(width_, values), d.out = Dense(values, width_);
    d.beta = Dense(width_, value_heads), d.alpha = Dense(width_, value_heads);
    d.conv_weight = m_.Add({conv, rows}, 0.8);
    d.dt_bias = m_.Add({value_heads}, 2, -2), d.a = m_.Add({value_heads}, 0.9, -1);
    d.norm = Rms(value_size);
    d.norm.group = value_size;
    return d;
  }

 private:
  MemoryModel& m_;
  const uint64_t width_;
  const TensorType type_;
};

LayerSpec PreNorm(Builder& b, uint32_t width) {
  LayerSpec layer;
  layer.mixer_norm = b.Rms(width);
  layer.ffn_norm = b.Rms(width);
  return layer;
}

using Make = std::function<void(Builder&, RandomModel&)>;
constexpr uint32_t kWidth = 64, kWide = 256;

template <typename F>
Make Layers(const F& f, int count = 2) {
  return [f, count](Builder& b, RandomModel& m) {
    for (int i = 0; i < count; ++i) {
      LayerSpec layer = PreNorm(b, kWidth);
      layer.mixer = b.Heads(4, 2, 16);
      layer.ffn = b.Gated(96);
      f(b, layer, i);
      m.spec.layers.push_back(std::move(layer));
    }
  };
}

Attention& Att(LayerSpec& l) { return std::get<Attention>(l.mixer); }

const std::map<std::string, Make>& Makers() {
  static const std::map<std::string, Make> makers = {
      {"gqa", Layers([](Builder&, LayerSpec&, int) {})},
      {"mqa_odd_sizes", Layers([](Builder& b, LayerSpec& l, int) {
         l.mixer = b.Heads(5, 1, 12), l.ffn = b.Gated(43);
       })},
      {"biases", Layers([](Builder& b, LayerSpec& l, int) {
         l.mixer = b.Heads(4, 4, 8, true), l.ffn = b.Gated(50, Activation::kGeluTanh, true);
       })},
      {"window", Layers([](Builder&, LayerSpec& l, int i) { Att(l).window = i == 0 ? 7 : 45; })},
      {"window_mixed", Layers(
                           [](Builder& b, LayerSpec& l, int i) {
                             Att(l).window = i == 1 ? 0 : 14;
                             Att(l).rope = b.Rotary(RopeStyle::kHalves, 16, i == 1 ? 1e6 : 1e4);
                           },
                           3)},
      {"softcap", Layers([](Builder& b, LayerSpec& l, int) {
         Att(l).softcap = 2;
         l.post_mixer_norm = b.Rms(kWidth), l.post_ffn_norm = b.Rms(kWidth);
       })},
      {"sinks", Layers([](Builder& b, LayerSpec& l, int i) {
         Att(l).window = i == 0 ? 9 : 0;
         Att(l).sinks = static_cast<TensorRef>(-2);  // filled below
       })},
      {"qk_norm_heads", Layers([](Builder& b, LayerSpec& l, int) {
         Att(l).q_norm = b.Rms(16), Att(l).k_norm = b.Rms(16);
         Att(l).q_norm.group = Att(l).k_norm.group = 16;
       })},
      {"qk_norm_all_post_norms", Layers([](Builder& b, LayerSpec& l, int) {
         Att(l).q_norm = b.Rms(64), Att(l).k_norm = b.Rms(32);
         l.post_mixer_norm = l.mixer_norm, l.post_ffn_norm = l.ffn_norm;
         l.mixer_norm = l.ffn_norm = Norm{};
       })},
      {"partial_interleaved", Layers([](Builder& b, LayerSpec& l, int) {
         Att(l).rope = b.Rotary(RopeStyle::kInterleaved, 6, 500, 1.2);
       })},
      {"partial_halves", Layers([](Builder& b, LayerSpec& l, int) {
         Att(l).rope = b.Rotary(RopeStyle::kHalves, 8);
       })},
      {"no_rope", Layers([](Builder&, LayerSpec& l, int) { Att(l).rope = Rope{}; })},
      {"longrope", Layers([](Builder& b, LayerSpec& l, int) {
         Rope& rope = Att(l).rope;
         rope = b.Rotary(RopeStyle::kHalves, 16);
         rope.long_frequency = b.Rotary(RopeStyle::kHalves, 16, 3000).frequency;
         rope.long_magnitude = 1.3, rope.long_from = 40;
       })},
      {"value_size", Layers([](Builder& b, LayerSpec& l, int) {
         Att(l).value_size = 24;
         Att(l).v = b.Dense(kWidth, 2 * 24), Att(l).output = b.Dense(4 * 24, kWidth);
       })},
      {"parallel_layernorm", Layers([](Builder& b, LayerSpec& l, int) {
         l.mixer_norm = b.Layer(kWidth), l.ffn_norm = b.Layer(kWidth), l.parallel = true;
         l.ffn = b.Plain(100, Activation::kGelu);
         // A fused product, as GPT-NeoX has: q, k, v are rows of one weight.
         const Linear fused = b.Dense(kWidth, 128, true);
         Att(l).q = Att(l).k = Att(l).v = fused;
         Att(l).q.rows = 64, Att(l).k.first_row = 64, Att(l).k.rows = 32, Att(l).v.first_row = 96,
         Att(l).v.rows = 32;
       })},
      {"relu", Layers([](Builder& b, LayerSpec& l, int i) {
         l.ffn = b.Plain(64, i == 0 ? Activation::kRelu : Activation::kRelu2);
       })},
      {"experts", Layers(
                      [](Builder& b, LayerSpec& l, int i) {
                        if (i == 1) return;  // a dense layer among the sparse
                        Experts e = b.Mixture(8, 2, 40);
                        e.normalize = i == 0;
                        l.ffn = e;
                      },
                      3)},
      {"experts_shared", Layers([](Builder& b, LayerSpec& l, int i) {
         Experts e = b.Mixture(5, 3, 40);
         e.shared = b.Gated(56);
         if (i == 0) e.shared_gate = b.Dense(kWidth, 1);
         e.gating = i == 0 ? Experts::Gating::kSoftmax : Experts::Gating::kSigmoid;
         e.scale = i == 0 ? 1 : 2.5;
         l.ffn = e;
       })},
      {"experts_clamped", Layers([](Builder& b, LayerSpec& l, int) {
         Experts e = b.Mixture(6, 2, 32, true);
         e.clamped = true, e.gating = Experts::Gating::kSoftmaxOfTopK;
         l.ffn = e;
       })},
      {"experts_sparse_mixer", Layers([](Builder& b, LayerSpec& l, int i) {
         Experts e = b.Mixture(7, i == 0 ? 2 : 3, 32);
         e.gating = Experts::Gating::kSparseMixer, e.nearness = i == 0 ? 0.3 : 0.8;
         e.scale = i == 0 ? 1 : 1.7;
         l.ffn = e;
       })},
      {"mamba1", Layers([](Builder& b, LayerSpec& l, int i) {
         l.mixer = b.Selective(i == 0 ? 128 : 76, i == 0 ? 16 : 8, i == 0 ? 4 : 3, 5, false);
         l.ffn = std::monostate{};
       })},
      {"mamba1_norms",
       Layers([](Builder& b, LayerSpec& l, int) { l.mixer = b.Selective(70, 24, 2, 4, true); })},
      {"mamba2", Layers([](Builder& b, LayerSpec& l, int i) {
         l.mixer = i == 0 ? b.Heads2(128, 16, 4, 8, 1) : b.Heads2(96, 32, 3, 4, 2);
         if (i == 1) std::get<Mamba2>(l.mixer).dt_min = 0.2, std::get<Mamba2>(l.mixer).dt_max = 1.5;
         l.ffn = std::monostate{};
       })},
      {"mamba2_groups",
       Layers([](Builder& b, LayerSpec& l, int) { l.mixer = b.Heads2(120, 12, 2, 8, 8); })},
      {"short_convolution",
       Layers([](Builder& b, LayerSpec& l, int i) { l.mixer = b.Short(i == 0 ? 3 : 5, i == 1); })},
      {"latent_attention", Layers([](Builder& b, LayerSpec& l, int i) {
         l.mixer = i == 0 ? b.Latent(3, 24, 10, 6, 7, 0) : b.Latent(5, 40, 16, 8, 20, 24);
       })},
      {"latent_attention_temperature", Layers([](Builder& b, LayerSpec& l, int) {
         LatentAttention a = b.Latent(2, 32, 32, 16, 32, 32);
         a.temperature = 0.7, a.temperature_length = 9;
         l.mixer = a;
       })},
      {"two_mixers", Layers([](Builder& b, LayerSpec& l, int i) {
         Mamba2 m = b.Heads2(96, 12, 4, 6, 2);
         if (i == 0) m.norm = Norm{};
         m.norm_before_gate = i == 1;
         l.beside = m;
         l.residual_scale = i == 0 ? 1 : 0.6;
       })},
      {"one_part_a_layer",
       Layers(
           [](Builder& b, LayerSpec& l, int i) {
             if (i % 2 == 0) {
               l.mixer_norm = Norm{}, l.mixer = std::monostate{};
               l.ffn = b.Plain(80, Activation::kRelu2);
             } else {
               l.ffn_norm = Norm{}, l.ffn = std::monostate{};
               if (i == 1) l.mixer = b.Heads2(96, 12, 4, 6, 2);
             }
           },
           4)},
      {"experts_groups", Layers([](Builder& b, LayerSpec& l, int i) {
         Experts e = b.Mixture(12, 3, 24);
         e.gating = i == 0 ? Experts::Gating::kSigmoid : Experts::Gating::kSoftmax;
         e.selection_bias = b.Vector(12, i == 0 ? 0.5 : 0.1);
         e.groups = 4, e.groups_used = 2, e.group_by_two_best = i == 0;
         e.normalize = i == 0, e.sum_epsilon = i == 0 ? 0.05 : 0, e.scale = 1.7;
         e.shared = b.Gated(40);
         l.ffn = e;
       })},
      {"experts_latent", Layers([](Builder& b, LayerSpec& l, int i) {
         Experts e = b.LatentMixture(7, 2, 28, 36);
         if (i == 0) e.shared = b.Plain(48, Activation::kRelu2);
         if (i == 1) l.residual_scale = 0.7;
         l.ffn = e;
       })},
      {"gated_attention", Layers([](Builder& b, LayerSpec& l, int i) {
         const uint32_t size = i == 0 ? 16 : 24;
         Att(l).value_size = size, Att(l).gated = true;
         Att(l).q = b.Dense(kWidth, 4 * (16 + size)), Att(l).v = b.Dense(kWidth, 2 * size);
         Att(l).output = b.Dense(4 * size, kWidth);
         Att(l).q_norm = b.Rms(16), Att(l).k_norm = b.Rms(16);
         Att(l).q_norm.group = Att(l).k_norm.group = 16;
       })},
      {"shared_keys", Layers(
                          [](Builder& b, LayerSpec& l, int i) {
                            Att(l).v_norm = b.Rms(16);
                            Att(l).v_norm.weight = kNoTensor, Att(l).v_norm.group = 16;
                            Att(l).window = i % 2 == 0 ? 9 : 0;
                            if (i == 1) Att(l).v = Att(l).k;
                            Att(l).scale = 0.4;
                            if (i >= 2) Att(l).keys_of = i - 2, Att(l).k = Att(l).v = {};
                            l.output_scale = 0.7 + 0.1 * i;
                          },
                          4)},
      {"per_layer_inputs", Layers([](Builder& b, LayerSpec& l, int) {
         l.input = {.gate = b.Dense(kWidth, 12),
                    .projection = b.Dense(12, kWidth),
                    .post_norm = b.Rms(kWidth),
                    .activation = Activation::kGeluTanh};
       })},
      {"experts_beside", Layers([](Builder& b, LayerSpec& l, int i) {
         Experts e = b.Mixture(6, 2, 40);
         e.normalize = true;
         if (i == 0) e.router_norm = b.Rms(kWidth), e.router_scale = 0.6;
         e.expert_scale = b.Values(6);
         l.post_ffn_norm = b.Rms(kWidth);
         l.experts_beside = {.experts = e,
                     .in_norm = b.Rms(kWidth),
                     .out_norm = b.Rms(kWidth),
                     .mlp_norm = b.Rms(kWidth)};
       })},
      {"delta_net", Layers([](Builder& b, LayerSpec& l, int i) {
         l.mixer = i == 0 ? b.Remembering(2, 6, 20, 20, 4) : b.Remembering(3, 3, 33, 12, 2);
         std::get<DeltaNet>(l.mixer).alternating = i == 0;
       })},
      {"delta_net_folded", Layers(
                               [](Builder& b, LayerSpec& l, int i) {
                                 if (i == 1) return;  // attention among them
                                 DeltaNet d = b.Remembering(2, 8, 64, 40, 3);
                                 d.beta = b.Dense(kWidth, 16), d.alpha = {};
                                 l.mixer = d;
                               },
                               3)},
      {"delta_net_all_folded", Layers([](Builder& b, LayerSpec& l, int i) {
         DeltaNet d = i == 0 ? b.Remembering(2, 6, 24, 24, 4) : b.Remembering(3, 3, 20, 36, 3);
         const uint32_t keys = d.key_heads * d.key_size, values = d.value_heads * d.value_size;
         d.qkv = b.Dense(kWidth, 2 * (keys + values)), d.gate = {};
         l.mixer = d;
       })},
      // Rows of 256 and 512, for block formats of any size.
      {"wide",
       [](Builder& b, RandomModel& m) {
         LayerSpec layer = PreNorm(b, kWide);
         layer.mixer = b.Heads(4, 2, 64);
         layer.ffn = b.Gated(512);
         m.spec.layers.push_back(std::move(layer));
       }},
      {"hybrid", Layers(
                     [](Builder& b, LayerSpec& l, int i) {
                       if (i == 1) Att(l).rope = Rope{};
                       if (i == 0) l.mixer = b.Selective(128, 16, 4, 4, true);
                       if (i == 2) l.mixer = b.Heads2(128, 16, 4, 8, 2);
                       if (i == 3) l.ffn = b.Mixture(4, 2, 48);
                     },
                     4)},
  };
  return makers;
}

}  // namespace

std::vector<std::string> RandomModelNames() {
  std::vector<std::string> names;
  for (const auto& [name, make] : Makers()) names.push_back(name);
  return names;
}

RandomModel MakeRandomModel(const std::string& name, TensorType type, bool mappable) {
  RandomModel m;
  m.name = name;
  uint64_t seed = 0;
  for (const char c : name) seed = seed * 31 + static_cast<unsigned char>(c);
  m.source = std::make_unique<MemoryModel>(seed);
  m.source->set_mappable(mappable);
  const uint32_t width = name == "wide" ? kWide : kWidth;
  Builder b(*m.source, width, type);
  m.spec.architecture = name;
  m.spec.context_length = 1024;
  m.spec.width = width;
  m.spec.vocabulary = 131;
  m.spec.embedding = m.source->Add({width, 131}, 1);
  m.spec.embedding_scale = 1.5;
  Makers().at(name)(b, m);
  for (LayerSpec& layer : m.spec.layers) {
    Attention* a = std::get_if<Attention>(&layer.mixer);
    if (a != nullptr && a->sinks == -2) a->sinks = m.source->Add({a->heads}, 2);
  }
  if (name == "no_rope") m.spec.positions = m.source->Add({width, 300}, 0.5);
  if (name == "per_layer_inputs") {
    const uint32_t size = 12, all = size * static_cast<uint32_t>(m.spec.layers.size());
    m.spec.inputs = {.size = size,
                     .table = m.source->Add({all, 131}, 1),
                     .table_scale = 3.5,
                     .scale = 0.7,
                     .projection = b.Dense(width, all),
                     .norm = b.Rms(size)};
    m.spec.inputs.norm.group = size;
  }
  m.spec.final_norm = name == "parallel_layernorm" ? b.Layer(width) : b.Rms(width);
  m.spec.output =
      name == "gqa" ? Linear{.weight = m.spec.embedding} : b.Dense(width, 131, name == "biases", 2);
  if (name == "softcap") m.spec.logit_softcap = 3, m.spec.logit_scale = 0.7;
  return m;
}

std::vector<int32_t> RandomIds(uint64_t seed, size_t count, uint32_t vocabulary) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % vocabulary);
  return ids;
}

}  // namespace smelt::testing
