// Every small damage that a valid file can have: each of its members in turn is deleted, emptied,
// given another type, or is there twice.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/gguf.h"

namespace smelt::testing {

/// The mutants of one file, numbered in an order that depends on nothing else.
class Mutants {
 public:
  virtual ~Mutants() = default;
  size_t size() const { return edits_.size(); }
  /// "model/vocab/a delete": where, and what was done.
  const std::string& Id(size_t i) const { return edits_[i].id; }
  /// The name of the member, or of the nearest one around it that has a name.
  const std::string& Member(size_t i) const { return edits_[i].member; }
  /// The mutant's bytes.
  std::string Bytes(size_t i) const { return edits_[i].bytes(); }

 protected:
  void Add(std::string id, std::string member, std::function<std::string()> bytes) {
    edits_.push_back({std::move(id), std::move(member), std::move(bytes)});
  }

 private:
  struct Edit {
    std::string id, member;
    std::function<std::string()> bytes;
  };
  std::vector<Edit> edits_;
};

/// Of a JSON text: the text but for one member stays as it was, byte for byte. Of vocabularies,
/// merges, added tokens and whatever else is longer than 64 the first member, the last and 20 drawn
/// ones stand for all.
class JsonMutants : public Mutants {
 public:
  explicit JsonMutants(std::string text);

 private:
  struct Value;
  size_t Skip(size_t at) const;
  size_t End(size_t at) const;
  void Visit(size_t at, const std::string& path, const std::string& name);
  void Change(size_t value, size_t value_end, size_t member, const std::string& path,
              const std::string& name);
  void Splice(const std::string& path, const std::string& name, std::string_view what, size_t begin,
              size_t end, std::string with);

  std::string text_;
};

/// Of the keys of a GGUF file (its tensors stay): of arrays the first element, the last and 20
/// drawn ones too.
class GgufMutants : public Mutants {
 public:
  explicit GgufMutants(GgufFile file);

 private:
  using Entries = std::vector<Metadata::Entry>;
  void Change(size_t entry, std::string_view what, MetadataValue value);
  void ChangeElements(size_t entry);
  std::string Write(const Entries& entries) const;

  GgufFile file_;
  std::string data_;  ///< of the tensors, as they will lie
};

/// Which of `count` members stand for all: every one where they are at most `limit`, else the
/// first, the last and 20 drawn ones.
std::vector<size_t> Sample(size_t count, size_t limit);

}  // namespace smelt::testing
