package ort

import (
	"bytes"
	"os"
	"strconv"
)

// resetPeakRSS sets the kernel's mark of the largest resident set to the
// present one (proc(5), clear_refs, value 5). False: the kernel doesn't let us.
func resetPeakRSS() bool {
	return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil
}

// peakRSS reads the mark, in bytes.
func peakRSS() *int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
			if err != nil {
				return nil
			}
			n := kib << 10
			return &n
		}
	}
	return nil
}
