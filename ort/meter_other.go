//go:build !linux

package ort

// Other systems keep a mark of the largest resident set too, but only of the
// whole life of the process.
func resetPeakRSS() bool { return false }

func peakRSS() *int64 { return nil }
