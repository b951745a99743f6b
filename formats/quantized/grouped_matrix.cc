#include "formats/quantized/grouped_matrix.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "formats/quantized/turned_codes.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// What a worker needs for the rows of one call.
struct Scratch {
  std::vector<uint8_t> codes, zero_codes;
  std::vector<float> scales, zeros, zero_lines, table, rows;
  std::vector<uint32_t> groups;  ///< of each column
  std::vector<uint16_t> begins;  ///< of the values of each column's group in `table`
  ByteBuffer words, last_words;
};

/// Groups that follow each other, all of `size` columns.
void FillInOrder(uint64_t size, std::vector<uint32_t>& groups) {
  for (uint64_t begin = 0; begin < groups.size(); begin += size) {
    std::fill_n(groups.data() + begin, std::min(size, groups.size() - begin),
                static_cast<uint32_t>(begin / size));
  }
}

bool AreInOrder(uint64_t size, const std::vector<uint32_t>& groups) {
  uint32_t other = size == 0 ? 1 : 0;
  for (uint64_t begin = 0; begin < groups.size() && other == 0; begin += size) {
    const uint32_t group = static_cast<uint32_t>(begin / size);
    for (uint64_t c = begin; c < std::min(begin + size, groups.size()); ++c)
      other |= groups[c] ^ group;
  }
  return other == 0;
}

class GroupedMatrix : public ComputedMatrix {
 public:
  GroupedMatrix(std::string format, uint32_t bits, GroupedParts parts)
      : ComputedMatrix(std::move(format), bits), parts_(std::move(parts)) {}

  uint64_t tile_rows() const override { return parts_.tile_rows; }

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    static const PerThread<Scratch> scratch;
    Scratch& s = *scratch;
    s.zeros.assign(count * parts_.groups, parts_.zero);
    SMELT_RETURN_IF_ERROR(ReadZeros(first, count, s));
    if (parts_.group_of) SMELT_RETURN_IF_ERROR(ReadGroups(s));
    return parts_.codes.turned() ? ReadTurned(first, count, s, out)
                                 : ReadUpright(first, count, s, out);
  }

 private:
  /// Rows whose words lie column by column.
  absl::Status ReadTurned(uint64_t first, uint64_t count, Scratch& s, float* out) const {
    const uint64_t columns = parts_.codes.columns(), groups = parts_.groups;
    if (!parts_.group_of) {
      s.groups.resize(columns);
      FillInOrder(parts_.group_size, s.groups);
    }
    // Lanes behind the last row read what follows its number.
    s.scales.resize(groups * count + kTurnedRows);
    s.zero_lines.resize(groups * count + kTurnedRows);
    SMELT_RETURN_IF_ERROR(parts_.scales.ReadLines(first, count, s.scales.data()));
    for (uint64_t i = 0; i < count; ++i) {
      for (uint64_t g = 0; g < groups; ++g) s.zero_lines[g * count + i] = s.zeros[i * groups + g];
    }
    SMELT_ASSIGN_OR_RETURN(const StoredMatrix::Lines lines,
                           parts_.codes.View(first, count, s.words));
    TurnedCodes codes{.words = lines.data,
                      .words_step = lines.step,
                      .bits = bits(),
                      .columns = columns,
                      .groups = s.groups.data(),
                      .scales = s.scales.data(),
                      .zeros = s.zero_lines.data(),
                      .groups_step = count};
    const uint64_t whole = count / kTurnedRows * kTurnedRows;
    DecodeTurned(codes, whole, out);
    if (whole == count) return absl::OkStatus();
    codes.words += whole * sizeof(uint32_t);
    codes.scales += whole;
    codes.zeros += whole;
    Widen(count - whole, s.last_words, codes);
    DecodeTurned(codes, count - whole, out + whole * columns);
    return absl::OkStatus();
  }

  /// The words of fewer rows than lanes, with room behind each line.
  void Widen(uint64_t rows, ByteBuffer& buffer, TurnedCodes& codes) const {
    constexpr uint64_t kStep = kTurnedRows * sizeof(uint32_t);
    const uint64_t lines = parts_.codes.lines();
    std::byte* const wide = buffer.Reserve(lines * kStep);
    std::memset(wide, 0, lines * kStep);
    for (uint64_t line = 0; line < lines; ++line) {
      std::memcpy(wide + line * kStep, codes.words + line * codes.words_step,
                  rows * sizeof(uint32_t));
    }
    codes.words = wide;
    codes.words_step = kStep;
  }

  absl::Status ReadUpright(uint64_t first, uint64_t count, Scratch& s, float* out) const {
    const uint64_t columns = parts_.codes.columns(), groups = parts_.groups;
    s.codes.resize(count * columns);
    s.scales.resize(count * groups);
    SMELT_RETURN_IF_ERROR(parts_.codes.Read(first, count, s.codes.data()));
    SMELT_RETURN_IF_ERROR(parts_.scales.Read(first, count, s.scales.data()));
    const bool in_order = !parts_.group_of || AreInOrder(parts_.group_size, s.groups);
    if (!in_order) PrepareTables(s);
    for (uint64_t i = 0; i < count; ++i) {
      const uint8_t* const codes = s.codes.data() + i * columns;
      const float *const scales = s.scales.data() + i * groups, *const zeros =
                                                                    s.zeros.data() + i * groups;
      float* const row = out + i * columns;
      if (in_order) {
        DecodeInOrder(codes, scales, zeros, row);
      } else if (s.begins.empty()) {
        DecodeUnordered(codes, scales, zeros, s, row);
      } else {
        DecodeByTables(codes, scales, zeros, s, row);
      }
    }
    return absl::OkStatus();
  }

  void DecodeInOrder(const uint8_t* codes, const float* scales, const float* zeros,
                     float* row) const {
    const uint64_t columns = parts_.codes.columns();
    for (uint64_t g = 0; g < parts_.groups; ++g) {
      const uint64_t begin = g * parts_.group_size;
      const uint64_t end = std::min(begin + parts_.group_size, columns);
      const float scale = scales[g], zero = zeros[g];
      if (parts_.offsets) {
        for (uint64_t c = begin; c < end; ++c) row[c] = static_cast<float>(codes[c]) * scale + zero;
      } else {
        for (uint64_t c = begin; c < end; ++c)
          row[c] = (static_cast<float>(codes[c]) - zero) * scale;
      }
    }
  }

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
    std::vector<uint32_t>& groups = s.groups;
    groups.resize(parts_.codes.columns());
    SMELT_RETURN_IF_ERROR(parts_.group_of->Read(0, parts_.group_of->rows(),
                                                reinterpret_cast<std::byte*>(groups.data())));
    // Of a module that was never reordered it may be left at its beginning.
    const auto zero = [](uint32_t group) { return group == 0; };
    if (parts_.groups > 1 && std::ranges::all_of(groups, zero)) {
      if (parts_.group_size == 0) {
        return Error(ErrorCode::kInvalidInput, "tensor ", Escape(parts_.group_of->tensor().name),
                     " has every column in group 0 of ", parts_.groups,
                     ", and what group_size is meant is not said");
      }
      FillInOrder(parts_.group_size, groups);
    }
    uint32_t most = 0;
    for (const uint32_t group : groups) most = std::max(most, group);
    if (most < parts_.groups) return absl::OkStatus();
    const auto bad = std::ranges::find_if(groups, [&](uint32_t g) { return g >= parts_.groups; });
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(parts_.group_of->tensor().name),
                 ": column ", bad - groups.begin(), " is in group ", static_cast<int32_t>(*bad),
                 ", but there are ", parts_.groups, " groups");
  }

  /// Where groups are many, each column is looked up by itself.
  void PrepareTables(Scratch& s) const {
    const uint64_t values = uint64_t{1} << bits();
    s.begins.clear();
    if (parts_.groups > std::min<uint64_t>(s.groups.size() / 2, 1 << 16) / values) return;
    s.table.resize(parts_.groups * values);
    for (const uint32_t group : s.groups) s.begins.push_back(static_cast<uint16_t>(group * values));
  }

  GroupedParts parts_;
};

}  // namespace

absl::Status GroupValues::Read(uint64_t first, uint64_t count, float* out) const {
  if (!transposed) return stored.ReadScales(first, count, out);
  const uint64_t groups = stored.rows();
  std::vector<float> lines(groups * count);
  SMELT_RETURN_IF_ERROR(ReadLines(first, count, lines.data()));
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
