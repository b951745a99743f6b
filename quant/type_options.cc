#include "quant/type_options.h"

#include <algorithm>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "quant/name_pattern.h"
#include "quant/preset_rules.h"

namespace smelt {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

/// Tensors of a role, in the order of the shape.
std::vector<size_t> OfRole(const ModelShape& shape, Role role) {
  std::vector<size_t> found;
  for (size_t i = 0; i < shape.tensors.size(); ++i) {
    if (RoleOf(shape.tensors[i].name) == role) found.push_back(i);
  }
  return found;
}

absl::Status AddPattern(const ModelShape& shape, const std::string& pattern, TensorType type,
                        TypeOptions& options) {
  const std::string lower = Lower(pattern);
  SMELT_ASSIGN_OR_RETURN(const NamePattern compiled, NamePattern::Compile(lower));
  TypeOption option{Cat("--tensor-type ", Escape(pattern, 60), "=", Lower(Info(type).name)),
                    "--tensor-type " + lower, type};
  for (size_t i = 0; i < shape.tensors.size(); ++i) {
    SMELT_ASSIGN_OR_RETURN(const bool match, compiled.In(shape.tensors[i].name));
    if (!match) continue;
    option.tensors.push_back(i);
    if (!options.pattern[i]) options.pattern[i] = options.all.size();
  }
  options.all.push_back(std::move(option));
  return absl::OkStatus();
}

/// Tensors to which the same happened: the first, and how many.
struct Group {
  const ShapeTensor* first = nullptr;
  const TypeChoice* choice = nullptr;
  size_t count = 0;

  void Add(const ShapeTensor& tensor, const TypeChoice& its_choice) {
    if (count++ != 0) return;
    first = &tensor;
    choice = &its_choice;
  }
  std::string Names() const {
    const std::string more = count > 1 ? Cat(" and ", count - 1, " more") : std::string();
    return Escape(first->name, 100) + more;
  }
};

std::string WarningOf(const TypeOption& option, const ModelShape& shape,
                      const std::vector<TypeChoice>& choices) {
  if (option.tensors.empty())
    return option.text + " names no tensor of this model, so it changes nothing";
  Group kept, kept_weights, misfits, overruled;
  size_t applied = 0;
  for (const size_t i : option.tensors) {
    const ShapeTensor& tensor = shape.tensors[i];
    const TypeChoice& choice = choices[i];
    if (choice.kept && choice.type != option.type) {
      kept.Add(tensor, choice);
      if (tensor.name.ends_with("weight")) kept_weights.Add(tensor, choice);
    } else if (choice.kept || choice.option == option.text) {
      choice.misfit ? misfits.Add(tensor, choice) : static_cast<void>(++applied);
    } else {
      overruled.Add(tensor, choice);
    }
  }
  std::string text;
  const auto say = [&](const std::string& part) { text += (text.empty() ? ": " : "; ") + part; };
  if (misfits.count != 0) {
    say(Cat(misfits.Names(), misfits.count > 1 ? " have" : " has", " rows of ",
            misfits.first->ne[0], " columns, no multiple of the ", Info(option.type).block_elements,
            " of ", Info(option.type).name, ": ", Info(misfits.choice->type).name, " instead"));
  }
  // A pattern for a matrix names its bias as well; that alone is nothing to warn of.
  const bool nothing_else = applied + misfits.count + overruled.count == 0;
  const Group& worth_saying = nothing_else ? kept : kept_weights;
  if (worth_saying.count != 0) {
    say(Cat(worth_saying.Names(), worth_saying.count > 1 ? " keep their type" : " keeps its type",
            ": norms, routers and other small tensors are never quantized"));
  }
  if (text.empty() && applied == 0) {
    say(Cat("the type of ", overruled.Names(), " is what ", overruled.choice->option,
            " says, so this changes nothing"));
  }
  return text.empty() ? text : option.text + text;
}

}  // namespace

absl::StatusOr<TypeOptions> MatchTypeOptions(const ModelShape& shape,
                                             const PresetOptions& options) {
  TypeOptions out;
  out.pattern.resize(shape.tensors.size());
  const auto add = [&](const char* name, TensorType type, std::vector<size_t> tensors) {
    out.all.push_back({Cat(name, " ", Lower(Info(type).name)), name, type, std::move(tensors)});
    return out.all.size() - 1;
  };
  if (options.output_tensor_type) {
    std::vector<size_t> tensors = OfRole(shape, Role::kOutput);
    if (tensors.empty() && !options.pure) tensors = OfRole(shape, Role::kEmbedding);  // tied
    out.output = add("--output-tensor-type", *options.output_tensor_type, std::move(tensors));
  }
  if (options.token_embedding_type) {
    out.embedding = add("--token-embedding-type", *options.token_embedding_type,
                        OfRole(shape, Role::kEmbedding));
  }
  for (const auto& [pattern, type] : options.tensor_types)
    SMELT_RETURN_IF_ERROR(AddPattern(shape, pattern, type, out));
  return out;
}

std::vector<std::string> TypeOptionWarnings(const ModelShape& shape, const TypeOptions& options,
                                            const std::vector<TypeChoice>& choices) {
  std::vector<std::string> warnings;
  for (const TypeOption& option : options.all) {
    std::string warning = WarningOf(option, shape, choices);
    if (!warning.empty()) warnings.push_back(std::move(warning));
  }
  return warnings;
}

}  // namespace smelt
