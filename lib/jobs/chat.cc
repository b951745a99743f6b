#include "smelt/chat.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "formats/ollama/parameters.h"
#include "formats/ollama/store.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/jobs/thoughts.h"
#include "smelt/chat_template.h"
#include "smelt/store.h"

namespace smelt {
namespace {

using Clock = std::chrono::steady_clock;

struct Message {
  std::string role, content, thought = {};
};

std::string ToJson(const std::vector<Message>& messages) {
  std::string out;
  for (const Message& message : messages) {
    out += Cat(out.empty() ? "" : ",", "{\"role\":", JsonQuote(message.role),
               ",\"content\":", JsonQuote(message.content));
    if (!message.thought.empty()) out += Cat(",\"reasoning_content\":", JsonQuote(message.thought));
    out += "}";
  }
  return Cat("[", out, "]");
}

/// A model of a store may have Go's template alone, which only Ollama renders.
bool HasGoTemplate(const std::string& model) {
  const std::optional<ollama::StoredModel> stored = ollama::FindStored(model);
  return stored && std::ranges::any_of(stored->manifest.layers, [](const ollama::Layer& layer) {
           return layer.media_type == ollama::kTemplateLayer ||
                  layer.media_type == ollama::kPromptLayer;
         });
}

/// What there is to say of the model is said when it is opened to generate.
absl::StatusOr<ChatRenderer> OpenRenderer(const ChatOptions& options) {
  const bool own = options.chat_template.empty();
  absl::StatusOr<ChatRenderer> renderer = ChatRenderer::Open(
      {.source = own ? options.model : options.chat_template, .bos = {}, .eos = {}});
  if (renderer.ok() || !own || CodeOf(renderer.status()) != ErrorCode::kNotFound) return renderer;
  if (HasGoTemplate(options.model)) {
    return Error(ErrorCode::kNotFound, "model \"", Escape(options.model),
                 "\" has a template of Go's alone, which Ollama renders itself: talk to it with "
                 "`ollama run`, or give a Jinja template with --chat-template FILE");
  }
  return renderer;
}

std::string Trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  return std::string(text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin));
}

absl::Status CheckJson(std::string_view text, std::string_view what, bool list) {
  if (text.empty()) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const JsonValue value, ParseJsonValue(text, what));
  if (list ? value.is_array() : value.is_object()) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, what, " must be a JSON ", list ? "list" : "object");
}

}  // namespace

struct Chat::Impl {
  ChatOptions options;
  std::optional<ChatRenderer> renderer;
  std::unique_ptr<Generator> generator;
  std::vector<Message> beginning;  ///< of every conversation
  std::vector<Message> messages;
  std::vector<std::string> stops;  ///< of a store
  std::vector<const ThoughtForm*> forms;
  std::vector<int32_t> shown_tokens;
  std::string prompt;
  /// The sequence before anything was fed, and after the last prompt.
  GeneratorState empty, after_prompt;
  std::vector<int32_t> prompt_ids;

  /// How conversations begin: as asked, else as a model in a store says.
  absl::Status Begin(const Observer& observer) {
    std::string system = options.system;
    std::vector<ollama::Message> examples;
    if (const auto stored = ollama::FindStored(options.model)) {
      SMELT_ASSIGN_OR_RETURN(const StoreDetails details,
                             ShowStored(stored->name.Short(), stored->store));
      if (system.empty()) system = details.system;
      if (!details.messages.empty()) {
        SMELT_ASSIGN_OR_RETURN(examples, ollama::ReadMessages(details.messages, options.model));
      }
      SMELT_RETURN_IF_ERROR(TakeParameters(details.parameters, observer));
    }
    if (!system.empty()) beginning.push_back({"system", system});
    for (ollama::Message& example : examples)
      beginning.push_back({std::move(example.role), std::move(example.content)});
    return absl::OkStatus();
  }

  /// A store's stop words; what it sets besides is named.
  absl::Status TakeParameters(const std::string& json, const Observer& observer) {
    if (json.empty()) return absl::OkStatus();
    SMELT_ASSIGN_OR_RETURN(const ollama::Parameters parameters,
                           ollama::Parameters::Read(json, options.model));
    std::string set;
    for (const auto& [name, value] : parameters.values()) {
      if (name == "stop") stops = ollama::ParameterTexts(value);
      if (name == "stop") continue;
      for (const std::string& text : ollama::ParameterTexts(value))
        set += Cat(set.empty() ? "" : ", ", name, " ", text);
    }
    if (set.empty()) return absl::OkStatus();
    observer.Note(Cat(Escape(options.model, 60), ": the store's parameters are for Ollama (",
                      Escape(set, 120), "); here the command's options count"));
    return absl::OkStatus();
  }

  /// How the model says what it thinks.
  void FindThoughts() {
    for (const ThoughtForm& form : ThoughtForms()) {
      const std::vector<int32_t> ids = generator->TokensOf(form.tokens);
      const bool all = std::ranges::find(ids, -1) == ids.end();
      if (!all && !form.plain) continue;
      forms.push_back(&form);
      if (all) shown_tokens.insert(shown_tokens.end(), ids.begin(), ids.end());
    }
  }

  absl::StatusOr<std::string> Render(const std::vector<Message>& conversation) const {
    std::string json = Cat("{\"messages\":", ToJson(conversation));
    if (!options.tools.empty()) json += Cat(",\"tools\":", options.tools);
    if (!options.variables.empty()) json += Cat(",\"kwargs\":", options.variables);
    return renderer->Render(json + "}");
  }

  /// The model's beginning of a text, unless the template has written it.
  absl::StatusOr<std::vector<int32_t>> Encode(const std::string& text) const {
    SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> beginning, generator->Encode("", true));
    SMELT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, generator->Encode(text, false));
    const bool written = ids.size() >= beginning.size() &&
                         std::equal(beginning.begin(), beginning.end(), ids.begin());
    if (written) return ids;
    return generator->Encode(text, true);
  }

  /// Brings the sequence to the end of `ids`: how many were new.
  absl::StatusOr<size_t> Feed(const std::vector<int32_t>& ids, const Observer& observer) {
    const bool goes_on = !prompt_ids.empty() && ids.size() > prompt_ids.size() &&
                         std::equal(prompt_ids.begin(), prompt_ids.end(), ids.begin());
    const size_t known = goes_on ? prompt_ids.size() : 0;
    SMELT_RETURN_IF_ERROR(generator->Restore(goes_on ? after_prompt : empty));
    SMELT_RETURN_IF_ERROR(generator->Feed(std::span(ids).subspan(known), observer));
    SMELT_ASSIGN_OR_RETURN(after_prompt, generator->Save());
    prompt_ids = ids;
    return ids.size() - known;
  }
};

Chat::Chat(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Chat::~Chat() = default;
const std::string& Chat::prompt() const { return impl_->prompt; }
std::string Chat::messages() const { return ToJson(impl_->messages); }

absl::StatusOr<std::unique_ptr<Chat>> Chat::Open(const ChatOptions& options,
                                                 const Observer& watcher) try {
  const JobScope job(watcher);
  SMELT_RETURN_IF_ERROR(CheckJson(options.tools, "the list of tools", true));
  SMELT_RETURN_IF_ERROR(CheckJson(options.variables, "the template's variables", false));
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  SMELT_RETURN_IF_ERROR(impl->Begin(job.observer()));
  SMELT_ASSIGN_OR_RETURN(impl->renderer, OpenRenderer(options));
  SMELT_ASSIGN_OR_RETURN(impl->generator, Generator::Open({.model = options.model,
                                                           .activations = options.activations,
                                                           .device = options.device,
                                                           .repack = options.repack,
                                                           .adapters = options.adapters},
                                                          job.observer()));
  impl->FindThoughts();
  SMELT_ASSIGN_OR_RETURN(impl->empty, impl->generator->Save());
  std::unique_ptr<Chat> chat(new Chat(std::move(impl)));
  chat->Clear();
  return chat;
} catch (...) {
  return CaughtError();
}

void Chat::Clear() { impl_->messages = impl_->beginning; }

absl::StatusOr<ChatAnswer> Chat::Say(std::string_view message, const ContinueOptions& options,
                                     const Observer& watcher,
                                     const std::function<void(std::string_view)>& on_thought) try {
  const JobScope job(watcher);
  std::vector<Message> conversation = impl_->messages;
  conversation.push_back({"user", std::string(message)});
  SMELT_ASSIGN_OR_RETURN(impl_->prompt, impl_->Render(conversation));
  SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, impl_->Encode(impl_->prompt));
  if (ids.empty()) {
    return Error(ErrorCode::kInvalidInput,
                 "the chat template makes an empty text of the conversation");
  }
  const Clock::time_point start = Clock::now();
  SMELT_ASSIGN_OR_RETURN(const size_t fed, impl_->Feed(ids, job.observer()));
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  ChatAnswer answer;
  std::string text;
  bool thought = false;
  ThoughtSplitter splitter(impl_->forms, impl_->prompt, [&](bool thinks, std::string_view piece) {
    thought = thought || thinks;
    (thinks ? answer.thought : text) += piece;
    if (const auto& sink = thinks ? on_thought : options.on_text) sink(piece);
  });
  ContinueOptions inner = options;
  inner.on_text = [&](std::string_view piece) { splitter.Take(piece); };
  inner.shown_tokens = impl_->shown_tokens;
  inner.stop.insert(inner.stop.end(), impl_->stops.begin(), impl_->stops.end());
  SMELT_ASSIGN_OR_RETURN(static_cast<GenerateResult&>(answer),
                         impl_->generator->Continue(inner, job.observer()));
  splitter.Finish();
  answer.thought = Trimmed(answer.thought);
  answer.text = thought ? Trimmed(text) : text;
  answer.prompt_ids = ids;
  answer.prompt_tokens_per_second = seconds > 0 ? static_cast<double>(fed) / seconds : 0;
  conversation.push_back({"assistant", answer.text, answer.thought});
  impl_->messages = std::move(conversation);
  return answer;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
