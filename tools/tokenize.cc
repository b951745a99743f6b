// smelt tokenize: text to ids with a model's tokenizer.
#include "smelt/tokenize.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "smelt/text.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/results_json.h"
#include "tools/signals.h"

namespace smelt::tools {
namespace {

struct TokenizeArguments {
  std::string model, compare;
  std::optional<std::string> text;
  bool jsonl = false, no_special = false, plain = false, decode = false, hide_special = false;
};
TokenizeArguments arguments;

// "123  'piece'" lines for people.
absl::StatusOr<std::string> ToText(const TextTokenizer& tokenizer,
                                   const std::vector<int32_t>& ids) {
  std::string out;
  for (int32_t id : ids) {
    const absl::StatusOr<std::string> piece = tokenizer.Piece(id);
    if (!piece.ok()) return piece.status();
    const std::string quoted =
        nlohmann::json(*piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out += Right(std::to_string(id), 8) + "  " + OneLine(quoted, 400) + "\n";
  }
  return out;
}

// A JSON list of ids below the vocabulary's size; false when it is anything else.
bool ReadIdList(const nlohmann::json& list, const TextTokenizer& tokenizer,
                std::vector<int32_t>& ids) {
  ids.clear();
  if (!list.is_array()) return false;
  for (const nlohmann::json& item : list) {
    if (!item.is_number_integer() || item < 0 || item >= tokenizer.size()) return false;
    ids.push_back(item.get<int32_t>());
  }
  return true;
}

std::string TextToJson(const std::string& text) {
  return nlohmann::json{{"text", text}}.dump() + "\n";
}

// One line of --jsonl: {"text":...} to {"ids":[...]}, or the other way round.
absl::StatusOr<std::string> OneLineOf(const nlohmann::json& json, const TextTokenizer& tokenizer,
                                      const TokenizeFlags& flags) {
  if (arguments.decode) {
    std::vector<int32_t> ids;
    if (!json.is_object() || !json.contains("ids") || !ReadIdList(json["ids"], tokenizer, ids)) {
      return absl::InvalidArgumentError("is no {\"ids\": [...]} object with ids of the vocabulary");
    }
    const absl::StatusOr<std::string> text = tokenizer.Decode(ids, !arguments.hide_special);
    if (!text.ok()) return text.status();
    return TextToJson(*text);
  }
  if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
    return absl::InvalidArgumentError("is no {\"text\": ...} object");
  }
  const absl::StatusOr<std::vector<int32_t>> ids =
      tokenizer.Encode(json["text"].get<std::string>(), flags);
  if (!ids.ok()) return ids.status();
  return IdsToJson(*ids);
}

// One line as JSON, or what is wrong with it.
absl::StatusOr<nlohmann::json> ParseLine(const std::string& line) {
  try {
    return nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    const std::string_view what = error.what();
    if (what.find("ill-formed UTF-8") != std::string_view::npos)
      return absl::InvalidArgumentError("is not valid UTF-8");
    if (what.find("surrogate") != std::string_view::npos)
      return absl::InvalidArgumentError("has half of a surrogate pair (\\ud800 to \\udfff alone)");
    return absl::InvalidArgumentError("is no JSON");
  }
}

int RunLines(const TextTokenizer& tokenizer, const TokenizeFlags& flags, Terminal& terminal) {
  std::string line;
  uint64_t blank = 0;  // number of the first line without anything
  for (uint64_t number = 1; std::getline(std::cin, line); ++number) {
    // Only at the end: elsewhere, the lines that come out would not be those that went in.
    if (blank == 0 && line.find_first_not_of(" \t\r") == std::string::npos) blank = number;
    if (blank != 0 && line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (blank != 0)
      return terminal.FailInput("line " + std::to_string(blank) + " of standard input is blank");
    const absl::StatusOr<nlohmann::json> json = ParseLine(line);
    const absl::StatusOr<std::string> out =
        json.ok() ? OneLineOf(*json, tokenizer, flags) : json.status();
    if (!out.ok()) {
      return terminal.FailInput("line " + std::to_string(number) + " of standard input " +
                                std::string(out.status().message()));
    }
    terminal.Print(*out);
    if (terminal.OutputLost()) return kFailed;
    if (Interrupted() != 0)
      return terminal.FailInterrupted("interrupted after " + std::to_string(number) + " lines");
  }
  return kDone;
}

// Ids as a JSON list or as numbers with blanks or commas between them.
int RunDecode(const TextTokenizer& tokenizer, const std::string& text, Terminal& terminal) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::vector<int32_t> ids;
  for (size_t at = text.find_first_not_of(kBetween); at != std::string::npos;
       at = text.find_first_not_of(kBetween, at)) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    const std::string word = OneLine(text.substr(at, end - at), 40);
    int64_t id = -1;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (stop != text.data() + end || error == std::errc::invalid_argument)
      return terminal.FailInput("\"" + word + "\" is no id");
    if (error != std::errc() || id < 0 || static_cast<uint64_t>(id) >= tokenizer.size()) {
      return terminal.FailInput("the id " + word + " is not below the vocabulary's size, " +
                                std::to_string(tokenizer.size()));
    }
    ids.push_back(static_cast<int32_t>(id));
    at = end;
  }
  const absl::StatusOr<std::string> out = tokenizer.Decode(ids, !arguments.hide_special);
  if (!out.ok()) return terminal.Fail(out.status());
  terminal.Print(terminal.json() ? TextToJson(*out) : *out + "\n");
  return kDone;
}

int RunCompare(const TextTokenizer& tokenizer, const TokenizeFlags& flags, const std::string& text,
               Terminal& terminal) {
  const absl::StatusOr<TextTokenizer> other =
      TextTokenizer::Open(arguments.compare, terminal.MakeObserver());
  if (!other.ok()) return terminal.Fail(other.status());
  const absl::StatusOr<TokenizeDifference> found =
      CompareTokenizers(tokenizer, *other, text, flags);
  if (!found.ok()) return terminal.Fail(found.status());
  if (terminal.json()) {
    nlohmann::ordered_json out = {{"different", found->different}};
    if (found->different) out.update({{"index", found->index}, {"offset", found->offset}});
    out.update({{"ids", found->a}, {"other_ids", found->b}});
    terminal.Print(out.dump() + "\n");
    return found->different ? kFailed : kDone;
  }
  if (!found->different) {
    terminal.Print("the same " + std::to_string(found->a.size()) + " ids\n");
    return kDone;
  }
  const auto show = [&](const TextTokenizer& one, const std::vector<int32_t>& ids) {
    const size_t end = std::min(ids.size(), found->index + 5);
    const size_t begin = std::min(ids.size(), found->index);
    return ToText(one, std::vector<int32_t>(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                                            ids.begin() + static_cast<std::ptrdiff_t>(end)));
  };
  const absl::StatusOr<std::string> a = show(tokenizer, found->a), b = show(*other, found->b);
  if (!a.ok() || !b.ok()) return terminal.Fail(a.ok() ? b.status() : a.status());
  terminal.Print("different from id " + std::to_string(found->index) + " on, near byte " +
                 std::to_string(found->offset) + " (" + std::to_string(found->a.size()) + " and " +
                 std::to_string(found->b.size()) + " ids)\n" + arguments.model + ":\n" + *a +
                 arguments.compare + ":\n" + *b);
  return kFailed;
}

int RunTokenize(Terminal& terminal) {
  if (!arguments.text && !arguments.jsonl)
    return terminal.FailUsage("give a TEXT, or - for standard input");
  if (arguments.jsonl && arguments.text.value_or("-") != "-")
    return terminal.FailUsage("--jsonl reads standard input: give no TEXT");
  if (!arguments.compare.empty() && (arguments.jsonl || arguments.decode))
    return terminal.FailUsage("--compare goes with neither --jsonl nor --decode");
  if (arguments.hide_special && !arguments.decode)
    return terminal.FailUsage("--hide-special goes with --decode");
  const absl::StatusOr<TextTokenizer> tokenizer =
      TextTokenizer::Open(arguments.model, terminal.MakeObserver());
  if (!tokenizer.ok()) return terminal.Fail(tokenizer.status());
  const TokenizeFlags flags{.add_special = !arguments.no_special,
                            .parse_special = !arguments.plain};
  if (arguments.jsonl) return RunLines(*tokenizer, flags, terminal);
  std::string text = arguments.text.value_or("");
  if (text == "-" && arguments.decode) text.assign(std::istreambuf_iterator<char>(std::cin), {});
  if (arguments.decode) return RunDecode(*tokenizer, text, terminal);
  const Observer observer = terminal.MakeObserver();
  absl::StatusOr<std::string> read =
      text == "-" ? ReadText(text, observer) : AcceptText(text, "the text", observer);
  if (!read.ok()) return terminal.Fail(read.status());
  text = *std::move(read);
  if (!arguments.compare.empty()) return RunCompare(*tokenizer, flags, text, terminal);
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer->Encode(text, flags);
  if (!ids.ok()) return terminal.Fail(ids.status());
  const absl::StatusOr<std::string> out =
      terminal.json() ? IdsToJson(*ids) : ToText(*tokenizer, *ids);
  if (!out.ok()) return terminal.Fail(out.status());
  terminal.Print(*out);
  return kDone;
}

}  // namespace

void AddTokenize(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("tokenize", "Text to ids with a model's tokenizer");
  command->footer(
      "Examples:\n"
      "  smelt tokenize ./model \"Hello, world!\"\n"
      "  smelt tokenize model.gguf --jsonl < texts.jsonl     one {\"text\":...} a line in, "
      "{\"ids\":[...]} a line out");
  command
      ->add_option("MODEL", arguments.model, "Model folder, GGUF, store name, or tokenizer files")
      ->required();
  command->add_option("TEXT", arguments.text, "The text; - is standard input");
  command->add_flag("--jsonl", arguments.jsonl, "One JSON object per line in and out");
  command->add_flag("--no-special", arguments.no_special, "No beginning or end tokens");
  command->add_flag("--plain", arguments.plain, "Texts of special tokens are text like any other");
  command->add_flag("--decode", arguments.decode, "Ids in, text out");
  command->add_flag("--hide-special", arguments.hide_special, "With --decode: no special tokens");
  command->add_option("--compare", arguments.compare, "Another model: show the first difference")
      ->type_name("OTHER");
  AddGlobals(*command, invocation);
  command->callback([&invocation] { invocation.run = RunTokenize; });
}

}  // namespace smelt::tools
