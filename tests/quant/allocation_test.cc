// Bytes where they gain most, compared with trying everything.
#include "quant/allocation.h"

#include <gmock/gmock.h>

#include <limits>
#include <random>

namespace smelt {
namespace {

using Items = std::vector<std::vector<AllocationChoice>>;

struct Total {
  uint64_t bytes = 0;
  double loss = 0;
};

Total Sum(const Items& items, const std::vector<size_t>& chosen) {
  Total total;
  for (size_t i = 0; i < items.size(); ++i) {
    total.bytes += items[i][chosen[i]].bytes;
    total.loss += items[i][chosen[i]].loss;
  }
  return total;
}

/// The least loss of any choice that fits; infinite where none does.
double Least(const Items& items, uint64_t budget, size_t item = 0) {
  if (item == items.size()) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (const AllocationChoice& c : items[item]) {
    if (c.bytes <= budget)
      least = std::min(least, c.loss + Least(items, budget - c.bytes, item + 1));
  }
  return least;
}

TEST(Allocate, IsWithinAStepOfTheBestAndNeverTooLarge) {
  std::mt19937 random(7);
  double sum = 0, sum_of_least = 0;
  for (int round = 0; round < 300; ++round) {
    Items items(2 + random() % 4);
    uint64_t smallest = 0, largest = 0;
    double step = 0;
    for (auto& choices : items) {
      const double weight = std::exp(static_cast<double>(random() % 700) / 100);
      uint64_t low = UINT64_MAX, high = 0;
      double most = 0;
      for (size_t n = 1 + random() % 6; n > 0; --n) {
        const uint64_t bytes = 1 + random() % 60;
        choices.push_back({bytes, weight / static_cast<double>(bytes * (1 + random() % 3))});
        low = std::min(low, bytes);
        high = std::max(high, bytes);
        most = std::max(most, choices.back().loss);
      }
      smallest += low;
      largest += high;
      step = std::max(step, most);
    }
    const uint64_t budget = smallest + random() % (largest - smallest + 1);
    const auto chosen = Allocate(items, budget);
    ASSERT_TRUE(chosen.has_value());
    const Total total = Sum(items, *chosen);
    const double least = Least(items, budget);
    EXPECT_LE(total.bytes, budget);
    EXPECT_LE(total.loss, least + step);
    sum += total.loss;
    sum_of_least += least;
    EXPECT_EQ(Allocate(items, smallest - 1), std::nullopt);
    EXPECT_DOUBLE_EQ(Sum(items, *Allocate(items, largest)).loss, Least(items, largest));
  }
  EXPECT_LT(sum, 1.1 * sum_of_least) << "of five items: of hundreds it is much nearer";
}

TEST(Allocate, TakesWhatIsFree) {
  // More bytes for more loss, and equal ones: nobody wants them.
  const Items items = {{{10, 5}, {20, 6}, {10, 4}, {30, 4}}, {{8, 0}}};
  EXPECT_THAT(*Allocate(items, 100), ::testing::ElementsAre(2, 0));
  EXPECT_EQ(Allocate(items, 17), std::nullopt);
  EXPECT_THAT(*Allocate({}, 0), ::testing::IsEmpty());
}

}  // namespace
}  // namespace smelt
