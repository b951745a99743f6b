// Downloads that are not finished, by what a downloader leaves beside the file or calls it
// meanwhile.
#pragma once

#include <string>

namespace smelt {

/// The name in whose place `path` stands until its download is finished: "m.gguf" of
/// "m.gguf.crdownload"; empty: the name says no such thing.
std::string NameWhenFinished(const std::string& path);

/// A half sentence about the file beside `path` that shows that `path` is not finished; empty:
/// none. `there`: what there is of it already has its name.
std::string UnfinishedBeside(const std::string& path, bool there);

/// A half sentence about the first unfinished download in a folder, or in the places where hub
/// clients keep those of its files; empty: none.
std::string UnfinishedIn(const std::string& folder);

}  // namespace smelt
