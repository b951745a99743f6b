#!/usr/bin/env bash
# Imports models into a store and asks a real Ollama about them.
#
#   store_peer.sh SMELT SHARED WORK [SMOLLM2_DIR]
#
# Needs go (1.24 or newer) and a C++ compiler the first time, to build Ollama: a few minutes.
set -euo pipefail
smelt=$1 shared=$2 work=$3 smollm2=${4:-}
OLLAMA_BIN=$("$shared/tools/ollama/get_ollama.sh")
export OLLAMA_BIN
mkdir -p "$work"
store=$(mktemp -d "$work/store.XXXXXX")

check() {  # NAME FLAG
  "$shared/tools/ollama/check_store.sh" "$store" "$1" "$2" --strict | sed "s/^/$1: /" | grep -v ': ok ' || true
  return "${PIPESTATUS[0]}"
}
import() {  # MODEL TYPE NAME
  "$smelt" convert "$1" --type "$2" -o "$work/$3.gguf" --force --quiet
  "$smelt" import "$work/$3.gguf" "$3" --store "$store" --quiet
}
failed=0
for model in llama llama-spm; do
  import "$shared/fixtures/models/$model" q8_0 "$model"
  check "$model" --run-any || failed=$((failed + 1))
done
if [ -n "$smollm2" ]; then
  import "$smollm2" q4_k_m smollm2
  check smollm2 --run || failed=$((failed + 1))
  # Straight from the folder, in a type that Ollama makes no more, with what a Modelfile says.
  printf 'FROM %s\nPARAMETER temperature 0\nSYSTEM You are brief.\n' "$smollm2" >"$work/Modelfile"
  "$smelt" import -f "$work/Modelfile" smollm2:q3 --type q3_k_m --store "$store" --quiet
  check smollm2:q3 --run || failed=$((failed + 1))
fi
rm -rf "$store"
exit $((failed > 0))
