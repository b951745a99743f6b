// Whether there is a graphics card, without loading what drives one.
#pragma once

#include <string>

namespace smelt::vulkan {

/// False where no driver could reach a card: on Linux each does so through files of `devices`.
/// A loader and its drivers take a tenth of a second and memory even where all that they find is
/// software.
bool MayHaveCard(const std::string& devices = "/dev");

}  // namespace smelt::vulkan
