// Products of signed bytes, four to a word, summed exactly, and inputs that quantize.comp rounded to
// such bytes. The sums are SPIR-V's own: compilers that know no GLSL for them make them, too.

spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int SignedDot(int a, int b, spirv_literal int packed_format);

int Dot(uint a, uint b) { return SignedDot(int(a), int(b), 0); }
int Dot(uvec2 a, uvec2 b) { return Dot(a.x, b.x) + Dot(a.y, b.y); }
/// Of the four bytes of a word.
int Sum(uint bytes) { return Dot(bytes, 0x01010101u); }

/// A group of 32 columns of an input: eight words of codes and what they are multiplied with.
const uint kInputGroup = 32, kGroupWords = 9;
uint InputWords(uint columns) { return columns / kInputGroup * kGroupWords; }
Words InputGroup(Address x, uint row, uint stride, uint column) {
  return Words(At(At(x, row, stride * 4), column / kInputGroup, kGroupWords * 4));
}
float ScaleOf(Words group) { return uintBitsToFloat(group.v[8]); }
