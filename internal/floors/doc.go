// Package floors holds the test that keeps imports going down: every package
// stands on a floor and may import packages on strictly lower floors only, and
// every third-party runtime has exactly one importer. The table in the test is
// the architecture of docs/architecture.md in executable form.
package floors
