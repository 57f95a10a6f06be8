#!/bin/sh
# Executes first-look.ipynb end to end on a run folder: execute.sh RUN
# Uses the Jupyter and the Parquet reader that are there. On a Debian machine
# where they are missing, and as root, it installs them; the DuckDB library
# comes from npm into a scratch folder.
set -eu
run=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)

nbconvert=$(command -v jupyter-nbconvert || true)
if [ -z "$nbconvert" ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends jupyter-nbconvert python3-ipykernel python3-pandas python3-matplotlib >/dev/null
		nbconvert=$(command -v jupyter-nbconvert)
	else
		echo "jupyter-nbconvert is not installed: pip install nbconvert ipykernel pandas matplotlib pyarrow" >&2
		exit 1
	fi
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ -z "${EDITPIPE_DUCKDB_LIB:-}" ] && command -v npm >/dev/null && [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
	echo '{"private":true}' >"$scratch/package.json"
	(cd "$scratch" && npm install --silent --no-audit --no-fund --ignore-scripts @duckdb/node-bindings-linux-x64@1.5.6-r.1)
	EDITPIPE_DUCKDB_LIB=$scratch/node_modules/@duckdb/node-bindings-linux-x64/libduckdb.so
	export EDITPIPE_DUCKDB_LIB
fi

cd "$here"
EDITPIPE_RUN=$run "$nbconvert" --to notebook --execute first-look.ipynb --output-dir "$scratch" --output executed.ipynb
grep -q 'image/png' "$scratch/executed.ipynb" || { echo "the executed notebook has no plot" >&2; exit 1; }
echo "first-look.ipynb ran to the end on $run"
