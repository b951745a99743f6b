// Which layers a device runs.
#include "infer/placement.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace smelt {
namespace {

ModelSpec FourLayers() {
  ModelSpec spec;
  spec.layers.resize(4);
  return spec;
}
const std::vector<uint64_t> kBytes = {10, 10, 20, 10};

TEST(PlaceLayers, AsManyAsFindRoom) {
  const ModelSpec spec = FourLayers();
  for (const auto& [room, layers] :
       {std::pair<uint64_t, size_t>{0, 0}, {9, 0}, {10, 1}, {39, 2}, {40, 3}, {50, 4}}) {
    const Placement placement = PlaceLayers(spec, kBytes, 5, room, std::nullopt);
    EXPECT_EQ(placement.layers_on(0), layers) << room;
    EXPECT_EQ(placement.layers_on(1), 4 - layers) << room;
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(placement.layers[i], i < layers ? 0u : 1u);
    EXPECT_EQ(placement.head, 1u) << room;
  }
  EXPECT_EQ(PlaceLayers(spec, kBytes, 5, 54, std::nullopt).head, 1u);
  EXPECT_EQ(PlaceLayers(spec, kBytes, 5, 55, std::nullopt).head, 0u);
}

TEST(PlaceLayers, AsManyAsAreWanted) {
  const ModelSpec spec = FourLayers();
  for (const uint64_t wanted : {0, 1, 3, 4, 100}) {
    const Placement placement = PlaceLayers(spec, kBytes, 5, 0, wanted);
    EXPECT_EQ(placement.layers_on(0), std::min<uint64_t>(wanted, 4));
    EXPECT_EQ(placement.head, wanted < 4 ? 1u : 0u);
  }
}

// Where the keys are that a layer attends to, the layer is.
TEST(PlaceLayers, WhoSharesKeysStaysWithThem) {
  ModelSpec spec = FourLayers();
  Attention of_first, of_third;
  of_first.keys_of = 0;
  of_third.keys_of = 2;
  spec.layers[1].mixer = of_first;
  spec.layers[3].mixer = of_third;
  EXPECT_EQ(PlaceLayers(spec, kBytes, 5, 0, 1).layers, (std::vector<size_t>{0, 0, 1, 1}));
  spec.layers[3].mixer = of_first;
  EXPECT_EQ(PlaceLayers(spec, kBytes, 5, 0, 1).layers, (std::vector<size_t>{0, 0, 1, 0}));
}

}  // namespace
}  // namespace smelt
