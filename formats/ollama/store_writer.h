// Adds blobs and manifests to an Ollama store, so that a server running on it, an old one pruning
// at its start, a second import or a power cut never meets a half-written file.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"
#include "formats/ollama/staging.h"
#include "lib/base/fd.h"
#include "lib/base/hash.h"

namespace smelt::ollama {

struct AddedBlob {
  std::string digest;  ///< "sha256:..."
  std::string path;
  std::string how;  ///< "reflink", "hard link", "copy", "conversion", "present"
  uint64_t size = 0;
};

/// Called with the bytes done; an error stops the work and is returned.
using BlobProgress = std::function<absl::Status(uint64_t done, uint64_t total)>;

/// The content of a blob, front to back.
class BlobStream {
 public:
  virtual ~BlobStream() = default;
  /// Fills `out`; fewer bytes only at the end.
  virtual absl::StatusOr<size_t> Read(std::span<std::byte> out) = 0;
  virtual absl::Status Skip(uint64_t bytes) = 0;
};

/// SHA-256 of a file, 64 digits.
absl::StatusOr<std::string> HashOf(const std::string& path, const BlobProgress& progress);

/// Files are made in the folder `STORE/smelt-staging` (which no Ollama looks at), synced, and
/// renamed to their place: nothing temporary is ever in `blobs/` or `manifests/`. Staged files of
/// killed runs are removed by later ones.
class StoreWriter {
 public:
  /// Makes the store's folders as needed; those that stayed empty go with the writer.
  static absl::StatusOr<StoreWriter> Open(const std::string& store);

  /// A file as a blob, by reflink, else hard link, else copy. A hard link is only made of a file
  /// that everybody may read, only its owner may write, and whose owner is the store's: Ollama's
  /// service must be able to read it and nobody else to change it. Blobs that exist already are
  /// verified and touched (a new Ollama prunes only what is more than an hour old). `copy`: never
  /// by sharing or linking. `digest`, where it is known: a copy that was stopped goes on.
  absl::StatusOr<AddedBlob> AddFile(const std::string& path, const BlobProgress& progress,
                                    bool copy = false, std::string_view digest = "");
  absl::StatusOr<AddedBlob> AddText(std::string_view content);
  /// A blob of `size` bytes that comes piece by piece and must be what its digest `hex` says, else
  /// kInvalidInput. What there is of it when the work is stopped or fails stays in the staging
  /// folder for the next call, which skips as much.
  absl::StatusOr<AddedBlob> AddStream(const std::string& hex, uint64_t size, BlobStream& stream,
                                      const BlobProgress& progress);

  /// Where a file can be made that becomes a blob without being copied: a path in the staging
  /// folder, the same for the same `key`. Other files of that name plus a suffix are its maker's.
  absl::StatusOr<std::string> StagingPath(std::string_view key) { return staging_.PathFor(key); }
  /// A file at a StagingPath becomes a blob, or goes. `known`: its hash, which is not computed
  /// again while the file is the one that it was; may be empty.
  absl::StatusOr<AddedBlob> Adopt(const std::string& path, const FileHash& known,
                                  const BlobProgress& progress);
  /// A blob that is in the store already, for a new manifest: touched, so that a new Ollama does
  /// not prune it. kNotFound when it is gone or has another size.
  absl::StatusOr<AddedBlob> Keep(const Layer& layer);

  /// Replaces the manifest of `name` in one step. The name is used as it is (see InSpellingOf).
  /// kNotFound, and nothing is written, where a blob that it names is not there.
  absl::Status PutManifest(const Name& name, const Manifest& manifest);
  /// The same for the bytes of a manifest that somebody wrote.
  absl::Status PutManifestText(const Name& name, std::string_view text);
  /// Removes a name, and the folders that it leaves empty.
  absl::Status RemoveManifest(const Name& name);

  /// Removes the blobs of `old` that no manifest of the store names any more. Where a manifest
  /// cannot be read, all blobs stay.
  void RemoveUnused(const Manifest& old);

  const std::string& store() const { return staging_.store(); }

 private:
  explicit StoreWriter(Staging staging) : staging_(std::move(staging)) {}

  /// `unlinked`: also in the place of a blob that is right, but shared with a file elsewhere.
  absl::StatusOr<AddedBlob> Place(StagedFile& staged, const std::string& hex, std::string_view how,
                                  bool unlinked = false);
  absl::StatusOr<AddedBlob> ClonedFile(int source, uint64_t size, const BlobProgress& progress);
  absl::StatusOr<AddedBlob> LinkedFile(int source, uint64_t size, const std::string& hex);
  absl::StatusOr<AddedBlob> CopiedFile(const std::string& path, int source, uint64_t size,
                                       const BlobProgress& progress, bool unlinked = false);
  absl::StatusOr<uint64_t> Fill(StagedFile& staged, uint64_t size, BlobStream& stream,
                                const BlobProgress& progress, Sha256& sha);
  bool MayLink(int source) const;
  std::optional<AddedBlob> Present(const std::string& hex, uint64_t size) const;
  bool HasBlobOfSize(uint64_t size) const;
  Fd Turn() const;
  absl::Status HasBlob(const std::string& digest) const;

  Staging staging_;
};

}  // namespace smelt::ollama
