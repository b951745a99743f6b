// What all shaders share: memory by its address, activations in the terms of the field.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint v[]; };

#define Address uvec2

/// address + count * bytes, beyond 32 bits.
Address At(Address address, uint count, uint bytes) {
  uint high, low, carry;
  umulExtended(count, bytes, high, low);
  low = uaddCarry(address.x, low, carry);
  return Address(low, address.y + high + carry);
}
Floats FloatsAt(Address address, uint index) { return Floats(At(address, index, 4)); }
bool Present(Address address) { return address.x != 0 || address.y != 0; }

/// Sum over the invocations of a workgroup of kThreads; the same for any subgroup size.
#define SHARED_SUM(kThreads)                                  \
  shared float partial_sums[kThreads];                        \
  float WorkgroupSum(float x) {                               \
    const uint t = gl_LocalInvocationID.x;                    \
    partial_sums[t] = x;                                      \
    barrier();                                                \
    for (uint step = (kThreads) / 2; step > 0; step /= 2) {   \
      if (t < step) partial_sums[t] += partial_sums[t + step]; \
      barrier();                                              \
    }                                                         \
    const float sum = partial_sums[0];                        \
    barrier();                                                \
    return sum;                                               \
  }
