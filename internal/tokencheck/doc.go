// Package tokencheck compares package token with the official tokenizers
// library, through its Node binding. It is a development tool: its tests are
// built with the tag tokencheck only, and need node and the package pinned in
// package.json, installed anywhere node looks for it:
//
//	npm install --ignore-scripts --prefix <dir> tokenizers@0.23.2 @huggingface/tokenizers@0.2.0
//	NODE_PATH=<dir>/node_modules go test -tags tokencheck ./internal/tokencheck
//
// published.tsv lists the tokenizer.json files that others published and that
// the tests compare, with their source and SHA-256: packages of npm, which are
// installed like the ones above, and files of repositories, whose checkouts are
// expected at $TOKENIZERS/OWNER/NAME. None of them is part of this project.
//
// With -update, the test trains the small tokenizers of testdata/tokenizers and
// writes the golden ids, spans and texts that the tests of package token read.
package tokencheck
