#!/usr/bin/env bash
# From a checkout on Debian 12 to text from a quantized model: packages, build, conversion with its validation table, generation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/packages.sh
cmake --preset release -DSMELT_UNITY=ON
cmake --build --preset release --target smelt_program  # tools/test.sh builds the rest in the same folder
set -x
build/release/tools/smelt convert testdata/models/llama --type q4_k_m -o build/llama-q4_k_m.gguf --force
build/release/tools/smelt run build/llama-q4_k_m.gguf "It is a truth universally acknowledged" -n 48
