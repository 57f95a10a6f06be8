// Package imports contains the rule that says which package may import which,
// as a test. The list in list_test.go has a line for every package, and the
// table of packages in docs/architecture.md is written from it:
//
//	go test ./internal/imports -update
//
// A package imports exactly those packages of the project that its line names,
// and only packages above it in the list. The lines of a folder and its
// subfolders are next to each other, so no two folders need each other.
// Whatever breaks a rule is listed as an exception with a reason. A third-party
// module is imported only by the packages that the list names.
package imports
