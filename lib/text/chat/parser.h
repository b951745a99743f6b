// Tokens to statements and expressions: Jinja's grammar without inheritance, imports and includes.
#pragma once

#include <string_view>

#include "lib/text/chat/syntax.h"

namespace smelt::jinja {

/// Constants of the template are charged to `constants`, which must outlive the result. Throws
/// TemplateError with the line, also for tags that are not supported.
Block ParseTemplate(std::string_view source, Budget& constants);

}  // namespace smelt::jinja
