#!/usr/bin/env bash
# Each different store that the fault tests leave (a call that failed, a process that was killed), as a real Ollama finds it: both models that were
# there are listed, shown, copied and removed.
#
#   store_faults_peer.sh STORE_FAULTS_TEST SHARED WORK
set -euo pipefail
test=$1 shared=$2 work=$3
OLLAMA_BIN=$("$shared/tools/ollama/get_ollama.sh" "${OLLAMA_VERSION:-v0.6.5}")
export OLLAMA_BIN
mkdir -p "$work"
folder=$(mktemp -d "$work/faults.XXXXXX")
SMELT_KEEP_STORES=$folder "$test" --gtest_filter=-*Set:*AtOnce --gtest_brief=1
stores=0 failed=0
for store in "$folder"/*/; do
  stores=$((stores + 1))
  for name in one two; do
    said=$("$shared/tools/ollama/check_store.sh" "${store%/}" "$name") || failed=$((failed + 1))
    sed -n "/^ok /!{/ 0 failed$/!s/^/$(basename "$store"), $name: /p}" <<<"$said"
  done
done
rm -rf "$folder"
echo "$stores stores, $failed failed"
[ "$stores" -gt 20 ]
exit $((failed > 0))
