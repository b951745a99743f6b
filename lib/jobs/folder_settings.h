// What a published folder says about its model besides the weights, in the store's words.
#pragma once

#include <string>

#include "formats/ollama/model_settings.h"
#include "smelt/observer.h"

namespace smelt {

/// Adds the licence files of `folder`, unless `settings` has licences, and the sampling options of
/// its generation_config.json, below those that `settings` has. Files that cannot be read are
/// left out with a warning.
void AddFolderSettings(const std::string& folder, const Observer& observer,
                       ollama::ModelSettings& settings);

}  // namespace smelt
