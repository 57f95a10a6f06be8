#!/bin/sh
# Checks a data set folder and a run folder against docs/formats.md with DuckDB
# (npm, into a scratch folder): run.sh DATASET RUN, from the repository root.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp internal/duckcheck/check.mjs internal/duckcheck/package.json "$scratch"
(cd "$scratch" && npm install --silent --no-audit --no-fund --ignore-scripts --no-package-lock)
root=$(pwd)
node "$scratch/check.mjs" "$root/docs/formats.md" "$root/$1" "$root/$2"
