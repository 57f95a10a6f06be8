package main

import (
	"bytes"
	"os"
	"testing"
)

// The list in the repository is the one the generator writes.
func TestListIsCurrent(t *testing.T) {
	want, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../all.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("edit/all/all.go is out of date: run task methods")
	}
}
