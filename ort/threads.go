package ort

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// DefaultThreads is the number of threads a session uses when none is asked
// for: the physical cores, where the system tells (Linux), and at most
// runtime.GOMAXPROCS, which heeds the process's CPU affinity and quota. Kernels
// that saturate the vector units gain nothing from a core's second thread.
func DefaultThreads() int {
	threads := runtime.GOMAXPROCS(0)
	if cores := physicalCores(); cores > 0 {
		threads = min(threads, cores)
	}
	return threads
}

// physicalCores counts distinct lists of sibling threads; 0 where unknown.
func physicalCores() int {
	files, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
	if err != nil {
		return 0
	}
	cores := map[string]bool{}
	for _, file := range files {
		siblings, err := os.ReadFile(file)
		if err != nil {
			return 0
		}
		cores[strings.TrimSpace(string(siblings))] = true
	}
	return len(cores)
}
