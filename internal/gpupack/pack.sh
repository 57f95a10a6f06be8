#!/bin/sh
# Packs editpipe, the ONNX Runtime library (gzipped) and the check that runs them
# into one folder that can be copied to a machine with a GPU: nothing else has
# to be installed there but its driver. The demo model is inside editpipe.
# usage: pack.sh FOLDER
set -eu
case $1 in
/*) pack=$1 ;;
*) pack=$PWD/$1 ;;
esac
cd "$(dirname "$0")/../.."
limit_mb=60
if [ -e "$pack" ] && [ ! -f "$pack/run.sh" ]; then
	echo "$pack is there and is no pack: name another folder" >&2
	exit 1
fi
rm -rf "$pack"
mkdir -p "$pack"
library=$(go run ./internal/ortinstall)
CGO_ENABLED=1 go build -trimpath -ldflags '-s -w' -o "$pack/editpipe" ./cmd/editpipe
gzip -9 -n -c "$library" > "$pack/$(basename "$library").gz"
cp internal/gpupack/run.sh "$pack/"
size=$(du -sm "$pack" | cut -f1)
echo "$pack: $size MB"
[ "$size" -lt $limit_mb ] || { echo "$pack is $size MB, want less than $limit_mb" >&2; exit 1; }
