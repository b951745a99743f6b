#include "tests/model/golden_model.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "formats/safetensors.h"
#include "infer/score.h"
#include "infer/session.h"
#include "lib/base/cat.h"
#include "lib/base/folder.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

constexpr double kLogitTolerance = 2e-3;
constexpr double kPerplexityTolerance = 5e-4;  // of its value

/// All values of a tensor that is stored as T, in order.
template <typename T>
std::vector<T> Values(const RawTensor& tensor) {
  std::vector<T> values(tensor.elements());
  SMELT_EXPECT_OK(tensor.storage->ReadAt(tensor.offset, std::as_writable_bytes(std::span(values))));
  return values;
}

}  // namespace

std::vector<int32_t> Ids(const JsonValue& list) {
  std::vector<int32_t> ids;
  for (const JsonValue& id : *list.as_array()) ids.push_back(static_cast<int32_t>(*id.as_int()));
  return ids;
}

bool GoldenModel::Find(const std::string& folder) {
  folder_ = folder;
  if (const std::string reference = folder + "/golden_ref.json"; IsFile(reference)) {
    const auto value = ParseJsonValue(ReadFile(reference), reference);
    SMELT_EXPECT_OK(value);
    folder_ = folder + "/" + *value->Find("same_as")->as_string();
  }
  const std::string file = folder_ + "/golden.json";
  if (!IsFile(file)) return false;
  auto golden = ParseJsonValue(ReadFile(file), file);
  SMELT_EXPECT_OK(golden);
  golden_ = *std::move(golden);
  // An adapter's text is its base's; others say whose: "as in ../llama-q-base/golden.json".
  const JsonValue *base = golden_.Find("base"), *tokens = golden_.Find("tokens");
  if (tokens != nullptr && tokens->is_array()) {
    tokens_ = Ids(*tokens);
    return true;
  }
  constexpr std::string_view kAsIn = "as in ", kFile = "/golden.json";
  std::string other = base == nullptr ? "" : *base->as_string();
  if (tokens != nullptr) {
    other = tokens->as_string()->substr(kAsIn.size());
    other.resize(other.size() - kFile.size());
  }
  GoldenModel of_other;
  if (!of_other.Find(Cat(folder_, "/", other))) return false;
  tokens_ = of_other.tokens_;
  return true;
}

void GoldenModel::ExpectLogits(const ModelSource& source) const {
  // Of testdata they lie in a folder of their own, out of the sight of who looks for weights.
  const bool apart = IsFolder(folder_ + "/golden");
  const std::string logits = folder_ + (apart ? "/golden/golden_logits" : "/golden_logits");
  ExpectRecordedLogits(source, logits + ".safetensors", device_);
  if (const std::string longer = logits + "_long.safetensors"; IsFile(longer))
    ExpectRecordedLogits(source, longer, device_);
}

// Of a long sequence only the last rows are recorded.
void ExpectRecordedLogits(const ModelSource& source, const std::string& file,
                          const DeviceOptions& device) {
  const auto recorded = OpenSafetensors(file);
  SMELT_ASSERT_OK(recorded);
  const std::vector<int64_t> tokens = Values<int64_t>(*recorded->Find("tokens"));
  const RawTensor& logits = *recorded->Find("logits");
  const std::vector<float> expected = Values<float>(logits);
  const uint64_t rows = logits.shape[0], width = logits.shape[1];
  ASSERT_LE(rows, tokens.size());
  const uint64_t first_row = tokens.size() - rows;
  double worst = 0;
  const auto compare = [&](uint64_t position, std::span<const float> row) {
    if (position < first_row) return absl::OkStatus();
    EXPECT_EQ(row.size(), width);
    for (uint64_t i = 0; i < std::min<uint64_t>(width, row.size()); ++i) {
      const double difference =
          std::abs(static_cast<double>(row[i]) - expected[(position - first_row) * width + i]);
      worst = std::max(worst, std::isnan(difference) ? HUGE_VAL : difference);
    }
    return absl::OkStatus();
  };
  const std::vector<int32_t> ids(tokens.begin(), tokens.end());
  SMELT_ASSERT_OK(ComputeLogits(source, ids, Precision::kF32, compare, {}, device));
  EXPECT_LE(worst, kLogitTolerance) << file;
}

void GoldenModel::ExpectPerplexities(const ModelSource& source) const {
  ExpectPerplexity(source, golden_);
  const JsonValue* more = golden_.Find("more_contexts");
  if (more == nullptr) return;
  if (more->is_array()) {
    for (const JsonValue& protocol : *more->as_array()) ExpectPerplexity(source, protocol);
  } else {
    for (const auto& [context, protocol] : *more->as_object()) ExpectPerplexity(source, protocol);
  }
}

void GoldenModel::ExpectPerplexity(const ModelSource& source, const JsonValue& protocol) const {
  ScoreOptions options;
  options.device = device_;
  options.context = static_cast<uint64_t>(*protocol.Find("context")->as_int());
  const JsonValue* add_bos = golden_.Find("add_bos");
  options.add_bos = add_bos != nullptr && *add_bos->as_bool();
  if (options.add_bos) options.bos = static_cast<int32_t>(*golden_.Find("bos_token_id")->as_int());
  const auto score = Score(source, nullptr, {tokens_}, options, {});
  SMELT_ASSERT_OK(score);
  EXPECT_EQ(static_cast<int64_t>(score->chunks), *protocol.Find("chunks")->as_int());
  EXPECT_EQ(static_cast<int64_t>(score->tokens_scored), *protocol.Find("n_scored")->as_int());
  const double expected = *protocol.Find("perplexity")->as_double();
  EXPECT_NEAR(score->perplexity, expected, kPerplexityTolerance * expected);
  const double error = *protocol.Find("perplexity_error")->as_double();
  EXPECT_NEAR(score->perplexity_error, error, 10 * kPerplexityTolerance * error);
  EXPECT_TRUE(score->finite);
}

void GoldenModel::ExpectGreedyTexts(const ModelSource& source) const {
  for (const char* name : {"greedy", "greedy_long"}) {
    const JsonValue* greedy = golden_.Find(name);
    if (greedy != nullptr) ExpectGreedy(source, *greedy);
  }
}

void GoldenModel::ExpectGreedy(const ModelSource& source, const JsonValue& greedy) const {
  std::vector<int32_t> ids = Ids(*greedy.Find("prompt")), made;
  const std::vector<int32_t> expected = Ids(*greedy.Find("continuation"));
  const auto session = Session::Create(source, Precision::kF32, device_);
  SMELT_ASSERT_OK(session);
  std::vector<float> logits;
  while (made.size() < expected.size()) {
    SMELT_ASSERT_OK((*session)->Feed(ids, logits));
    const auto best = std::max_element(logits.begin(), logits.end());
    ids = {static_cast<int32_t>(best - logits.begin())};
    made.push_back(ids[0]);
  }
  EXPECT_EQ(made, expected);
}

}  // namespace smelt::testing
