#define FLOATS  // no integers
const uint kBlock = 1, kBytes = 2;
void Decode8(Row row, uint i, out float y[8]) {
  for (uint k = 0; k < 8; ++k) y[k] = Half(row, 2 * (i + k));
}
