#include <type_traits>
#include <variant>

#include "lib/base/cat.h"
#include "tests/mutations/mutants.h"

namespace smelt::testing {
namespace {

constexpr uint64_t kAlignment = 32;

template <typename T>
constexpr bool kIsArray = false;
template <typename T>
constexpr bool kIsArray<std::vector<T>> = true;

// GGUF as its specification says, without the writer's checks: a mutant breaks them.
struct GgufBytes {
  std::string out;

  template <typename T>
  void Number(T value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void Text(std::string_view text) {
    Number<uint64_t>(text.size());
    out += text;
  }
  void Pad() { out.resize((out.size() + kAlignment - 1) / kAlignment * kAlignment); }
  template <typename T>
  void Payload(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      Text(value);
    } else if constexpr (kIsArray<T>) {
      for (const auto& element : value) Payload(element);
    } else {
      Number(value);
    }
  }
  void Value(const MetadataValue& value) {
    Number(static_cast<uint32_t>(value.type()));
    if (value.is_array()) {
      Number(static_cast<uint32_t>(value.element_type()));
      Number<uint64_t>(value.size());
    }
    std::visit([&](const auto& held) { Payload(held); }, value.storage());
  }
};

}  // namespace

GgufMutants::GgufMutants(GgufFile file) : file_(std::move(file)) {
  GgufBytes data;
  for (const GgufTensor& tensor : file_.tensors) {
    std::vector<std::byte> held(tensor.bytes);
    if (!tensor.storage->ReadAt(tensor.offset, held).ok()) return;
    data.out.append(reinterpret_cast<const char*>(held.data()), held.size());
    data.Pad();
  }
  data_ = std::move(data.out);

  const Entries& entries = file_.metadata.entries();
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string& key = entries[i].key;
    Add(Cat(key, " delete"), key, [this, i] {
      Entries changed = file_.metadata.entries();
      changed.erase(changed.begin() + static_cast<ptrdiff_t>(i));
      return Write(changed);
    });
    Add(Cat(key, " double"), key, [this, i] {
      Entries changed = file_.metadata.entries();
      changed.push_back(changed[i]);
      return Write(changed);
    });
    const MetadataValue& value = entries[i].value;
    std::visit([&](const auto& held) { Change(i, "empty", std::remove_cvref_t<decltype(held)>()); },
               value.storage());
    const std::pair<std::string_view, MetadataValue> others[] = {
        {"boolean", true},
        {"integer", uint32_t{7}},
        {"negative", int32_t{-7}},
        {"fraction", 0.5f},
        {"text", "x"},
        {"integers", std::vector<int32_t>{1, 2}},
        {"texts", std::vector<std::string>{"x"}},
    };
    for (const auto& [what, other] : others) {
      if (other.type() != value.type() || other.element_type() != value.element_type())
        Change(i, what, other);
    }
    if (value.is_array()) ChangeElements(i);
  }
}

void GgufMutants::Change(size_t entry, std::string_view what, MetadataValue value) {
  const std::string& key = file_.metadata.entries()[entry].key;
  Add(Cat(key, " ", what), key, [this, entry, value = std::move(value)] {
    Entries changed = file_.metadata.entries();
    changed[entry].value = value;
    return Write(changed);
  });
}

void GgufMutants::ChangeElements(size_t entry) {
  const std::string& key = file_.metadata.entries()[entry].key;
  for (const size_t i : Sample(file_.metadata.entries()[entry].value.size(), 0)) {
    for (const std::string_view what : {"delete", "double", "empty"}) {
      Add(Cat(key, "/", i, " ", what), key, [this, entry, i, what] {
        Entries changed = file_.metadata.entries();
        changed[entry].value = std::visit(
            [&](auto held) -> MetadataValue {
              if constexpr (kIsArray<decltype(held)>) {
                const auto at = held.begin() + static_cast<ptrdiff_t>(i);
                if (what == "delete") held.erase(at);
                if (what == "double") held.insert(at, *at);
                if (what == "empty") *at = {};
              }
              return held;
            },
            changed[entry].value.storage());
        return Write(changed);
      });
    }
  }
}

std::string GgufMutants::Write(const Entries& entries) const {
  GgufBytes file;
  file.out = "GGUF";
  file.Number(uint32_t{3});
  file.Number<uint64_t>(file_.tensors.size());
  file.Number<uint64_t>(entries.size());
  for (const Metadata::Entry& entry : entries) {
    file.Text(entry.key);
    file.Value(entry.value);
  }
  uint64_t offset = 0;
  for (const GgufTensor& tensor : file_.tensors) {
    file.Text(tensor.name);
    file.Number(static_cast<uint32_t>(tensor.dims));
    for (int d = 0; d < tensor.dims; ++d) file.Number(tensor.ne[static_cast<size_t>(d)]);
    file.Number(static_cast<uint32_t>(tensor.type));
    file.Number(offset);
    offset += (tensor.bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  file.Pad();
  return file.out + data_;
}

}  // namespace smelt::testing
