// Package imports holds the rule about which package may import which, as a
// test. The list in list_test.go has a line for every package, and the table of
// packages in docs/architecture.md is written from it:
//
//	go test ./internal/imports -update
//
// A package imports of the project what its line names, neither more nor less,
// and only packages above it; the lines of a folder with those below it stand
// together, so that no two folders need each other. What a rule forbids and is
// done all the same is an exception with a reason. A third-party module has the
// importers that the list names.
package imports
