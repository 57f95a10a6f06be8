#!/bin/sh
# Runs what of the conformance suites of the editing methods depends on sums of
# floats, on this processor and, by Debian's qemu-user, on two older ones: Nehalem
# (SSE4) and Haswell (AVX2). It has to pass everywhere. Prints how far answers are
# from those of this processor with the pinned ONNX Runtime, one thread and memory
# patterns.
#
# The runtime's releases, threads and memory patterns are crossed on this
# processor; an emulated one, some ten times slower, gets one thread with patterns
# and two without, on the GPT-2 form only.
# usage: run.sh      which suites as SUITES in the environment
set -eu
cd "$(dirname "$0")/../.."
emulated='Nehalem Haswell'
suites=${SUITES:-none ike kn ftl rome memit pmet}
case $(go env GOARCH) in
amd64)
	command -v qemu-x86_64 > /dev/null || {
		echo "qemu-x86_64 is missing: install Debian's package qemu-user (apt-get install qemu-user)" >&2
		exit 1
	} ;;
*)
	echo "not an x86-64 machine: only its own processor is tried" >&2
	emulated= ;;
esac
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for version in 1.30.0 1.27.0; do
	go run ./internal/ortinstall -version "$version" > "$out/lib-$version"
done
for s in $suites; do
	go test -c -o "$out/$s.test" "./edit/$s"
done
export EDITPIPE_REQUIRE_ORT=1
failed=0

# try PROCESSOR RELEASE THREADS PATTERNS
try() {
	run= forms='' checks='prepare|company|deterministic'
	if [ "$1" != here ]; then
		run="qemu-x86_64 -cpu $1"
		forms='(gpt2|paper|company)' checks='prepare|company'
	fi
	answers="$out/$1-$2-$3-$4"
	for s in $suites; do
		# shellcheck disable=SC2086 # the emulator and its flags are words
		(cd "edit/$s" && EDITPIPE_ORT_LIB=$(cat "$out/lib-$2") $run "$out/$s.test" \
			-test.v -test.timeout 1h -test.run "^TestConformance\$/$forms/^($checks)" -threads "$3" -patterns="$4" -answers "$out/answers") > "$out/log" 2>&1 || {
			failed=1
			echo "FAILED: $s, processor $1, ONNX Runtime $2, $3 threads, patterns $4"
			grep -v '^=== ' "$out/log" | head -n 40
		}
		sed -n 's/.*largest difference in company, relative: //p' "$out/log" >> "$answers.company"
		[ ! -f "$out/answers" ] || sed "s|^|$s |" "$out/answers" >> "$answers" # suites name their tests alike
		rm -f "$out/answers"
	done
	[ -f "$answers" ] || return 0
	awk -F '\t' -v what="processor $1, ONNX Runtime $2, $3 threads, patterns $4" \
		-v company="$(sort -g "$answers.company" | tail -n 1)" '
		NR == FNR { p[$1 $2] = $3; best[$1 $2] = $4; next }
		{
			n++
			d = $3 - p[$1 $2]; if (d < 0) d = -d
			if ($2 ~ /patched true/) { if (d > edited) { edited = d; where = $1 } } else if (d > plain) plain = d
			other += $4 != best[$1 $2]
		}
		END {
			printf "%s: %d log-probabilities, off by %.2g nats unedited and %.2g edited (%s); %d other most probable tokens; company: %s\n",
				what, n, plain, edited, where, other, company
		}' "$out/here-1.30.0-1-true" "$answers"
}

for threads in 1 2; do
	for patterns in true false; do
		for version in 1.30.0 1.27.0; do
			try here $version $threads $patterns
		done
	done
done
for processor in $emulated; do
	for version in 1.30.0 1.27.0; do
		try "$processor" $version 1 true
		try "$processor" $version 2 false
	done
done
exit $failed
