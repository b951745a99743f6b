// smelt diff, smelt verify: two models tensor by tensor, and one by itself.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "smelt/compare.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/results_json.h"

namespace smelt::tools {
namespace {

struct DiffArguments {
  CompareOptions options;
  std::string sort = "model";
};

/// The largest first, of what cannot be compared all.
void Sort(const std::string& by, std::vector<TensorDifference>& tensors) {
  if (by == "model") return;
  const auto key = [&](const TensorDifference& t) {
    if (by == "cosine") return -t.cosine;
    if (by == "worst") return t.worst;
    return by == "weighted" ? t.weighted_error.value_or(-1) : t.relative_error;
  };
  std::ranges::stable_sort(tensors, [&](const TensorDifference& a, const TensorDifference& b) {
    if (a.comparable != b.comparable) return b.comparable;
    return by == "name" ? a.name < b.name : key(a) > key(b);
  });
}

std::string Types(const TensorDifference& t) {
  const auto name = [](const std::string& type) { return type.empty() ? "-" : type; };
  return name(t.type_a) + " " + name(t.type_b);
}

std::string RowOf(const TensorDifference& t) {
  const std::string start = Left(OneLine(t.name, 100), 36) + Left(Types(t), 16);
  if (!t.comparable) return start + OneLine(t.problem, 400) + "\n";
  std::string row =
      start + Left(Significant(t.relative_error, 4), 12) +
      Left(t.weighted_error ? Significant(*t.weighted_error, 4) : "-", 12) +
      Left(Fixed(t.cosine, 6), 11) + Left(Significant(t.worst, 4), 11) +
      (t.worst > 0 ? std::to_string(t.worst_row) + ", " + std::to_string(t.worst_column)
                   : std::string("-"));
  if (!t.problem.empty()) row += "  " + OneLine(t.problem, 400);
  return row + "\n";
}

std::string ToText(const Comparison& c) {
  std::string text = Left("tensor", 36) + Left("types", 16) + Left("rel. error", 12) +
                     Left("weighted", 12) + Left("cosine", 11) + Left("worst", 11) +
                     "at row, column\n";
  for (const TensorDifference& t : c.tensors) text += RowOf(t);
  return text + "\n" + OneLine(c.b, 300) + " against " + OneLine(c.a, 300) + ": " +
         std::to_string(c.tensors.size()) + " tensors, " + std::to_string(c.equal) +
         " without a difference, " + std::to_string(c.problems) +
         " that cannot be compared; relative error of all " + Significant(c.relative_error, 4) +
         "\n";
}

std::string ToText(const ModelCheck& m) {
  std::string text;
  for (const TensorCheck& t : m.tensors) {
    text += Left(OneLine(t.name, 100), 36) + Left(t.type, 9) + Left(ShapeText(t.shape), 20) +
            (t.sha256.empty() ? "computed" : t.sha256) +
            (t.problem.empty() ? "" : "  " + OneLine(t.problem, 400)) + "\n";
  }
  if (m.against) text += "\n" + ToText(*m.against);
  return text + "\n" + OneLine(m.model, 300) + ": " + std::to_string(m.tensors.size()) +
         " tensors, " + (m.passed() ? "nothing is wrong" : std::to_string(m.problems) + " wrong") +
         "\n";
}

int RunDiff(const DiffArguments& a, Terminal& terminal) {
  absl::StatusOr<Comparison> result = Compare(a.options, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  Sort(a.sort, result->tensors);
  terminal.Print(terminal.json() ? ToJson(*result) : ToText(*result));
  return kDone;
}

struct VerifyArguments {
  std::string model, against;
};

int RunVerify(const VerifyArguments& a, Terminal& terminal) {
  const absl::StatusOr<ModelCheck> result = CheckModel(a.model, a.against, terminal.MakeObserver());
  if (!result.ok()) return terminal.Fail(result.status());
  terminal.Print(terminal.json() ? ToJson(*result) : ToText(*result));
  return result->passed() ? kDone : kFailed;
}

}  // namespace

void AddDiff(CLI::App& app, Invocation& invocation) {
  static DiffArguments a;
  CLI::App* command = app.add_subcommand("diff", "How two models differ, tensor by tensor");
  command->footer(
      "Examples:\n"
      "  smelt diff ./model model-q4_k_m.gguf --sort error\n"
      "  smelt diff ours.gguf theirs.gguf --imatrix model.imatrix.gguf --sort weighted --json\n"
      "The relative error is |A - B| / |A|; weighted, each column counts by its importance.\n"
      "--json: a, b, relative_error, equal, problems; tensors, a list of name, type_a, type_b, "
      "shape_a, shape_b, comparable, problem, relative_error, weighted_error, cosine, worst, "
      "worst_row, worst_column.");
  command->add_option("A", a.options.a, "Model folder, GGUF or store name")->required();
  command->add_option("B", a.options.b, "The same, of the same tensors")->required();
  command->add_option("--imatrix", a.options.imatrix, "Importance matrix for the weighted error")
      ->type_name("FILE");
  command
      ->add_option("--sort", a.sort,
                   "Order: model (default), name, or the largest first of "
                   "error, weighted, worst, or the smallest cosine")
      ->type_name("BY")
      ->check(CLI::IsMember({"model", "name", "error", "weighted", "worst", "cosine"}));
  AddGlobals(*command, invocation);
  command->callback(
      [&invocation] { invocation.run = [](Terminal& terminal) { return RunDiff(a, terminal); }; });
}

void AddVerify(CLI::App& app, Invocation& invocation) {
  static VerifyArguments a;
  CLI::App* command = app.add_subcommand(
      "verify", "Whether a model is whole: structure, scales, values; hashes of its tensors");
  command->footer(
      "Examples:\n"
      "  smelt verify model-q4_k_m.gguf\n"
      "  smelt verify model-q4_k_m.gguf --against ./model\n"
      "Exit status 1 where a tensor is wrong: a scale or value that is no number; against another "
      "model one that is missing, of another shape, or no nearer to it than zeros would be.\n"
      "--json: model, passed, problems; tensors, a list of name, type, shape, sha256, bad_blocks, "
      "problem; against, as `smelt diff --json` prints it.");
  command->add_option("FILE", a.model, "GGUF, model folder or store name")->required();
  command->add_option("--against", a.against, "The model that it was made from")->type_name("SRC");
  AddGlobals(*command, invocation);
  command->callback([&invocation] {
    invocation.run = [](Terminal& terminal) { return RunVerify(a, terminal); };
  });
}

}  // namespace smelt::tools
