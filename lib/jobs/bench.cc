#include "smelt/bench.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <random>

#include "infer/open_backend.h"
#include "infer/session.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/base/tensor_type.h"
#include "lib/jobs/generation_setup.h"
#include "lib/jobs/open_model.h"
#include "lib/jobs/read_bandwidth.h"
#include "lib/jobs/trained_context.h"

namespace smelt {
namespace {

absl::Status CheckOptions(const BenchOptions& o) {
  if (o.prompt == 0 && o.generate == 0)
    return Error(ErrorCode::kUsage, "there is nothing to measure: give -p or -n tokens");
  if (o.repeats < 1) return Error(ErrorCode::kUsage, "--repeat is 1 or more");
  if (o.contexts.empty()) return Error(ErrorCode::kUsage, "--context: give one length or more");
  if (std::any_of(o.threads.begin(), o.threads.end(), [](int n) { return n < 1; }))
    return Error(ErrorCode::kUsage, "--threads are 1 or more");
  return absl::OkStatus();
}

std::vector<int32_t> RandomIds(uint64_t count, uint32_t vocabulary) {
  std::mt19937 random(1);
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % vocabulary);
  return ids;
}

std::vector<std::pair<std::string, uint64_t>> TypesOf(const ModelSource& source) {
  std::map<std::string, uint64_t> bytes;
  for (const TensorInfo& info : source.tensors()) {
    bytes[std::string(Info(info.type).name)] +=
        info.shape.rows() * RowBytes(info.type, info.shape.columns()).value_or(0);
  }
  std::vector<std::pair<std::string, uint64_t>> types(bytes.begin(), bytes.end());
  std::ranges::stable_sort(types, std::ranges::greater(),
                           &std::pair<std::string, uint64_t>::second);
  return types;
}

/// Threads() is what it was when this ends.
class ThreadsGuard {
 public:
  ~ThreadsGuard() { SetThreads(before_); }

 private:
  const int before_ = Threads();
};

/// Tokens fed one batch or one by one, from where the sequence stands, some times over.
class Meter {
 public:
  Meter(Session& session, const SpecifiedModel& model, const BenchOptions& options,
        const Observer& observer)
      : session_(session),
        options_(options),
        observer_(observer),
        total_(std::max<size_t>(options.threads.size(), 1) * options.contexts.size() *
               static_cast<uint64_t>(options.repeats) *
               ((options.prompt > 0 ? 1 : 0) + (options.generate > 0 ? 1 : 0))),
        vocabulary_(std::min(model.spec.vocabulary, session.vocabulary())) {}

  /// Anew, with so many tokens before what is measured.
  absl::Status Begin(uint64_t context) {
    if (empty_ == nullptr) empty_ = session_.Save();
    SMELT_RETURN_IF_ERROR(session_.Restore(*empty_));
    if (context > 0)
      SMELT_RETURN_IF_ERROR(session_.Feed(RandomIds(context, vocabulary_), logits_, observer_));
    start_ = session_.Save();
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<BenchSpeed>> Measure(uint64_t tokens, uint64_t step) {
    commands_.reset();
    if (tokens == 0) return std::optional<BenchSpeed>();
    const std::vector<int32_t> ids = RandomIds(tokens, vocabulary_);
    std::vector<double> speeds;
    for (int i = 0; i < options_.repeats; ++i) {
      SMELT_RETURN_IF_ERROR(session_.Restore(*start_));
      const CommandCounts before = session_.counts();
      const auto begin = std::chrono::steady_clock::now();
      for (uint64_t t = 0; t < tokens; t += step) {
        const auto part = std::span(ids).subspan(t, std::min(step, tokens - t));
        SMELT_RETURN_IF_ERROR(session_.Feed(part, logits_));
        SMELT_RETURN_IF_ERROR(GoOn());
      }
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      commands_ = PerToken(before, session_.counts(), tokens);
      speeds.push_back(static_cast<double>(tokens) / seconds.count());
      observer_.Report({.phase = "measuring", .done = ++done_, .total = total_, .unit = "runs"});
    }
    std::ranges::sort(speeds);
    const size_t n = speeds.size();
    const double median = (speeds[(n - 1) / 2] + speeds[n / 2]) / 2;
    return std::optional<BenchSpeed>({median, speeds.front(), speeds.back()});
  }

  /// Of the last measurement; none where nothing was measured.
  const std::optional<BenchCommands>& commands_per_token() const { return commands_; }

 private:
  static BenchCommands PerToken(const CommandCounts& from, const CommandCounts& to,
                                uint64_t tokens) {
    const auto share = [&](uint64_t a, uint64_t b) {
      return static_cast<double>(b - a) / static_cast<double>(tokens);
    };
    return {share(from.dispatches, to.dispatches), share(from.barriers, to.barriers),
            share(from.submits, to.submits)};
  }

  Session& session_;
  const BenchOptions& options_;
  const Observer& observer_;
  const uint64_t total_;
  const uint32_t vocabulary_;
  uint64_t done_ = 0;
  std::optional<BenchCommands> commands_;
  std::unique_ptr<SessionState> empty_, start_;
  std::vector<float> logits_;
};

}  // namespace

absl::StatusOr<BenchResult> Bench(const BenchOptions& options, const Observer& watcher) try {
  const JobScope job(watcher);
  const Observer& observer = job.observer();
  SMELT_RETURN_IF_ERROR(CheckOptions(options));
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> source,
                         OpenModelByName(options.model, {}, observer));
  SpecifiedModel model{.source = source.get(), .spec = {}};
  SMELT_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(*source));
  SMELT_ASSIGN_OR_RETURN(const GenerationSetup setup,
                         ChooseGenerationSetup(*source, WishesOf(options), observer));
  const std::string& device = setup.device.device;
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(model, setup));
  WarnBeyondTrainedContext(*source,
                           *std::max_element(options.contexts.begin(), options.contexts.end()) +
                               std::max(options.prompt, options.generate),
                           observer);
  BenchResult result{.model = options.model,
                     .device = device,
                     .device_layers = session->device_layers(),
                     .activations = ActivationsOf(*session),
                     .types = TypesOf(*source),
                     .repacked_bytes = session->interleaved_bytes()};
  const ThreadsGuard guard;
  Meter meter(*session, model, options, observer);
  for (const int threads : options.threads.empty() ? std::vector{Threads()} : options.threads) {
    SetThreads(threads);
    std::optional<double> bandwidth;
    if (device == "cpu") {
      SMELT_ASSIGN_OR_RETURN(bandwidth, ReadBandwidth());
    }
    for (const uint64_t context : options.contexts) {
      BenchRow row{.threads = threads, .context = context};
      SMELT_RETURN_IF_ERROR(meter.Begin(context));
      SMELT_ASSIGN_OR_RETURN(row.prompt, meter.Measure(options.prompt, options.prompt));
      SMELT_ASSIGN_OR_RETURN(row.generation, meter.Measure(options.generate, 1));
      if (device != "cpu") row.commands_per_token = meter.commands_per_token();
      row.bytes_per_token = session->token_cost().Bytes(context + options.generate / 2);
      row.operations_per_token = session->token_cost().Operations(context + options.generate / 2);
      row.read_bandwidth = bandwidth;
      if (row.generation && bandwidth) {
        row.bandwidth_share =
            row.generation->median * static_cast<double>(row.bytes_per_token) / *bandwidth;
      }
      result.rows.push_back(row);
    }
  }
  return result;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
