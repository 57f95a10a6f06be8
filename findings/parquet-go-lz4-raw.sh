#!/bin/sh
# parquet-go v0.32.0 does not read back its own LZ4_RAW pages correctly: if a page was
# compressed to a third of its size or more, the text of all its rows is empty, without
# an error. Shorter pages (four rows of the same kind) are read correctly.
#
# The file is valid: parquet-wasm 0.8.0 (the Rust implementation) reads every row
# of it as it was written, and parquet-go reads the same rows compressed with zstd.
#
# Measured (Go 1.26, Linux, amd64):
#   parquet-go, ZSTD,    3000 rows: 0 differ, 0 of them empty, error <nil>
#   parquet-go, LZ4_RAW, 3000 rows: 3000 differ, 3000 of them empty, error <nil>
#   parquet-go, LZ4_RAW,    4 rows: 0 differ, 0 of them empty, error <nil>
#   parquet-wasm, LZ4_RAW, 3000 rows: 0 differ
#
# Needs go, node and npm. Fails if any of these lines changes.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >go.mod <<'MOD'
module finding

go 1.26

require github.com/parquet-go/parquet-go v0.32.0
MOD
cat >main.go <<'GO'
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/parquet-go/parquet-go"
)

type row struct {
	Text string `parquet:"text,plain"`
}

func main() {
	rng := rand.New(rand.NewPCG(1, 2))
	rows := make([]row, 3000)
	for i := range rows {
		b := make([]byte, 40)
		for j := range b {
			b[j] = byte('a' + rng.IntN(26))
		}
		rows[i].Text = string(b)
	}
	check("ZSTD", parquet.Compression(&parquet.Zstd), rows, "")
	check("LZ4_RAW", parquet.Compression(&parquet.Lz4Raw), rows, "lz4.parquet")
	check("LZ4_RAW", parquet.Compression(&parquet.Lz4Raw), rows[:4], "")
	var texts bytes.Buffer
	for _, r := range rows {
		fmt.Fprintln(&texts, r.Text)
	}
	must(os.WriteFile("texts", texts.Bytes(), 0o644))
}

func check(name string, codec parquet.WriterOption, rows []row, keep string) {
	var file bytes.Buffer
	w := parquet.NewGenericWriter[row](&file, codec)
	_, err := w.Write(rows)
	must(err)
	must(w.Close())
	if keep != "" {
		must(os.WriteFile(keep, file.Bytes(), 0o644))
	}
	r := parquet.NewGenericReader[row](bytes.NewReader(file.Bytes()))
	got := make([]row, len(rows)+1)
	n := 0
	for err = nil; err == nil && n < len(got); {
		var k int
		k, err = r.Read(got[n:])
		n += k
	}
	if errors.Is(err, io.EOF) && n == len(rows) {
		err = nil
	}
	differ, empty := 0, 0
	for i := range rows {
		if got[i] != rows[i] {
			differ++
			if got[i].Text == "" {
				empty++
			}
		}
	}
	fmt.Printf("parquet-go, %s, %d rows: %d differ, %d of them empty, error %v\n", name, len(rows), differ, empty, err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
GO
GOFLAGS=-mod=mod go run . >seen 2>go.log || { cat go.log seen; exit 1; }

npm init -y >npm.log 2>&1
npm install --no-audit --no-fund parquet-wasm@0.8.0 apache-arrow@21.1.0 >>npm.log 2>&1 || { cat npm.log; exit 1; }
cat >read.mjs <<'JS'
import { readFileSync } from 'node:fs';
import * as parquet from 'parquet-wasm/node';
import { tableFromIPC } from 'apache-arrow';
const table = tableFromIPC(parquet.readParquet(new Uint8Array(readFileSync('lz4.parquet'))).intoIPCStream());
const want = readFileSync('texts', 'utf8').trimEnd().split('\n');
const got = [...table.getChild('text')];
const differ = want.filter((t, i) => t !== got[i]).length;
console.log(`parquet-wasm, LZ4_RAW, ${got.length} rows: ${differ} differ`);
JS
node read.mjs >>seen

cat >want <<'WANT'
parquet-go, ZSTD, 3000 rows: 0 differ, 0 of them empty, error <nil>
parquet-go, LZ4_RAW, 3000 rows: 3000 differ, 3000 of them empty, error <nil>
parquet-go, LZ4_RAW, 4 rows: 0 differ, 0 of them empty, error <nil>
parquet-wasm, LZ4_RAW, 3000 rows: 0 differ
WANT
cat seen
if ! cmp -s want seen; then
	echo "this is no longer so; was:" >&2
	cat want >&2
	exit 1
fi
