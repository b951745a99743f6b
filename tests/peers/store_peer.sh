#!/usr/bin/env bash
# Imports models into a store and asks a real Ollama about them, also about what a bundle of them gives.
#
#   store_peer.sh SMELT SHARED WORK [SMOLLM2_DIR]
#
# Needs go (1.24 or newer) and a C++ compiler the first time, to build Ollama: a few minutes. OLLAMA_VERSION: another than the one that
# runs models without further programs (v0.6.5); such a one lists, shows, copies and removes, and runs models by the llama-server in
# OLLAMA_LLAMA_BIN, where that is given.
set -euo pipefail
smelt=$1 shared=$2 work=$3 smollm2=${4:-}
OLLAMA_BIN=$("$shared/tools/ollama/get_ollama.sh" "${OLLAMA_VERSION:-v0.6.5}")
export OLLAMA_BIN
mkdir -p "$work"
folder=$(mktemp -d "$work/store.XXXXXX")
store=$folder/store
runs=yes
[ -z "${OLLAMA_VERSION:-}" ] || [ -n "${OLLAMA_LLAMA_BIN:-}" ] || runs=""

check() {  # STORE NAME [FLAG]: what is not as it should be, and the counts
  local said status=0
  said=$("$shared/tools/ollama/check_store.sh" "$1" "$2" ${runs:+${3:-}} --strict) || status=$?
  sed -n "/^ok /!s/^/$2: /p" <<<"$said"
  return $status
}
failed=0
try() { "$@" || { echo "FAIL: $*"; failed=$((failed + 1)); }; }

for model in llama llama-spm qwen2 gemma mistral; do
  "$smelt" import "$shared/fixtures/models/$model" "$model" --type q8_0 --store "$store" --quiet
  try check "$store" "$model" --run-any
done
names="llama qwen2"
if [ -n "$smollm2" ]; then
  "$smelt" import "$smollm2" smollm2 --type q4_k_m --require-template --store "$store" --quiet
  try check "$store" smollm2 --run
  # A type that Ollama makes no more: with an importance matrix and nothing besides, and without one. Ollama before August 2026 punishes what was said
  # (repeat_penalty 1.1) unless a model's parameters say otherwise, the end of a turn too; a small model of three bits then hardly ends.
  "$smelt" import "$smollm2" smollm2:q3-imatrix --type q3_k_m --imatrix auto --store "$store" --quiet
  try check "$store" smollm2:q3-imatrix --run
  printf 'FROM %s\nPARAMETER temperature 0\nPARAMETER repeat_penalty 1\nSYSTEM You are brief.\n' "$smollm2" >"$folder/Modelfile"
  "$smelt" import -f "$folder/Modelfile" smollm2:q3 --type q3_k_m --store "$store" --quiet
  try check "$store" smollm2:q3 --run
  # Newer ones punish nothing, and then a small model whose roundings nothing guided repeats itself at temperature 0.
  chats="smollm2 smollm2:q3"
  if [ -n "${OLLAMA_VERSION:-}" ]; then
    "$smelt" import "$smollm2" smollm2:q4-imatrix --type q4_k_m --imatrix auto --store "$store" --quiet
    chats=smollm2:q4-imatrix
  fi
  [ -z "$runs" ] || try python3 tests/peers/store_chat.py "$OLLAMA_BIN" "$shared/tools/ollama" "$store" $chats
  names+=" smollm2 smollm2:q3"
fi

# A bundle: read by zstd and tar, repacked by them, and taken into stores that Ollama finds right.
"$smelt" store export $names -o "$folder/models.tar.zst" --store "$store" --quiet
mkdir "$folder/unpacked"
zstd -qdc "$folder/models.tar.zst" | tar -C "$folder/unpacked" -xf -
try check "$folder/unpacked" qwen2
tar -C "$folder/unpacked" -cf - blobs manifests | zstd -q1 >"$folder/repacked.tar.zst"
for bundle in models repacked; do
  "$smelt" import "$folder/$bundle.tar.zst" --store "$folder/$bundle" --quiet
  try "$smelt" store verify --store "$folder/$bundle" --quiet
  try diff -r "$folder/unpacked/manifests" "$folder/$bundle/manifests"
done
try check "$folder/models" llama
rm -rf "$folder"
echo "$failed failed"
exit $((failed > 0))
