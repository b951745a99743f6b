#!/usr/bin/env bash
# Installs a build into a temporary prefix, moves the tree, and builds and runs a program that uses it.
#
#   package_test.sh find_package|pkg-config|program BUILD SOURCE
set -euo pipefail
mode=$1 build=$2 source=$3
model=$source/testdata/models/llama
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/installed" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
mv "$work/installed" "$work/moved"   # nothing in it may know where it was installed
prefix=$work/moved
grep -rIl "$build\|$source\|$work" "$prefix" && { echo "the files above know where they were built"; exit 1; }
lib=$(dirname "$(find "$prefix" -name 'libsmelt.so')")

case $mode in
  program)
    "$prefix/bin/smelt" --version
    "$prefix/bin/smelt" inspect "$model" >"$work/inspect.txt"
    test -s "$work/inspect.txt"
    exit ;;
  find_package)
    cmake -S "$source/tests/package/consumer" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" >"$work/log"
    cmake --build "$work/build" >>"$work/log" || { cat "$work/log"; exit 1; }
    consumer=$work/build/consumer ;;
  pkg-config)
    consumer=$work/consumer
    export PKG_CONFIG_PATH=$lib/pkgconfig
    # shellcheck disable=SC2046
    ${CXX:-c++} -std=c++20 "$source/tests/package/consumer/consumer.cc" -o "$consumer" $(pkg-config --cflags --libs smelt) ;;
  *) exit 2 ;;
esac
cp "$source/LICENSE" "$work/text.txt"
LD_LIBRARY_PATH=$lib "$consumer" "$model" "$work/out.gguf" "$work/text.txt"
test -s "$work/out.gguf"
