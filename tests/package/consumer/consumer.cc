// What a user of the library writes: a published model in, a validated file out, and its
// perplexity.
#include <smelt/convert.h>
#include <smelt/evaluate.h>
#include <smelt/version.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 4) return 2;  // MODEL OUTPUT TEXT
  smelt::ConvertOptions convert;
  convert.source = argv[1];
  convert.output = argv[2];
  convert.type = "q8_0";
  const absl::StatusOr<smelt::ConvertResult> file = smelt::Convert(convert);
  if (!file.ok()) return std::fprintf(stderr, "%s\n", file.status().ToString().c_str()), 1;
  smelt::EvaluateOptions evaluate;
  evaluate.model = file->output;
  evaluate.text_files = {argv[3]};
  evaluate.context = 128;
  evaluate.chunks = 2;
  const absl::StatusOr<smelt::EvaluateResult> score = smelt::Evaluate(evaluate);
  if (!score.ok()) return std::fprintf(stderr, "%s\n", score.status().ToString().c_str()), 1;
  std::printf("smelt %s: %s, %.2f bits per weight, perplexity %.2f\n", smelt::Version().data(),
              file->output.c_str(), file->bits_per_weight, score->perplexity);
  return score->perplexity > 1 && score->perplexity < 300 ? 0 : 1;
}
