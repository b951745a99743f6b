// --device and --device-memory, for every command that computes.
#pragma once

#include <CLI/CLI.hpp>

#include "smelt/devices.h"

namespace smelt::tools {

/// Adds the options, which fill in `options`.
void AddDevice(CLI::App& command, DeviceOptions& options);

/// --no-repack, of the commands that generate.
void AddNoRepack(CLI::App& command, bool& repack);

}  // namespace smelt::tools
