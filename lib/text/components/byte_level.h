// The alphabet of byte-level vocabularies: every byte as a printable character (GPT-2's table).
#pragma once

#include <string>
#include <string_view>

namespace smelt {

/// Bytes as their characters.
void AppendByteLevel(std::string& out, std::string_view bytes);

/// Characters back to bytes. False (and nothing appended) when one of them stands for no byte.
bool AppendBytesOfLevel(std::string& out, std::string_view text);

}  // namespace smelt
