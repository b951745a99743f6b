#version 460
// Inputs rounded to 8 bits as quant's QuantizeActivations8: of 32 columns the largest is 127, halves go to the even
// code; where one is no number, codes 0 and a factor that is none.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
layout(push_constant, std430) uniform Push {
  Address x, to;
  uint columns, inputs, stride;  // floats from input to input
} p;

void main() {
  const uint groups = p.columns / 32;
  for (uint n = gl_GlobalInvocationID.x; n < p.inputs * groups; n += gl_NumWorkGroups.x * 64) {
    Floats x = FloatsAt(At(p.x, n / groups, p.stride * 4), n % groups * 32);
    Words to = Words(At(p.to, n, 36));
    float top = 0;
    bool finite = true;
    for (uint i = 0; i < 32; ++i) {
      const float v = x.v[i];
      finite = finite && (floatBitsToUint(v) & 0x7f800000u) != 0x7f800000u;
      top = max(top, abs(v));
    }
    const float inverse = finite && top > 0 ? 127.0 / top : 0.0;
    for (uint i = 0; i < 8; ++i) {
      uint four = 0;
      for (uint k = 0; k < 4; ++k) {
        const float code = finite ? roundEven(x.v[4 * i + k] * inverse) : 0.0;
        four |= (uint(int(clamp(code, -127.0, 127.0))) & 255u) << (8 * k);
      }
      to.v[i] = four;
    }
    to.v[8] = finite ? floatBitsToUint(top / 127.0) : 0x7fc00000u;
  }
}
