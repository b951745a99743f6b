// What models think before they answer, told apart from the answer.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace smelt {

/// Texts around a thought, and texts that only head an answer.
struct ThoughtForm {
  std::string_view begin, end;
  std::vector<std::string_view> tokens;  ///< special ones, that these texts are made of
  std::vector<std::string_view> headings = {};
  /// Used by models too whose vocabulary does not have the tokens.
  bool plain = false;
};
std::span<const ThoughtForm> ThoughtForms();

/// Splits an answer that comes in pieces.
class ThoughtSplitter {
 public:
  using Sink = std::function<void(bool thought, std::string_view text)>;
  /// By those of `forms` that a model uses. The answer goes on from `prompt`, which may end inside
  /// of a thought. `sink` gets what is known to be of either, in order.
  ThoughtSplitter(std::vector<const ThoughtForm*> forms, std::string_view prompt, Sink sink);

  void Take(std::string_view text);
  void Finish();  ///< no more comes

 private:
  struct Mark {
    std::string_view text;
    const ThoughtForm* begins = nullptr;  ///< none: a heading, or the end of the present thought
  };
  std::vector<Mark> Awaited() const;
  void Give(size_t bytes);

  std::vector<const ThoughtForm*> forms_;
  Sink sink_;
  const ThoughtForm* inside_ = nullptr;
  std::string held_;
};

}  // namespace smelt
