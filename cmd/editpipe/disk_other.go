//go:build !unix

package main

// freeBytes is not measured on this system.
func freeBytes(string) (uint64, bool) { return 0, false }
