// Elementary functions to a float's precision, where the language promises less.

/// 1 / (1 + e^-x) without overflow.
float Sigmoid(float x) {
  const float e = exp(-abs(x));
  return (x < 0 ? e : 1.0) / (1.0 + e);
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|), by a series where the second term vanishes.
float Softplus(float x) {
  const float e = exp(-abs(x));
  const float rest = e > 0.02 ? log(1.0 + e) : e * (1.0 - e * (0.5 - e * (1.0 / 3.0 - e * 0.25)));
  return max(x, 0.0) + rest;
}

float Tanh(float x) {
  const float a = abs(x);
  if (a > 0.35) return sign(x) * (1.0 - 2.0 / (exp(2.0 * min(a, 40.0)) + 1.0));
  const float s = x * x;
  return x * (1.0 - s * (1.0 / 3.0 - s * (2.0 / 15.0 - s * (17.0 / 315.0 - s * 62.0 / 2835.0))));
}

/// e^x - 1 for x <= 0.
float Expm1(float x) {
  if (x < -0.1) return exp(x) - 1.0;
  return x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0)))));
}

float SoftCap(float x, float cap) { return cap > 0 ? cap * Tanh(x / cap) : x; }

/// The normal distribution's: (1 + erf(x / sqrt 2)) / 2 (Abramowitz and Stegun, 7.1.26 in form).
float NormalCdf(float x) {
  const float a = abs(x) * 0.70710678118654752;
  const float t = 1.0 / (1.0 + 0.3275911 * a);
  const float p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const float tail = 0.5 * p * exp(-a * a);
  return x < 0 ? tail : 1.0 - tail;
}

// smelt::Activation, by number.
const uint kSilu = 0, kGelu = 1, kGeluTanh = 2, kRelu = 3, kRelu2 = 4, kSigmoid = 5;

float Activate(uint activation, float x) {
  switch (activation) {
    case kSilu: return x * Sigmoid(x);
    case kGelu: return x * NormalCdf(x);
    case kGeluTanh: return x * Sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x));
    case kRelu: return max(x, 0.0);
    case kRelu2: return max(x, 0.0) * max(x, 0.0);
    default: return Sigmoid(x);
  }
}
