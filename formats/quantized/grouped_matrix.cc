#include "formats/quantized/grouped_matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// What a worker needs for the rows of one call.
struct Scratch {
  std::vector<uint8_t> codes, zero_codes;
  std::vector<float> scales, zeros, table;
  std::vector<uint32_t> groups;
  std::vector<uint16_t> begins;  ///< of the values of each column's group in `table`
  bool in_order = false;         ///< groups follow each other, all of the same size
};

class GroupedMatrix : public ComputedMatrix {
 public:
  GroupedMatrix(std::string format, uint32_t bits, GroupedParts parts)
      : ComputedMatrix(std::move(format), bits), parts_(std::move(parts)) {}

  uint64_t tile_rows() const override { return parts_.tile_rows; }

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    static const PerThread<Scratch> scratch;
    Scratch& s = *scratch;
    const uint64_t columns = parts_.codes.columns(), groups = parts_.groups;
    s.codes.resize(count * columns);
    s.scales.resize(count * groups);
    s.zeros.assign(count * groups, parts_.zero);
    SMELT_RETURN_IF_ERROR(parts_.codes.Read(first, count, s.codes.data()));
    SMELT_RETURN_IF_ERROR(parts_.scales.Read(first, count, s.scales.data()));
    SMELT_RETURN_IF_ERROR(ReadZeros(first, count, s));
    if (parts_.group_of) SMELT_RETURN_IF_ERROR(ReadGroups(s));
    for (uint64_t i = 0; i < count; ++i) {
      const uint8_t* const codes = s.codes.data() + i * columns;
      const float *const scales = s.scales.data() + i * groups, *const zeros =
                                                                    s.zeros.data() + i * groups;
      float* const row = out + i * columns;
      if (parts_.group_of && !s.in_order) {
        if (s.begins.empty()) {
          DecodeUnordered(codes, scales, zeros, s, row);
        } else {
          DecodeByTables(codes, scales, zeros, s, row);
        }
        continue;
      }
      for (uint64_t g = 0; g < groups; ++g) {
        const uint64_t begin = g * parts_.group_size;
        const uint64_t end = std::min(begin + parts_.group_size, columns);
        const float scale = scales[g], zero = zeros[g];
        if (parts_.offsets) {
          for (uint64_t c = begin; c < end; ++c)
            row[c] = static_cast<float>(codes[c]) * scale + zero;
        } else {
          for (uint64_t c = begin; c < end; ++c)
            row[c] = (static_cast<float>(codes[c]) - zero) * scale;
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  /// Columns whose groups lie anyhow, where groups are too small for tables.
  void DecodeUnordered(const uint8_t* codes, const float* scales, const float* zeros,
                       const Scratch& s, float* row) const {
    const uint32_t* const groups = s.groups.data();
    for (uint64_t c = 0; c < parts_.codes.columns(); ++c)
      row[c] = (static_cast<float>(codes[c]) - zeros[groups[c]]) * scales[groups[c]];
  }

  /// The same by the values that each group's codes have: one load a column.
  void DecodeByTables(const uint8_t* codes, const float* scales, const float* zeros, Scratch& s,
                      float* row) const {
    const uint64_t columns = parts_.codes.columns(), values = uint64_t{1} << bits();
    for (uint64_t g = 0; g < parts_.groups; ++g) {
      for (uint64_t code = 0; code < values; ++code)
        s.table[g * values + code] = (static_cast<float>(code) - zeros[g]) * scales[g];
    }
    const float* const table = s.table.data();
    const uint16_t* const begins = s.begins.data();
    uint64_t c = 0;
    for (; c + 8 <= columns; c += 8) {
      uint64_t eight;
      std::memcpy(&eight, codes + c, sizeof eight);
      for (uint64_t i = 0; i < 8; ++i)
        row[c + i] = table[begins[c + i] + (eight >> (8 * i) & 0xff)];
    }
    for (; c < columns; ++c) row[c] = table[begins[c] + codes[c]];
  }

  absl::Status ReadZeros(uint64_t first, uint64_t count, Scratch& s) const {
    if (const auto* codes = std::get_if<CodeMatrix>(&parts_.zeros)) {
      s.zero_codes.resize(s.zeros.size());
      SMELT_RETURN_IF_ERROR(codes->Read(first, count, s.zero_codes.data()));
      for (size_t i = 0; i < s.zeros.size(); ++i) s.zeros[i] += static_cast<float>(s.zero_codes[i]);
    } else if (const auto* values = std::get_if<GroupValues>(&parts_.zeros)) {
      SMELT_RETURN_IF_ERROR(values->Read(first, count, s.zeros.data()));
      for (float& zero : s.zeros) zero += parts_.zero;
    }
    return absl::OkStatus();
  }

  absl::Status ReadGroups(Scratch& s) const {
    const uint64_t columns = parts_.codes.columns();
    std::vector<int32_t> stored(columns);
    SMELT_RETURN_IF_ERROR(parts_.group_of->Read(0, parts_.group_of->rows(),
                                                reinterpret_cast<std::byte*>(stored.data())));
    s.groups.resize(columns);
    if (parts_.group_size > 0 && std::ranges::all_of(stored, [](int32_t g) { return g == 0; })) {
      // Of a module that was never reordered it may be left at its beginning.
      for (uint64_t c = 0; c < columns; ++c)
        stored[c] = static_cast<int32_t>(c / parts_.group_size);
    }
    for (uint64_t c = 0; c < columns; ++c) {
      if (stored[c] < 0 || static_cast<uint64_t>(stored[c]) >= parts_.groups) {
        return Error(ErrorCode::kInvalidInput, "tensor ", Escape(parts_.group_of->tensor().name),
                     ": column ", c, " is in group ", stored[c], ", but there are ", parts_.groups,
                     " groups");
      }
      s.groups[c] = static_cast<uint32_t>(stored[c]);
    }
    s.in_order = parts_.group_size > 0;
    for (uint64_t c = 0; c < columns && s.in_order; ++c)
      s.in_order = s.groups[c] == c / parts_.group_size;
    s.begins.clear();
    const uint64_t values = uint64_t{1} << bits();
    if (s.in_order || parts_.groups > std::min<uint64_t>(columns / 2, 1 << 16) / values)
      return absl::OkStatus();
    s.table.resize(parts_.groups * values);
    for (uint64_t c = 0; c < columns; ++c)
      s.begins.push_back(static_cast<uint16_t>(s.groups[c] * values));
    return absl::OkStatus();
  }

  GroupedParts parts_;
};

}  // namespace

absl::Status GroupValues::Read(uint64_t first, uint64_t count, float* out) const {
  if (!transposed) return stored.ReadScales(first, count, out);
  const uint64_t groups = stored.rows();
  std::vector<float> lines(groups * count);
  SMELT_RETURN_IF_ERROR(stored.ReadScales(0, groups, first, count, lines.data()));
  for (uint64_t i = 0; i < count; ++i) {
    for (uint64_t g = 0; g < groups; ++g) out[i * groups + g] = lines[g * count + i];
  }
  return absl::OkStatus();
}

std::shared_ptr<const ComputedMatrix> MakeGroupedMatrix(std::string format, uint32_t bits,
                                                        GroupedParts parts) {
  format += parts.groups == 1 ? ", a scale a row" : Cat(", groups of ", parts.group_size);
  return std::make_shared<GroupedMatrix>(std::move(format), bits, std::move(parts));
}

}  // namespace smelt
