#include "lib/base/unfinished.h"

#include <algorithm>
#include <string_view>

#include "lib/base/ascii.h"
#include "lib/base/cat.h"
#include "lib/base/folder.h"

namespace smelt {
namespace {

/// What stands behind the file's name until it is whole. aria2's stands beside a file that has its
/// name and size from the beginning.
constexpr std::string_view kControl = ".aria2";
constexpr std::string_view kEndings[] = {
    kControl,      ".part",     ".crdownload", ".incomplete",  ".partial", ".download",
    ".opdownload", ".filepart", ".unfinished", ".downloading", ".!qb",     ".!ut"};
constexpr std::string_view kPart = ".part", kJournal = ".journal";  // of a conversion

std::string_view LastName(std::string_view path) { return path.substr(path.find_last_of('/') + 1); }

std::string InFolder(const std::string& folder, std::string_view shown_as) {
  const auto names = ListFolder(folder);
  if (!names.ok()) return "";
  for (const std::string& name : *names) {
    if (NameWhenFinished(name).empty()) continue;
    if (name.ends_with(kPart) && NameExists(Cat(folder, "/", name, kJournal))) continue;
    return Cat(Escape(Cat(shown_as, name), 90),
               " is a download that is not finished; let it finish");
  }
  return "";
}

}  // namespace

std::string NameWhenFinished(const std::string& path) {
  const std::string lower = LowerAscii(path);
  for (std::string_view ending : kEndings) {
    if (lower.size() > ending.size() && lower.ends_with(ending))
      return path.substr(0, path.size() - ending.size());
  }
  return "";
}

std::string UnfinishedBeside(const std::string& path, bool there) {
  for (std::string_view ending : kEndings) {
    const std::string beside = Cat(path, ending);
    if ((there && ending != kControl) || !NameExists(beside)) continue;
    const std::string name = Escape(LastName(beside), 90);
    if (NameExists(Cat(beside, kJournal)))
      return Cat("its conversion is not finished (", name,
                 " lies beside it); run the same command again");
    return Cat("its download is not finished (", name, " lies beside it); let it finish");
  }
  return "";
}

std::string UnfinishedIn(const std::string& folder) {
  std::string found = InFolder(folder, "");
  constexpr std::string_view kLocal = ".cache/huggingface/download/", kCache = "../../blobs/";
  if (found.empty()) found = InFolder(Cat(folder, "/", kLocal), kLocal);
  if (found.empty() && NameExists(Cat(folder, "/../../snapshots")))
    found = InFolder(Cat(folder, "/", kCache), kCache);
  return found;
}

}  // namespace smelt
