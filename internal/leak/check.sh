#!/bin/sh
# Builds tests with models whose rows see a thousandth of their neighbours and
# fails unless every suite that compares rows alone and in company fails.
# usage: check.sh
set -eu
cd "$(dirname "$0")/../.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
missed=0
# caught PACKAGE TESTS WORDS: the tests fail, saying so
caught() {
	if go test -count=1 -tags sabotage -run "$2" "$1" > "$log" 2>&1 || ! grep -q "$3" "$log"; then
		missed=1
		echo "NOT CAUGHT: $1 $2 does not notice rows that see each other:"
		tail -n 20 "$log"
	else
		echo "caught: $1 $2"
	fi
}
for method in none ike kn ftl rome memit pmet; do
	caught "./edit/$method" '^TestConformance$/(gpt2|paper|company)/^(prepare|company)' 'in company'
done
caught ./models '^TestSearchesInCompany$' 'slopes off by'
caught ./models '^TestPatchesTogetherAloneDense$' 'differ'
exit $missed
