#!/usr/bin/env bash
# Installs the Debian packages that a build needs, those that are missing; asks for root only then.
#   tools/packages.sh [FURTHER PACKAGES...]
set -euo pipefail
packages=(
  build-essential cmake ninja-build pkg-config python3
  libabsl-dev libcli11-dev libhwy-dev libpcre2-dev libssl-dev libutf8proc-dev libxxhash-dev libyaml-dev libzstd-dev nlohmann-json3-dev zlib1g-dev
  glslc libvulkan-dev libvulkan-volk-dev
  libgtest-dev libgmock-dev "$@")
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
export DEBIAN_FRONTEND=noninteractive
as_root apt-get update
as_root apt-get install -y --no-install-recommends "${missing[@]}"
