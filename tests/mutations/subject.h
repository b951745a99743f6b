// What a mutant does to whoever reads it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/mutations/mutants.h"

namespace smelt::testing {

/// What the library makes of a file. `result` is all that it means, line by line: for a tokenizer
/// the ids and the decoded texts of probes; for what describes a published model the keys, tensors
/// and recipes of its GGUF; for a GGUF the logits and the ids.
struct Outcome {
  absl::Status status;  ///< why it was refused
  std::vector<std::string> result;
  std::vector<std::string> ids;    ///< of the probes, where there is a tokenizer
  std::vector<std::string> notes;  ///< and warnings
};

enum class Verdict {
  kRefused,  ///< with one good sentence
  kSame,     ///< the original's result
  kNoted,    ///< another result, and a note that names the member
  kOther,    ///< another result: right only if upstream gives it too
  kBad,      ///< refused without a good sentence
};
std::string_view Name(Verdict verdict);

/// One valid file of a folder, its mutants and how they are read.
class Subject {
 public:
  /// "tokenizer": a tokenizer.json, alone in its folder. "config", "generation_config", "index":
  /// the file of that name in a model's folder, the others beside it. "gguf": a GGUF file. Mutants
  /// are written below `work`. `probes`: the texts that a GGUF's tokenizer encodes, instead of
  /// ours.
  static absl::StatusOr<std::unique_ptr<Subject>> Make(std::string_view kind,
                                                       const std::string& path,
                                                       const std::string& work,
                                                       std::vector<std::string> probes = {});
  virtual ~Subject() = default;

  const Mutants& mutants() const { return *mutants_; }
  const Outcome& original() const { return original_; }
  /// What these bytes in the place of the file are.
  Outcome Read(std::string_view bytes) const;
  /// `member`: what a note must name.
  Verdict Judge(const Outcome& outcome, const std::string& member) const;

  /// The texts that tokenizers encode, in the order of `result`.
  const std::vector<std::string>& probes() const { return probes_; }

 protected:
  /// Reads what stands at `place_`; what this returns is why it was refused.
  virtual absl::Status Use(Outcome& outcome) const = 0;
  /// Reads the original; after it `place_`, `mutants_` are set.
  absl::Status Start(std::string_view bytes);

  std::string place_;  ///< where the mutants are written
  std::unique_ptr<Mutants> mutants_;
  std::vector<std::string> probes_;
  Outcome original_;
};

/// Lines in a few letters: FNV-1a (64 bits), each with a line break behind it.
std::string Fingerprint(const std::vector<std::string>& lines);

/// Whether the test reads this mutant. `name`: of the file's folder below testdata.
bool IsDrawn(std::string_view kind, const std::string& name, const std::string& id);

}  // namespace smelt::testing
