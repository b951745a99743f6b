// What the two fuzzers of PyTorch checkpoints share.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <string_view>

#include "formats/torch/torch.h"
#include "tests/formats/torch/checkpoint_builder.h"
#include "tests/fuzz/fuzz.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace smelt::fuzz {

inline std::shared_ptr<Storage> Checkpoint(const uint8_t* data, size_t size) {
  const std::byte* bytes = reinterpret_cast<const std::byte*>(data);
  return MemoryStorage("input", std::vector<std::byte>(bytes, bytes + size));
}

/// What a reader of the result relies on: names are unique, every element that shape and strides
/// reach lies in the storage.
inline void RequireSoundTensors(const Container& container) {
  Require(!container.tensors.empty(), "a checkpoint has tensors");
  std::set<std::string_view> names;
  for (const RawTensor& tensor : container.tensors) {
    Require(names.insert(tensor.name).second, "names are unique");
    Require(tensor.shape.size() == tensor.strides.size(), "every dimension has a stride");
    if (tensor.elements() == 0) continue;
    const uint64_t width = BitsOf(tensor.dtype) / 8;
    unsigned __int128 last = 0;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      Require(tensor.strides[i] >= 0, "strides are not negative");
      last += static_cast<unsigned __int128>(tensor.shape[i] - 1) *
              static_cast<uint64_t>(tensor.strides[i]);
    }
    const unsigned __int128 end = tensor.offset + (last + 1) * width;
    Require(end <= tensor.storage->size(), "the last element lies in the storage");
    std::byte bytes[8];
    Require(
        tensor.storage->ReadAt(static_cast<uint64_t>(end) - width, std::span(bytes, width)).ok(),
        "the last element can be read");
  }
}

inline void RunCheckpoint(const uint8_t* data, size_t size) {
  const TorchListing got = ListTorch(Checkpoint(data, size));
  // Of a refused file what is listed may be shown, but never read as a model.
  if (got.status.ok() || !got.container.tensors.empty()) RequireSoundTensors(got.container);
  if (!got.status.ok()) RequireGoodMessage(got.status);
  Require(got.refused.empty() || !got.status.ok(), "what wants a refused name is refused");
  Require(got.refused.size() <= kMaxRefusals, "the list of refusals is bounded");
}

/// Pieces of pickles that byte mutations seldom find.
inline const std::vector<std::string>& PickleFragments() {
  using namespace smelt::testing;
  static const std::vector<std::string> fragments = {
      Global("collections", "OrderedDict"),
      Global("torch._utils", "_rebuild_tensor_v2"),
      Global("torch._utils", "_rebuild_tensor_v3"),
      Global("torch._utils", "_rebuild_parameter"),
      Global("torch._tensor", "_rebuild_from_type_v2"),
      Global("torch", "Size"),
      Global("posix", "system"),
      Global("torch", "bfloat16"),
      Global("numpy", "dtype"),
      Global("numpy.core.multiarray", "scalar"),
      Global("_codecs", "encode"),
      Global("builtins", "set"),
      Global("builtins", "bytearray"),
      Global("os", "system"),
      Call("collections", "OrderedDict", ""),
      StorageId("FloatStorage", "0", 4),
      StorageId("UntypedStorage", "0", 16),
      Vector("FloatStorage", "0", 4),
      Tensor("HalfStorage", "0", 8, 1, {2, 3}, {3, 1}),
      Str("state_dict"),
      Str("w"),
      Ints({2, 2}),
      Int(-1),
      Int(std::numeric_limits<int64_t>::max()),
      "](",
      "}(",
      "e",
      "u",
      "s",
      "a",
      "t",
      "R",
      "b",
      "Q",
      "0",
      "1",
      "2",
      ")",
      "\x85",
      "\x86",
      "\x87",
      "\x88",
      "\x89",
      "\x8f",
      "\x90",
      "\x91",
      "\x93",
      "\x94",
      "N",
      "q\1",
      "h\1",
      "h\0",
      "\x8a\x09",
      "\x95"};
  return fragments;
}

/// A pickle with a piece put in, cut out, doubled, or changed by the engine.
inline std::string MutatePickle(std::string pickle, std::minstd_rand& random) {
  const size_t at = pickle.empty() ? 0 : random() % pickle.size();
  const size_t length = std::min<size_t>(1 + random() % 24, pickle.size() - at);
  switch (random() % 5) {
    case 0:
    case 1: {
      const std::string& piece = PickleFragments()[random() % PickleFragments().size()];
      return pickle.insert(at, piece);
    }
    case 2:
      return pickle.erase(at, length);
    case 3:
      return pickle.insert(at, pickle.substr(at, length));
    default: {
      const size_t size = pickle.size();
      pickle.resize(size + 64);
      pickle.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(pickle.data()), size, size + 64));
      return pickle;
    }
  }
}

/// Copies a mutated file back, if it fits; else lets the engine mutate the bytes.
inline size_t Return(const std::string& file, uint8_t* data, size_t size, size_t max_size) {
  if (file.empty() || file.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, file.data(), file.size());
  return file.size();
}

/// A checkpoint with a part changed; empty where the bytes are none. Each target has its own.
std::string Mutate(const uint8_t* data, size_t size, std::minstd_rand& random);

}  // namespace smelt::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  std::minstd_rand random(seed);
  if (random() % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  return smelt::fuzz::Return(smelt::fuzz::Mutate(data, size, random), data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  smelt::fuzz::RunCheckpoint(data, size);
  return 0;
}
