// Which tokens are special, and which are added to a text: tokenizer_config.json and the
// post-processor together, in llama.cpp's order of precedence.
#include <algorithm>

#include "lib/base/status.h"
#include "lib/text/published/tokenizer_folder.h"
#include "lib/text/spec/json_members.h"

namespace smelt {
namespace {

// "X_token": a string, or a mapping with "content".
std::string TokenText(const JsonValue& config, std::string_view kind) {
  const std::string key = Cat(kind, "_token");
  const JsonValue* value = config.FindNonNull(key);
  if (value == nullptr) return {};
  return value->is_string() ? *value->as_string() : TextOf(*value, "content");
}

class Resolver {
 public:
  explicit Resolver(const TokenizerFolder& folder)
      : folder_(folder), have_config_(folder.config.is_object()) {}

  SpecialTokens Run(const std::vector<PostProcessorStep>& post_processors) {
    for (const std::string_view kind : {"bos", "eos", "unk", "sep", "pad", "cls", "mask"})
      out_.texts.emplace_back(kind, TokenText(folder_.config, kind));
    if (folder_.has_tokenizer_json) {
      if (Text("bos").empty()) Text("bos") = Text("cls");
      if (Text("eos").empty()) Text("eos") = Text("sep");
      for (const PostProcessorStep& step : post_processors)
        std::visit([&](const auto& row) { Visit(row); }, step);
    }
    for (const auto& [kind, text] : out_.texts) {
      const std::string key = Cat("add_", kind, "_token");
      const JsonValue* flag = folder_.config.FindNonNull(key);
      if (flag != nullptr && flag->is_bool()) Set(kind, *flag->as_bool());
    }
    return std::move(out_);
  }

 private:
  std::string& Text(std::string_view kind) {
    return std::find_if(out_.texts.begin(), out_.texts.end(),
                        [&](const auto& entry) { return entry.first == kind; })
        ->second;
  }
  void Set(std::string_view kind, bool value) {
    for (auto& [name, flag] : out_.add) {
      if (name == kind) {
        flag = value;
        return;
      }
    }
    out_.add.emplace_back(kind, value);
  }

  void Visit(const RobertaProcessing&) {
    for (const std::string_view kind : {"bos", "eos", "sep"}) Set(kind, true);
  }
  void Visit(const BertProcessing&) {
    Set("bos", true);
    Set("eos", true);
  }
  void Visit(const TemplateProcessing& step) {
    std::string first, last;
    if (step.single.size() > 1) {
      first = step.single.front().token;
      last = step.single.back().token;
    }
    if (!first.empty()) {
      if (!have_config_) Text("bos") = first;
      Set("bos", first == Text("bos") || first == Text("cls"));
    }
    if (!last.empty()) {
      Trailing(last);
      Set("eos", true);
    }
    Separator(step.pair, first, last);
  }

  // A trailing token that is not the end token becomes it; the old one becomes the end of a turn.
  void Trailing(const std::string& last) {
    if (!have_config_) {
      Text("eos") = last;
      return;
    }
    if (last == Text("eos")) return;
    const bool have_eot = std::any_of(out_.texts.begin(), out_.texts.end(),
                                      [](const auto& e) { return e.first == "eot"; });
    out_.texts.emplace_back(have_eot ? "eom" : "eot", Text("eos"));
    Text("eos") = last;
  }

  // "A sep B" or "A sep eos B" in the template for pairs.
  void Separator(const std::vector<TemplateItem>& pair, const std::string& first,
                 const std::string& last) {
    size_t begin = 0, end = pair.size();
    if (!first.empty() && end > 0 && pair[0].token == first) begin = 1;
    if (!last.empty() && end > begin && pair[end - 1].token == last) --end;
    if (end - begin < 3 || pair[begin].sequence != "A" || pair[end - 1].sequence != "B") return;
    ++begin;
    --end;
    const auto separates = [&](const std::string& text) {
      return !text.empty() && (text == Text("sep") || text == Text("eos"));
    };
    bool add = separates(pair[begin].token) && last.empty();
    if (end - begin == 2 && separates(pair[begin + 1].token)) add = true;
    Set("sep", add);
    if (add && Text("sep").empty()) Text("sep") = Text("eos");
  }

  const TokenizerFolder& folder_;
  bool have_config_;
  SpecialTokens out_;
};

}  // namespace

std::string SpecialTokens::Text(std::string_view kind) const {
  const auto entry =
      std::find_if(texts.begin(), texts.end(), [&](const auto& e) { return e.first == kind; });
  return entry == texts.end() ? std::string() : entry->second;
}

SpecialTokens ReadSpecialTokens(const TokenizerFolder& folder,
                                const std::vector<PostProcessorStep>& post_processors) {
  return Resolver(folder).Run(post_processors);
}

absl::Status CheckBoundaryRows(const TokenizerFolder& folder, const SpecialTokens& special) {
  std::vector<std::pair<std::string, std::string>> named = special.texts;
  for (const JsonValue* file : {&folder.config, &folder.special_map}) {
    for (const std::string_view kind : {"bos", "eos", "eot", "eom"})
      named.emplace_back(kind, TokenText(*file, kind));
  }
  for (const auto& [kind, text] : named) {
    if (kind != "bos" && kind != "eos" && kind != "eot" && kind != "eom") continue;
    const auto found = std::ranges::find(folder.rowless, text, &AddedToken::content);
    if (found == folder.rowless.end()) continue;
    return Error(ErrorCode::kInvalidInput, Escape(folder.path, 60), ": ", kind, "_token is \"",
                 Escape(text, 60), "\" (", found->id, "), but the embedding has only ", folder.rows,
                 " rows: give it one for this token, or name another ", kind, "_token");
  }
  return absl::OkStatus();
}

}  // namespace smelt
