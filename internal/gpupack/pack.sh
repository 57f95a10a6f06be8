#!/bin/sh
# Packs editpipe, the ONNX Runtime library (gzipped) and the check that runs them
# into one folder that can be copied to a machine with a GPU: nothing else has
# to be installed there but its driver. The demo model is inside editpipe.
# usage: pack.sh FOLDER
set -eu
cd "$(dirname "$0")/../.."
pack=$1
limit_mb=60
rm -rf "$pack"
mkdir -p "$pack"
library=$(go run ./internal/ortinstall)
CGO_ENABLED=1 go build -trimpath -ldflags '-s -w' -o "$pack/editpipe" ./cmd/editpipe
gzip -9 -n -c "$library" > "$pack/$(basename "$library").gz"
cp internal/gpupack/run.sh "$pack/"
size=$(du -sm "$pack" | cut -f1)
echo "$pack: $size MB"
[ "$size" -lt $limit_mb ] || { echo "$pack is $size MB, want less than $limit_mb" >&2; exit 1; }
