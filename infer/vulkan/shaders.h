// The programs that run on the device, as SPIR-V.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace smelt::vulkan {

/// The code of shaders/NAME.comp, or of shaders/OPERATION.comp for a block format
/// ("matvec_q4_k"); empty: there is no such shader.
std::span<const uint32_t> ShaderCode(std::string_view name);

}  // namespace smelt::vulkan
