#!/bin/sh
# Runs the same evaluation on the CPU and on every GPU provider that loads,
# compares the rows and prints edits and probes per second.
# usage: run.sh [RESULTS]      other flags of eval as EVAL in the environment
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/results}
flags=${EVAL:---method none,rome --set rome.mom2_adjustment=false --limit 20}
mkdir -p "$out"
library=$(basename "$here"/libonnxruntime*.gz .gz)
if [ -z "${EDITPIPE_ORT_LIB:-}" ]; then # one's own build, with CUDA beside it, may be named
	gunzip -c "$here/$library.gz" > "$out/$library"
	export EDITPIPE_ORT_LIB="$out/$library"
fi
export XDG_CACHE_HOME="$out/cache"
"$here/editpipe" doctor | tee "$out/doctor.txt"
if command -v nvidia-smi > /dev/null 2>&1; then
	nvidia-smi -L || echo "nvidia-smi fails: the driver may not fit the kernel"
fi
gpus=$(awk '$1 == "ok" && $2 == "provider" && $3 != "cpu" { print $3 }' "$out/doctor.txt")
evaluate() {
	# shellcheck disable=SC2086 # flags are words
	"$here/editpipe" eval $flags --provider "$1" --out "$out/$1"
}
evaluate cpu
[ -n "$gpus" ] || echo "no GPU provider loads here: the table above says why"
failed=0
for p in $gpus; do
	echo "== $p"
	if evaluate "$p"; then
		"$here/editpipe" compare "$out/cpu" "$out/$p" || failed=1
	else
		failed=1
	fi
done
for p in cpu $gpus; do
	[ -f "$out/$p/summary.parquet" ] && "$here/editpipe" report "$out/$p" > "$out/$p.txt" && sed -n '/[Ee]fficiency/,$p' "$out/$p.txt"
done
exit $failed
