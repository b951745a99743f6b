#!/usr/bin/env bash
# Imports and exports on a file system whose files share blocks (btrfs in a file, mounted): no block is written twice.
#
#   reflink_peer.sh SMELT GGUF WORK       exit status 77 where such a file system cannot be made or mounted
set -euo pipefail
smelt=$1 gguf=$2 work=$3
command -v mkfs.btrfs >/dev/null || { echo "SKIPPED: mkfs.btrfs is missing"; exit 77; }
mkdir -p "$work"
folder=$(mktemp -d "$work/reflink.XXXXXX")
end() { cd /; umount "$folder/mounted" 2>/dev/null || true; rm -rf "$folder"; }
trap end EXIT
mkdir "$folder/mounted"
truncate -s 512M "$folder/disk"
mkfs.btrfs -q "$folder/disk" >/dev/null
mount -o loop "$folder/disk" "$folder/mounted" 2>/dev/null || { echo "SKIPPED: nothing can be mounted here"; exit 77; }
cd "$folder/mounted"
cp "$gguf" model.gguf
chmod 600 model.gguf  # which could not be linked

failed=0
expect() { [ "$2" = "$3" ] || { echo "FAIL: $1: $2 instead of $3"; failed=$((failed + 1)); }; }
shared() { sync "$1"; if filefrag -v "$1" | grep -q '^ *0:.*shared'; then echo shared; else echo own; fi; }
how() { "$smelt" import "$@" --store store --quiet --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["how"])'; }

expect "the first import" "$(how model.gguf one)" reflink
blob=$(find store/blobs -size +4k)
expect "the blob's mode" "$(stat -c %a "$blob")" 644
expect "the blob's blocks" "$(shared "$blob")" shared
expect "the second import" "$(how model.gguf two)" present
"$smelt" store export one -o out.gguf --store store --quiet
expect "the exported file's blocks" "$(shared out.gguf)" shared
"$smelt" store export one two -o other --store store --quiet
expect "the other store's blocks" "$(shared "other/${blob#store/}")" shared
"$smelt" store rm one two --store store --quiet
expect "an import with --copy" "$(how model.gguf one --copy)" copy
expect "the copied blob's blocks" "$(shared "$(find store/blobs -size +4k)")" own
"$smelt" store verify --store store --quiet || failed=$((failed + 1))
"$smelt" store verify --store other --quiet || failed=$((failed + 1))
cmp model.gguf out.gguf || failed=$((failed + 1))
echo "$failed failed"
exit $((failed > 0))
