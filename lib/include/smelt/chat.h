// A conversation with a model: its own chat template makes the text that it goes on from.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/generate.h"
#include "smelt/observer.h"

namespace smelt {

struct ChatOptions {
  std::string model;
  std::vector<std::pair<std::string, double>> adapters = {};  ///< see GenerateOptions
  Activations activations = Activations::kUsual;
  DeviceOptions device = AnyDevice();  ///< see GenerateOptions
  bool repack = true;                  ///< see GenerateOptions
  std::string
      chat_template;      ///< a file (NAME.jinja) in the place of the model's; empty: the model's
  std::string system;     ///< first message; empty: a store's for its model, else none
  std::string tools;      ///< JSON list that the template is told; empty: none
  std::string variables;  ///< JSON object of further variables of the template; empty: none
};

/// What a model thought before it answered is not in `text`.
struct ChatAnswer : GenerateResult {
  std::string thought;
};

/// Not for several threads at once.
class SMELT_EXPORT Chat {
 public:
  /// kNotFound when there is no template that can be rendered, kInvalidInput for tools or variables
  /// that are no JSON.
  static absl::StatusOr<std::unique_ptr<Chat>> Open(const ChatOptions& options,
                                                    const Observer& observer = {});
  ~Chat();

  /// Adds a user's message and the model's answer to the conversation. A beginning that was
  /// processed before is not processed again. After an error the conversation is what it was;
  /// interrupted, it ends with what was said until then. The answer ends at a store's stop words
  /// too. `options.on_text` gets the answer, `on_thought` what the model thinks before it.
  absl::StatusOr<ChatAnswer> Say(std::string_view message, const ContinueOptions& options,
                                 const Observer& observer = {},
                                 const std::function<void(std::string_view)>& on_thought = nullptr);

  /// The system message stays, and the messages that a store's model begins with.
  void Clear();
  /// JSON list of {"role", "content"}, of answers after thoughts also "reasoning_content".
  std::string messages() const;
  /// The text that the last answer goes on from; also while it is made.
  const std::string& prompt() const;

 private:
  struct Impl;
  explicit Chat(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace smelt
