#!/usr/bin/env bash
# Builds what is not built yet and runs the tests. Further arguments go to ctest, for example: tools/test.sh -R Gguf
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/packages.sh
[ -f build/release/build.ninja ] || cmake --preset release
cmake --build --preset release
ctest --preset release -j "$(nproc)" "$@"
