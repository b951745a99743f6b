#include "tests/mutations/subject.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "infer/score.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "lib/model/recipe.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestSentence = 390;

// Texts in which every part of a pipeline has something to do.
const std::string_view kProbes[] = {
    "The quick brown fox jumps over the lazy dog, it's 12345 o'clock.",
    "  two  blanks\tand\n\nlines ",
    "Caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \ufb01ne \u4f60\u597d "
    "\u0928\u092e\u0938\u094d\u0924\u0947 \U0001f600",
    "a",
    "",
};

std::vector<std::string> MakeProbes(std::string_view tokenizer_json) {
  std::vector<std::string> probes(std::begin(kProbes), std::end(kProbes));
  const auto json = ParseJsonValue(tokenizer_json, "tokenizer.json");
  const JsonValue* added = json.ok() ? json->FindNonNull("added_tokens") : nullptr;
  if (added == nullptr || added->as_array() == nullptr) return probes;
  std::string all;
  for (const size_t i : Sample(added->as_array()->size(), 0)) {
    const JsonValue* content = (*added->as_array())[i].FindNonNull("content");
    if (content == nullptr || content->as_string() == nullptr) continue;
    all += Cat("the", *content->as_string(), "fox ", *content->as_string(), " ");
  }
  probes.push_back(all);
  return probes;
}

std::string Line(const std::vector<int32_t>& ids) {
  std::string line;
  for (const int32_t id : ids) line += Cat(line.empty() ? "" : " ", id);
  return line;
}

absl::Status EncodeProbes(const Tokenizer& tokenizer, const std::vector<std::string>& probes,
                          Outcome& outcome) {
  for (const std::string& text : probes) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.Encode(text, {}));
    outcome.ids.push_back(Line(ids));
    outcome.result.push_back(outcome.ids.back());
    outcome.result.push_back(tokenizer.Decode(ids, {}));
  }
  return absl::OkStatus();
}

std::string ToText(const MetadataValue& value) {
  return std::visit(
      [](const auto& held) {
        using T = std::remove_cvref_t<decltype(held)>;
        if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
          return Cat(held);
        } else {
          std::string out = "[";
          for (const auto& element : held) out += Cat(element, ",");
          return out + "]";
        }
      },
      value.storage());
}

/// A key that says what readers take where it is absent.
bool IsDefault(std::string_view key, const std::string& value) {
  return (key.ends_with(".rope.scaling.yarn_beta_fast") && value == "32") ||
         (key.ends_with(".rope.scaling.yarn_beta_slow") && value == "1");
}

void Describe(const ModelSource& source, std::vector<std::string>& result) {
  for (const Metadata::Entry& entry : source.metadata().entries()) {
    const MetadataValue& value = entry.value;
    if (IsDefault(entry.key, ToText(value))) continue;
    result.push_back(Cat(entry.key, " ", smelt::Name(value.type()), " ",
                         smelt::Name(value.element_type()), " ", ToText(value)));
  }
  for (const TensorInfo& tensor : source.tensors()) {
    result.push_back(Cat(tensor.name, " ", Info(tensor.type).name, " ", tensor.shape.ToText(),
                         " = ", tensor.recipe == nullptr ? "" : tensor.recipe->ToText()));
  }
}

void TakeNotes(const OpenedModel& opened, Outcome& outcome) {
  for (const auto* said : {&opened.notes, &opened.warnings})
    outcome.notes.insert(outcome.notes.end(), said->begin(), said->end());
}

/// Done, or refused with one good sentence.
bool IsGood(const absl::Status& status) {
  if (status.ok()) return true;
  const absl::string_view sentence = status.message();
  return !sentence.empty() && sentence.size() < kLongestSentence &&
         CodeOf(status) != ErrorCode::kInternal && CodeOf(status) != ErrorCode::kOutOfMemory &&
         std::none_of(sentence.begin(), sentence.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 32; });
}

class TokenizerSubject : public Subject {
 public:
  absl::Status Prepare(const std::string& path, const std::string& work) {
    const std::string bytes = ReadFile(path);
    place_ = work + "/tokenizer.json";
    mutants_ = std::make_unique<JsonMutants>(bytes);
    probes_ = MakeProbes(bytes);
    return Start(bytes);
  }

 private:
  absl::Status Use(Outcome& outcome) const override {
    SMELT_ASSIGN_OR_RETURN(const auto tokenizer,
                           OpenPublishedTokenizer(fs::path(place_).parent_path().string()));
    SMELT_RETURN_IF_ERROR(EncodeProbes(*tokenizer, probes_, outcome));
    // Whether a GGUF can hold it does not matter here, but the attempt must end well.
    Metadata metadata;
    VocabularyOptions options;
    options.architecture = "llama";
    const absl::Status written = WriteVocabulary(*tokenizer, options, metadata, outcome.notes);
    return IsGood(written) ? absl::OkStatus() : written;
  }
};

/// A file of a published model's folder.
class FolderSubject : public Subject {
 public:
  absl::Status Prepare(const std::string& path, const std::string& work) {
    const fs::path file(path);
    place_ = (fs::path(work) / file.filename()).string();
    for (const fs::directory_entry& entry : fs::directory_iterator(file.parent_path())) {
      const std::string name = entry.path().filename().string();
      if (name == file.filename() || name.starts_with("golden")) continue;
      fs::create_symlink(fs::absolute(entry.path()), fs::path(work) / name);
    }
    const std::string bytes = ReadFile(path);
    mutants_ = std::make_unique<JsonMutants>(bytes);
    return Start(bytes);
  }

 private:
  absl::Status Use(Outcome& outcome) const override {
    SMELT_ASSIGN_OR_RETURN(const OpenedModel opened,
                           OpenModel(fs::path(place_).parent_path().string()));
    TakeNotes(opened, outcome);
    SMELT_RETURN_IF_ERROR(ReadModelSpec(*opened.source).status());
    Describe(*opened.source, outcome.result);
    return absl::OkStatus();
  }
};

class GgufSubject : public Subject {
 public:
  explicit GgufSubject(std::vector<std::string> probes) {
    probes_ = std::move(probes);
    if (probes_.empty()) probes_.assign(std::begin(kProbes), std::end(kProbes));
  }
  absl::Status Prepare(const std::string& path, const std::string& work) {
    place_ = work + "/model.gguf";
    SMELT_ASSIGN_OR_RETURN(GgufFile file, OpenGguf(path));
    mutants_ = std::make_unique<GgufMutants>(std::move(file));
    return Start(ReadFile(path));
  }

 private:
  absl::Status Use(Outcome& outcome) const override {
    SMELT_ASSIGN_OR_RETURN(const OpenedModel opened, OpenModel(place_));
    TakeNotes(opened, outcome);
    const int32_t ids[] = {1, 5, 2, 7, 7, 3};
    SMELT_RETURN_IF_ERROR(ComputeLogits(
        *opened.source, ids, Precision::kF32,
        [&](uint64_t, std::span<const float> logits) {
          std::string line = "logits";
          for (const float value : logits) line += Cat(" ", value);
          outcome.result.push_back(std::move(line));
          return absl::OkStatus();
        },
        Observer()));
    const auto& entries = opened.source->metadata().entries();
    if (std::none_of(entries.begin(), entries.end(),
                     [](const auto& entry) { return entry.key.starts_with("tokenizer.ggml."); }))
      return absl::OkStatus();
    SMELT_ASSIGN_OR_RETURN(const auto tokenizer, GgufTokenizer(opened.source->metadata()));
    return EncodeProbes(*tokenizer, probes_, outcome);
  }
};

template <typename Kind>
absl::StatusOr<std::unique_ptr<Subject>> MakeSubject(const std::string& path,
                                                     const std::string& work, auto... arguments) {
  auto subject = std::make_unique<Kind>(std::move(arguments)...);
  SMELT_RETURN_IF_ERROR(subject->Prepare(path, work));
  return std::unique_ptr<Subject>(std::move(subject));
}

}  // namespace

std::string_view Name(Verdict verdict) {
  static constexpr std::string_view kNames[] = {"refused", "same", "noted", "other", "bad"};
  return kNames[static_cast<size_t>(verdict)];
}

absl::StatusOr<std::unique_ptr<Subject>> Subject::Make(std::string_view kind,
                                                       const std::string& path,
                                                       const std::string& work,
                                                       std::vector<std::string> probes) {
  if (kind == "tokenizer") return MakeSubject<TokenizerSubject>(path, work);
  if (kind == "gguf") return MakeSubject<GgufSubject>(path, work, std::move(probes));
  return MakeSubject<FolderSubject>(path, work);
}

absl::Status Subject::Start(std::string_view bytes) {
  original_ = Read(bytes);
  return original_.status;
}

Outcome Subject::Read(std::string_view bytes) const {
  WriteFile(place_, bytes);
  Outcome outcome;
  outcome.status = Use(outcome);
  return outcome;
}

Verdict Subject::Judge(const Outcome& outcome, const std::string& member) const {
  if (!outcome.status.ok()) return IsGood(outcome.status) ? Verdict::kRefused : Verdict::kBad;
  if (outcome.result == original_.result) return Verdict::kSame;
  const auto names_it = [&](const std::string& note) {
    return note.find(member) != std::string::npos &&
           std::find(original_.notes.begin(), original_.notes.end(), note) == original_.notes.end();
  };
  return std::any_of(outcome.notes.begin(), outcome.notes.end(), names_it) ? Verdict::kNoted
                                                                           : Verdict::kOther;
}

namespace {
uint64_t Hash(const std::vector<std::string>& lines) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const std::string& line : lines) {
    for (const char c : line) add(static_cast<unsigned char>(c));
    add('\n');
  }
  return hash;
}
}  // namespace

std::string Fingerprint(const std::vector<std::string>& lines) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(Hash(lines)));
  return text;
}

bool IsDrawn(std::string_view kind, const std::string& name, const std::string& id) {
  const uint64_t one_of = kind == "tokenizer" ? 12 : kind == "index" ? 1 : kind == "gguf" ? 5 : 3;
  return (Hash({name, id}) >> 20) % one_of == 0;
}

}  // namespace smelt::testing
