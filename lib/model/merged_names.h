// What a model is called once adapters are merged into it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/metadata.h"

namespace smelt {

/// What to call an adapter: its folder's name without the hub's organization, or a file's without
/// its ending.
std::string AdapterName(const std::string& path);

/// general.* of a base, changed to those of it with adapters: their names follow its name, and are
/// the finetune; general.base_model.* is the base, not what the base was made of. `base_id`: what
/// the adapter calls its base, "ORG/NAME" of a hub; anything else is no address.
void NameAfterAdapters(const std::vector<std::string>& adapters, std::string_view base_id,
                       Metadata& metadata);

}  // namespace smelt
