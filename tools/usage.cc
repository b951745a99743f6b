#include "tools/usage.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

#include "smelt/nearest.h"
#include "smelt/text.h"
#include "tools/format.h"

namespace smelt::tools {
namespace {

constexpr size_t kShown = 60;  // bytes of a mistaken word

std::string Quoted(std::string_view word) { return "\"" + OneLine(word, kShown) + "\""; }

// "; did you mean X?", or nothing when no known word is near.
std::string Suggestion(std::string_view word, const std::vector<std::string>& known) {
  size_t least = word.size() / 3 + 2;  // further away, it is another word
  std::string nearest;
  for (const std::string& candidate : known) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < least) nearest = candidate;
    least = std::min(least, distance);
  }
  return nearest.empty() ? "" : ", nearest is " + nearest;
}

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

CommandLine Mistake(std::string sentence) { return {.mistake = std::move(sentence), .words = {}}; }

/// "convert", "store list"
std::string NameOf(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  const bool nested = parent != nullptr && parent->get_parent() != nullptr;
  return (nested ? NameOf(*parent) + " " : "") + command.get_name();
}

/// Looks through the words behind a command's name.
class Words {
 public:
  explicit Words(const CLI::App& command) : command_(command), name_(NameOf(command)) {
    for (const CLI::Option* option : command.get_options()) {
      if (option->get_positional()) {
        positionals_.push_back(option->get_name(true));
        any_number_ |= option->get_items_expected_max() > 1;
      }
      for (const std::string& name : option->get_lnames()) known_.push_back("--" + name);
    }
  }

  CommandLine Sort(const std::vector<std::string>& words) const {
    CommandLine out{.mistake = "", .words = {words[0]}};
    std::vector<std::string> arguments;
    bool only_arguments = false;  // behind --
    for (size_t i = 1; i < words.size(); ++i) {
      const std::string& word = words[i];
      if (!only_arguments && word == "--") {
        only_arguments = true;
      } else if (only_arguments || !LooksLikeOption(word)) {
        arguments.push_back(word);
      } else {
        bool value_follows = false;
        if (!IsOption(word, value_follows)) return Mistake(Unknown(word) + Help());
        out.words.push_back(word);
        if (word.ends_with('=')) return Mistake(word + " needs a value" + Help());
        if (!value_follows) continue;
        // An empty one is a script's unset variable, but for options that may be nothing.
        if (i + 1 == words.size() || (words[i + 1].empty() && !MayBeEmpty(word)))
          return Mistake(word + " needs a value" + Help());
        out.words.push_back(words[++i]);
        while (TakesSeveral(word) && i + 1 < words.size() && words[i + 1] != "--" &&
               !LooksLikeOption(words[i + 1]))
          out.words.push_back(words[++i]);
      }
    }
    if (arguments.size() > positionals_.size() && !any_number_)
      return Mistake(TooMany(arguments) + Help());
    if (!arguments.empty()) out.words.push_back("--");
    out.words.insert(out.words.end(), arguments.begin(), arguments.end());
    return out;
  }

 private:
  // "-", "- a list" and "-5 degrees" are texts.
  static bool LooksLikeOption(const std::string& word) {
    const size_t name = word.starts_with("--") ? 2 : 1;
    return word.starts_with('-') && word.size() > name &&
           std::isalpha(static_cast<unsigned char>(word[name])) != 0;
  }

  // -x, -xVALUE, -xyz of flags, --name, --name=VALUE.
  bool IsOption(const std::string& word, bool& value_follows) const {
    if (word[1] == '-') {
      const size_t equals = word.find('=');
      const CLI::Option* option = command_.get_option_no_throw(word.substr(0, equals));
      value_follows = option != nullptr && equals == std::string::npos && TakesValue(*option);
      return option != nullptr;
    }
    for (size_t i = 1; i < word.size(); ++i) {
      const CLI::Option* option = command_.get_option_no_throw(std::string("-") + word[i]);
      if (option == nullptr) return false;
      if (!TakesValue(*option)) continue;
      value_follows = i + 1 == word.size();
      break;
    }
    return true;
  }

  bool TakesSeveral(const std::string& word) const {
    const CLI::Option* option = command_.get_option_no_throw(word);
    return option != nullptr && option->get_items_expected_max() > 1 &&
           option->get_allow_extra_args();
  }

  bool MayBeEmpty(const std::string& word) const {
    const CLI::Option* option = command_.get_option_no_throw(word);
    return option != nullptr && option->get_type_name() == kMaybeEmpty;
  }

  std::string Unknown(const std::string& word) const {
    std::string sentence = Quoted(word) + " is no option of smelt " + name_;
    for (const std::string& name : positionals_) {
      if (name != "PROMPT" && name != "TEXT") continue;
      return sentence + Suggestion(word.substr(0, word.find('=')), known_) + "; a " + name +
             " that begins with a dash goes behind -- (smelt " + name_ + " MODEL -- " +
             OneLine(ShellQuoted(word).starts_with("./") ? word : ShellQuoted(word), kShown) + ")";
    }
    return sentence + Suggestion(word.substr(0, word.find('=')), known_);
  }

  std::string Help() const { return "; try `smelt " + name_ + " --help`"; }

  std::string TooMany(const std::vector<std::string>& arguments) const {
    std::string names, extra;
    for (const std::string& name : positionals_) names += " " + name;
    for (size_t i = positionals_.size(); i < arguments.size(); ++i)
      extra += " " + OneLine(arguments[i], kShown);
    return "too many arguments:" + OneLine(extra, 150) + "; smelt " + name_ + " takes" + names +
           " (of a model in several parts name the first, or the folder)";
  }

  const CLI::App& command_;
  const std::string name_;
  std::vector<std::string> positionals_, known_;
  bool any_number_ = false;  ///< a positional takes as many words as there are
};

}  // namespace

namespace {

/// The words behind the name of a command that has commands of its own.
CommandLine LookThroughNested(const CLI::App& command, const std::vector<std::string>& words) {
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  std::vector<std::string> names;
  for (const CLI::App* nested : command.get_subcommands(nullptr)) {
    names.push_back(nested->get_name());
    if (rest.empty() || names.back() != rest[0]) continue;
    CommandLine line = Words(*nested).Sort(rest);
    line.words.insert(line.words.begin(), words[0]);
    return line;
  }
  if (rest.empty()) return {.mistake = "", .words = {words[0], "--help"}};
  if (rest[0] == "-h" || rest[0] == "--help") return {.mistake = "", .words = words};
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return Mistake(Quoted(rest[0]) + " is no command of smelt " + words[0] +
                 Suggestion(rest[0], names) + "; it has " + all + "; try `smelt " + words[0] +
                 " --help`");
}

}  // namespace

CommandLine LookThrough(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty()) return {};
  if (words[0] == "help" && words.size() < 4) {
    const std::vector<std::string> asked(words.begin() + 1, words.end());
    CommandLine line = LookThrough(app, asked);
    if (line.mistake.empty()) line.words = asked;
    line.words.push_back("--help");
    return line;
  }
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    names.push_back(command->get_name());
    if (names.back() != words[0]) continue;
    return command->get_subcommands(nullptr).empty() ? Words(*command).Sort(words)
                                                     : LookThroughNested(*command, words);
  }
  if (app.get_option_no_throw(words[0]) != nullptr) return {.mistake = "", .words = words};
  const std::string help = "; try `smelt --help`";
  if (!words[0].starts_with('-'))
    return Mistake(Quoted(words[0]) + " is no command" + Suggestion(words[0], names) + help);
  return Mistake(Quoted(words[0]) + " is no option of smelt itself: a command comes first" +
                 Suggestion(words[0], {"--help", "--version"}) + help);
}

}  // namespace smelt::tools
