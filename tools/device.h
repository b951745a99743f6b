// --device, --device-memory and --no-device-check, for every command that computes.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "smelt/devices.h"

namespace smelt::tools {

/// Adds the options, which fill in `options`. `what` the device does, for the help.
std::vector<CLI::Option*> AddDevice(CLI::App& command, DeviceOptions& options,
                                    const std::string& what = "What computes");

/// --device-layers and --cache-type, for those that generate.
void AddGenerationDevice(CLI::App& command, DeviceOptions& options);

/// --cache-type alone.
void AddCacheType(CLI::App& command, DeviceOptions& options);

/// --activations, of the commands that generate.
void AddActivations(CLI::App& command, Activations& activations);

/// --no-repack, of the commands that generate.
void AddNoRepack(CLI::App& command, bool& repack);

}  // namespace smelt::tools
