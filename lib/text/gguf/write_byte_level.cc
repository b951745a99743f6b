// Byte-level BPE as tokenizer.ggml.model "gpt2".
#include <algorithm>
#include <utility>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/gguf/kind_writers.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/spec/component_json.h"

namespace smelt {
namespace {

// A space would end the first part of a merge.
std::string WithoutSpaces(std::string_view part) {
  std::string out;
  for (const char c : part) {
    if (c == ' ') {
      out += "\xc4\xa0";  // U+0120
    } else {
      out.push_back(c);
    }
  }
  return out;
}

bool LacksBytes(const TokenTable& tokens) {
  for (int b = 0; b < 256; ++b) {
    const char c = static_cast<char>(b);
    std::string text;
    AppendByteLevel(text, std::string_view(&c, 1));
    if (tokens.Find(text) < 0) return true;
  }
  return false;
}

// What the keys say about how a text is cut.
struct Naming {
  std::string name;
  bool whole = false;  // the steps go into a key too
};

absl::StatusOr<Naming> NameSteps(const PipelineSpec& spec, bool ignore_merges,
                                 const std::string& insisted) {
  const absl::StatusOr<PreTokenizerMatch> match =
      NamePreTokenizer(spec.pre_tokenizers, ignore_merges);
  const bool insists = !insisted.empty();
  if (insists && FindPreTokenizer(insisted) == nullptr) {
    return Error(ErrorCode::kUnsupported, "the pre-tokenizer name \"", Escape(insisted, 60),
                 "\" is not known; known are ", KnownPreTokenizers());
  }
  if (!insists && !match.ok()) return match.status();
  Naming naming{insists ? insisted : match->name};
  // Some of the names stand for tokenizers with NFC, which few texts see. Others change much more.
  const auto more = std::find_if(spec.normalizers.begin(), spec.normalizers.end(),
                                 [](const NormalizerStep& step) {
                                   return step != NormalizerStep(UnicodeForm{NormalForm::kNfc});
                                 });
  if (!insists && more != spec.normalizers.end()) {
    return NoForm(Cat("no pre-tokenizer name stands for its normalizer ", TypeNames({*more}),
                      ", which llama.cpp would leave out; --pre ", naming.name, " insists"));
  }
  const bool fits = match.ok() && match->name == naming.name;  // not only because somebody insists
  const bool prefix_space = std::any_of(spec.pre_tokenizers.begin(), spec.pre_tokenizers.end(),
                                        [](const PreTokenizerStep& step) {
                                          const ByteLevel* bytes = std::get_if<ByteLevel>(&step);
                                          return bytes != nullptr && bytes->add_prefix_space;
                                        });
  naming.whole =
      (fits && (!match->exact || prefix_space)) || FindPipelineOf(naming.name) == nullptr;
  return naming;
}

}  // namespace

absl::StatusOr<PipelineSpec> WriteByteLevelBpe(const Pipeline& p, const SpecWriteOptions& options,
                                               Metadata& out, Metadata& after) {
  const PipelineSpec& spec = p.spec();
  const BpeModel& model = std::get<BpeModel>(spec.model);
  SMELT_RETURN_IF_ERROR(RefuseAffixes(model));
  if (!spec.MapsBytes()) return NoForm("its decoder is ByteLevel, but no step before its model is");
  SMELT_ASSIGN_OR_RETURN(const Naming naming, NameSteps(spec, model.ignore_merges, options.pre));
  out.Set("tokenizer.ggml.model", "gpt2");
  out.Set("tokenizer.ggml.pre", naming.name);
  VocabularyArrays arrays(RowsOf(options, p));
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (spec.tokens.Has(id)) arrays.Set(id, std::string(spec.tokens.Text(id)), PieceType::kNormal);
  }
  for (const AddedToken& token : spec.added) arrays.SetAdded(token, 0);
  if (options.zero_scores) arrays.ZeroScores();
  PipelineSpec written;
  written.added = AddedAsWritten(spec.added, AddedTo::kByteLevel, -1, arrays);
  std::move(arrays).Write(options.zero_scores, out);
  BpeModel& kept = written.model.emplace<BpeModel>();
  const bool on_bytes = LeavesBytes(spec.pre_tokenizers);
  std::vector<std::string> merges;
  merges.reserve(model.merges.size());
  std::string bytes;
  for (size_t i = 0; i < model.merges.size(); ++i) {
    const std::string left = WithoutSpaces(model.merges.Left(i)),
                      right = WithoutSpaces(model.merges.Right(i));
    merges.push_back(Cat(left, " ", right));
    bytes.clear();  // what is no byte is never merged
    if (!on_bytes || (AppendBytesOfLevel(bytes, left) && AppendBytesOfLevel(bytes, right)))
      kept.merges.Add(left, right);
  }
  out.Set("tokenizer.ggml.merges", std::move(merges));
  WriteNormalizers(spec.normalizers, after);
  WriteAddedFlags(spec.added, AddedTo::kByteLevel, -1, after);
  if (naming.whole)
    WriteOwn<std::string>(after, "smelt.tokenizer.pre_tokenizer", ToJson(spec.pre_tokenizers));
  const PreTokenizerName* known = FindPipelineOf(naming.name);
  if ((known != nullptr && known->ignore_merges) != model.ignore_merges)
    WriteOwn<bool>(after, "smelt.tokenizer.ignore_merges", model.ignore_merges);
  kept.ignore_merges = model.ignore_merges;
  if (LacksBytes(spec.tokens)) {
    WriteUnknown(model, after);
    kept.unk_token = model.unk_token;
    kept.fuse_unk = model.fuse_unk && !model.unk_token.empty();
  }
  written.normalizers = spec.normalizers;
  written.pre_tokenizers = naming.whole ? spec.pre_tokenizers : known->steps;
  written.tokens = spec.tokens;
  for (const AddedToken& token : spec.added) {
    if (token.outside && token.special) written.tokens.Add(token.id, token.content);
  }
  written.decoders = {ByteLevelDecoder()};
  return written;
}

}  // namespace smelt
