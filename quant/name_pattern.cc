#include "quant/name_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

constexpr size_t kLongestPattern = 4096;
// Names have some dozens of characters: honest patterns need some hundreds of steps.
constexpr uint32_t kMatchLimit = 1'000'000;
constexpr uint32_t kDepthLimit = 100'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

// ECMAScript where the two differ: [] is an empty class, \u0041 a character, a group that did not
// take part matches nothing, and "$" is the very end.
constexpr uint32_t kOptions =
    PCRE2_ALLOW_EMPTY_CLASS | PCRE2_ALT_BSUX | PCRE2_MATCH_UNSET_BACKREF | PCRE2_DOLLAR_ENDONLY;

}  // namespace

struct NamePattern::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* limits = nullptr;
  pcre2_match_data* match = nullptr;
  ~Code() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
  }
};

NamePattern::NamePattern() = default;
NamePattern::NamePattern(NamePattern&&) noexcept = default;
NamePattern& NamePattern::operator=(NamePattern&&) noexcept = default;
NamePattern::~NamePattern() = default;

absl::StatusOr<NamePattern> NamePattern::Compile(std::string_view pattern) {
  if (pattern.size() > kLongestPattern) {
    return Error(ErrorCode::kUsage, "--tensor-type ", Escape(pattern, 60), " has ", pattern.size(),
                 " bytes, more than the ", kLongestPattern, " that an expression may have");
  }
  NamePattern out;
  out.pattern_ = pattern;
  out.code_ = std::make_unique<Code>();
  int code = 0;
  size_t offset = 0;
  out.code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  kOptions, &code, &offset, nullptr);
  if (out.code_->code == nullptr && code == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
  if (out.code_->code == nullptr) {
    char message[120] = "";
    pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
    return Error(ErrorCode::kUsage, "--tensor-type ", Escape(pattern, 60),
                 " is no ECMAScript regular expression (", message,
                 "); try a part of the name, such as ffn_down");
  }
  out.code_->limits = pcre2_match_context_create(nullptr);
  out.code_->match = pcre2_match_data_create(1, nullptr);
  if (out.code_->limits == nullptr || out.code_->match == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(out.code_->limits, kMatchLimit);
  pcre2_set_depth_limit(out.code_->limits, kDepthLimit);
  pcre2_set_heap_limit(out.code_->limits, kHeapLimitKib);
  return out;
}

absl::StatusOr<bool> NamePattern::In(std::string_view name) const {
  const int result = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(name.data()),
                                 name.size(), 0, 0, code_->match, code_->limits);
  if (result >= 0) return true;
  if (result == PCRE2_ERROR_NOMATCH) return false;
  return Error(ErrorCode::kUsage, "--tensor-type ", Escape(pattern_, 60),
               " takes too many steps on the name ", Escape(name, 60),
               "; write it without a repeat inside a repeat");
}

}  // namespace smelt
