#include "lib/model/merged_names.h"

#include <algorithm>
#include <filesystem>

#include "lib/base/cat.h"
#include "lib/base/folder.h"
#include "lib/model/general.h"
#include "lib/model/names.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kBaseModel = "general.base_model.";
/// An adapter of an Ollama store has no name but its digest, of which Ollama shows as much.
constexpr std::string_view kBlob = "sha256-";
constexpr size_t kShortDigest = 12;

std::string TextOf(const Metadata& metadata, std::string_view key) {
  return metadata.StringOr(key, "").value_or("");
}

bool IsHubId(std::string_view id) {
  constexpr std::string_view kMarks = "-._/";
  return std::count(id.begin(), id.end(), '/') == 1 && id.front() != '/' && id.front() != '.' &&
         std::ranges::all_of(id, [&](char c) {
           const bool letter = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
           return letter || kMarks.find(c) != std::string_view::npos;
         });
}

}  // namespace

std::string AdapterName(const std::string& path) {
  if (!IsFolder(path)) {
    const std::string stem = fs::path(path).stem().string();
    return stem.starts_with(kBlob) ? stem.substr(0, kBlob.size() + kShortDigest) : stem;
  }
  const std::string name = ModelFolderName(path);
  return name.substr(name.find_last_of('/') + 1);
}

void NameAfterAdapters(const std::vector<std::string>& adapters, std::string_view base_id,
                       Metadata& metadata) {
  if (adapters.empty()) return;
  const std::string base = TextOf(metadata, "general.name");
  std::string name = base, finetune = TextOf(metadata, "general.finetune");
  for (const std::string& adapter : adapters) {
    name += Cat(name.empty() ? "" : " ", TitleOf(adapter));
    finetune += Cat(finetune.empty() ? "" : "-", adapter);
  }
  std::vector<std::string> of_base;
  for (const Metadata::Entry& entry : metadata.entries())
    if (entry.key.starts_with(kBaseModel)) of_base.push_back(entry.key);
  for (const std::string& key : of_base) metadata.Erase(key);
  metadata.Set("general.name", name);
  metadata.Set("general.finetune", finetune);
  metadata.Set(Cat(kBaseModel, "count"), uint32_t{1});
  const auto set = [&](std::string_view member, const std::string& text) {
    if (!text.empty()) metadata.Set(Cat(kBaseModel, "0.", member), text);
  };
  set("name", base);
  set("version", TextOf(metadata, "general.version"));
  set("organization", TextOf(metadata, "general.organization"));
  const std::string url = TextOf(metadata, "general.source.repo_url");
  set("repo_url", url.empty() && IsHubId(base_id) ? Cat("https://huggingface.co/", base_id) : url);
}

}  // namespace smelt
