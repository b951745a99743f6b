// `imatrix`: importance matrices made, merged, shown.
#include "formats/importance.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "infer/calibration.h"
#include "infer/open_backend.h"
#include "lib/base/atomic_file.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/jobs/importance_tap.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/output_name.h"
#include "lib/jobs/text_ids.h"
#include "lib/jobs/trained_context.h"
#include "smelt/imatrix.h"

namespace smelt {
namespace {

constexpr uint32_t kUsualChunk = 512;  // tokens; what llama-imatrix takes where nobody says

absl::Status CheckOutputIsNo(const std::vector<std::string>& inputs, const std::string& output) {
  for (const std::string& input : inputs) {
    if (IsPartOfSource(output, input)) {
      return Error(ErrorCode::kUsage, Escape(output),
                   " is an input itself; choose another file with -o");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const ImportanceOptions& options) {
  if (options.text_files.empty())
    return Error(ErrorCode::kUsage, "a text is needed: name one with --text");
  if (options.output.empty())
    return Error(ErrorCode::kUsage, "a file to write is needed: name it with -o");
  if (options.context < 4) return Error(ErrorCode::kUsage, "--context must be at least 4");
  SMELT_RETURN_IF_ERROR(RefuseStandardOutput(options.output, "-o"));
  SMELT_RETURN_IF_ERROR(CheckOutput(options.output, options.force));
  std::vector<std::string> inputs = options.text_files;
  if (const auto path = ResolveModel(options.model); path.ok()) inputs.push_back(*path);
  return CheckOutputIsNo(inputs, options.output);
}

/// Warns of texts that give nothing; an error when none does.
absl::Status DescribeTexts(const EvaluationTexts& texts, const ScoreOptions& options,
                           const Observer& observer) {
  uint64_t chunks = 0;
  for (size_t i = 0; i < texts.ids.size(); ++i) {
    const uint64_t tokens = texts.ids[i].size();
    const Chunks c = ChunksOf(tokens, options);
    chunks += c.count;
    const std::string name =
        texts.names[i] == "-" ? "standard input" : std::string(Escape(texts.names[i]));
    if (c.count == 0) {
      observer.Warn(Cat(name, " has ", tokens, tokens == 1 ? " token" : " tokens",
                        ", too few for a chunk: it is left out"));
    } else if (tokens / 2 < options.context) {
      observer.Note(Cat(name, " has ", tokens, " tokens, fewer than two contexts of ",
                        options.context, ": one chunk of ", c.context, " is used"));
    }
  }
  if (chunks > 0) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput,
               "the text has fewer than 2 tokens, too few to say what is important; give a longer "
               "one with --text");
}

/// A tensor's figures, a piece of its values after the other.
class Tally {
 public:
  Tally(const ImportanceFile& file, size_t entry) : file_(file), entry_(file.entries()[entry]) {
    out_.name = entry_.name;
    out_.columns = file.legacy() ? 0 : entry_.columns;
    out_.values = entry_.values();
    for (const float count : entry_.counts) out_.tokens.push_back(static_cast<uint64_t>(count));
    out_.smallest = std::numeric_limits<double>::infinity();
  }

  void Add(uint64_t matrix, std::span<const float> sums) {
    const double count = entry_.counts[matrix];
    if (count == 0 && !file_.legacy()) return;  // nothing is known of it
    for (const float sum : sums) {
      const double value = count == 0 ? sum : sum / count;
      out_.zeros += value == 0 ? 1 : 0;
      out_.smallest = std::min(out_.smallest, value);
      out_.largest = std::max(out_.largest, value);
      sum_ += value;
    }
    seen_ += sums.size();
  }

  ImportanceTensor Take() {
    if (seen_ == 0) out_.smallest = 0;
    if (seen_ > 0) out_.mean = sum_ / static_cast<double>(seen_);
    return std::move(out_);
  }

 private:
  const ImportanceFile& file_;
  const ImportanceEntry& entry_;
  ImportanceTensor out_;
  double sum_ = 0;
  uint64_t seen_ = 0;
};

absl::StatusOr<ImportanceSummary> Summarize(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<const ImportanceFile> file,
                         ImportanceFile::Open(path));
  ImportanceSummary out;
  out.file = path;
  out.format = file->legacy() ? "dat" : "gguf";
  out.datasets = file->origin().datasets;
  out.chunks = file->origin().chunks;
  out.chunk_size = file->origin().chunk_size;
  out.bytes = file->bytes();
  std::vector<float> sums;
  for (size_t i = 0; i < file->entries().size(); ++i) {
    SMELT_RETURN_IF_ERROR(GoOn());
    const ImportanceEntry& entry = file->entries()[i];
    Tally tally(*file, i);
    for (uint64_t m = 0; m < entry.matrices(); ++m) {
      sums.resize(entry.columns);
      SMELT_RETURN_IF_ERROR(file->ReadSums(i, m * entry.columns, sums));
      tally.Add(m, sums);
    }
    out.tensors.push_back(tally.Take());
  }
  return out;
}

/// Runs the model; everything that it has to say goes to `spool`.
absl::Status Gather(Calibration& calibration, ImportanceTap& tap, ImportanceSpool& spool) {
  SMELT_RETURN_IF_ERROR(calibration.Begin());
  for (size_t layer = 0; layer < calibration.layers(); ++layer) {
    SMELT_RETURN_IF_ERROR(calibration.Step(layer, &tap));
    SMELT_RETURN_IF_ERROR(spool.Take(tap));
  }
  SMELT_RETURN_IF_ERROR(calibration.Finish(&tap));
  return spool.Take(tap);
}

/// Files of one model whose sums are added.
class Merger {
 public:
  absl::Status Add(std::shared_ptr<const ImportanceFile> file) {
    for (const ImportanceEntry& entry : file->entries()) {
      const auto [found, fresh] = entries_.emplace(entry.name, entry);
      ImportanceEntry& sum = found->second;
      if (sum.columns != entry.columns || sum.matrices() != entry.matrices()) {
        return Error(ErrorCode::kInvalidInput, Escape(file->name()), ": tensor ",
                     Escape(entry.name), " has ", entry.values(), " values of ", entry.matrices(),
                     " matrices, in ", Escape(files_[0]->name()), " ", sum.values(), " of ",
                     sum.matrices(), ": they are of different models",
                     file->legacy() != files_[0]->legacy()
                         ? ", or of experts, which a .dat does not tell apart"
                         : "");
      }
      if (fresh) std::ranges::fill(sum.counts, 0.0f);
    }
    files_.push_back(std::move(file));
    return absl::OkStatus();
  }

  absl::Status Write(const std::string& path, bool force) {
    const ImportanceOrigin origin = Origin();
    std::vector<ImportanceEntry> entries;
    for (auto& [name, entry] : entries_) {
      for (const auto& file : files_) {
        const int at = file->Find(name);
        if (at < 0) continue;
        const ImportanceEntry& other = file->entries()[static_cast<size_t>(at)];
        for (size_t m = 0; m < other.matrices(); ++m)
          entry.counts[m] += other.counts[m] * Weight(*file, origin);
      }
      entries.push_back(entry);
    }
    const auto sums = [&](size_t i, std::span<float> out) {
      return AddUp(entries[i].name, origin, out);
    };
    return WriteImportance(path, origin, entries, sums, force);
  }

 private:
  // What a count of 1 is worth in tokens: those of a .dat are chunks.
  static float Weight(const ImportanceFile& file, const ImportanceOrigin& origin) {
    return file.legacy() ? static_cast<float>(origin.chunk_size) : 1.0f;
  }

  // Chunks of different sizes are counted in the first size that is known.
  ImportanceOrigin Origin() const {
    ImportanceOrigin out;
    for (const auto& file : files_) {
      if (out.chunk_size == 0) out.chunk_size = file->origin().chunk_size;
    }
    if (out.chunk_size == 0) out.chunk_size = kUsualChunk;
    uint64_t tokens = 0;
    for (const auto& file : files_) {
      const ImportanceOrigin& origin = file->origin();
      const uint64_t size = origin.chunk_size == 0 ? out.chunk_size : origin.chunk_size;
      tokens += origin.chunks * size;
      for (const std::string& text : origin.datasets) {
        if (std::ranges::find(out.datasets, text) == out.datasets.end())
          out.datasets.push_back(text);
      }
    }
    out.chunks = static_cast<uint32_t>((tokens + out.chunk_size / 2) / out.chunk_size);
    return out;
  }

  absl::Status AddUp(const std::string& name, const ImportanceOrigin& origin,
                     std::span<float> out) const {
    std::vector<double> sums(out.size());
    for (const auto& file : files_) {
      const int at = file->Find(name);
      if (at < 0) continue;
      SMELT_RETURN_IF_ERROR(file->ReadSums(static_cast<size_t>(at), 0, out));
      for (size_t i = 0; i < sums.size(); ++i)
        sums[i] += static_cast<double>(out[i]) * Weight(*file, origin);
    }
    for (size_t i = 0; i < sums.size(); ++i) {
      out[i] = static_cast<float>(sums[i]);
      if (std::isfinite(out[i])) continue;
      return Error(ErrorCode::kInvalidInput, "tensor ", Escape(name), ": the sum of its value ", i,
                   " is beyond what f32 holds");
    }
    return absl::OkStatus();
  }

  std::vector<std::shared_ptr<const ImportanceFile>> files_;
  std::map<std::string, ImportanceEntry> entries_;
};

}  // namespace

absl::StatusOr<ImportanceSummary> MakeImportance(const ImportanceOptions& options,
                                                 const Observer& watcher) try {
  const JobScope job(watcher);
  const Observer& observer = job.observer();
  SMELT_RETURN_IF_ERROR(CheckOptions(options));
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> source,
                         OpenModelByName(options.model, WithAdapters(options.adapters), observer));
  SpecifiedModel model{.source = source.get(), .spec = {}};
  SMELT_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(*source));
  SMELT_ASSIGN_OR_RETURN(const std::vector<NamedText> named,
                         ReadEvaluationTexts(options.text_files, observer));
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, TokenizerOf(*source));
  SMELT_ASSIGN_OR_RETURN(const EvaluationTexts texts, Encode(named, std::move(tokenizer)));
  SMELT_ASSIGN_OR_RETURN(const DeviceOptions device,
                         ChooseDevice(options.device, Precision::kF32, observer));
  ScoreOptions score{.context = options.context, .chunks = options.chunks, .device = device};
  texts.SetBos(score);
  SMELT_RETURN_IF_ERROR(DescribeTexts(texts, score, observer));
  WarnBeyondTrainedContext(*source, options.context, observer);

  const auto start = std::chrono::steady_clock::now();
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Calibration> calibration,
                         Calibration::Open(model, texts.ids, score, observer));
  SMELT_ASSIGN_OR_RETURN(ImportanceSpool spool, ImportanceSpool::Make());
  ImportanceTap tap(*source, options.process_output);
  SMELT_RETURN_IF_ERROR(Gather(*calibration, tap, spool));
  const ImportanceOrigin origin{.datasets = options.text_files,
                                .chunks = static_cast<uint32_t>(calibration->chunks()),
                                .chunk_size = static_cast<uint32_t>(options.context)};
  SMELT_RETURN_IF_ERROR(spool.Write(options.output, origin, options.force));
  SMELT_ASSIGN_OR_RETURN(ImportanceSummary out, Summarize(options.output));
  out.tokens = calibration->tokens();
  out.device = device.device;
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
} catch (...) {
  return CaughtError();
}

absl::StatusOr<ImportanceSummary> MergeImportance(const std::vector<std::string>& files,
                                                  const std::string& output, bool force,
                                                  const Observer& watcher) try {
  const JobScope job(watcher);
  if (files.size() < 2)
    return Error(ErrorCode::kUsage, "--merge needs two importance matrices or more");
  if (output.empty()) return Error(ErrorCode::kUsage, "a file to write is needed: name it with -o");
  SMELT_RETURN_IF_ERROR(RefuseStandardOutput(output, "-o"));
  SMELT_RETURN_IF_ERROR(CheckOutputIsNo(files, output));
  SMELT_RETURN_IF_ERROR(CheckOutput(output, force));
  Merger merger;
  for (const std::string& path : files) {
    SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const ImportanceFile> file, ImportanceFile::Open(path));
    SMELT_RETURN_IF_ERROR(merger.Add(std::move(file)));
  }
  SMELT_RETURN_IF_ERROR(merger.Write(output, force));
  return Summarize(output);
} catch (...) {
  return CaughtError();
}

absl::StatusOr<ImportanceSummary> ShowImportance(const std::string& file,
                                                 const Observer& watcher) try {
  const JobScope job(watcher);
  return Summarize(file);
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
