package ort

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMeterTime spends a known amount of processor time and looks for it.
func TestMeterTime(t *testing.T) {
	const spin = 50 * time.Millisecond
	m := StartMeter()
	for start := processCPU(); processCPU()-start < spin; {
	}
	u := m.Stop()
	if cores := time.Duration(runtime.NumCPU()); u.CPU < spin || u.Wall < spin/cores || u.CPU > (cores+1)*u.Wall {
		t.Errorf("CPU %v and wall %v after %v of work", u.CPU, u.Wall, spin)
	}
	if u.PeakVRAM != nil {
		t.Errorf("device memory %d measured without a device", *u.PeakVRAM)
	}
}

// TestMeterMemory holds a block for a while and gives it back: the meter sees
// what the kernel says was resident then, and a later meter doesn't.
func TestMeterMemory(t *testing.T) {
	if !resetPeakRSS() {
		if u := StartMeter().Stop(); u.PeakRSS != nil {
			t.Error("peak memory reported where it cannot be measured")
		}
		return
	}
	const (
		block = 64 << 20 // bytes
		slack = 8 << 20  // other threads of the process allocate meanwhile, and the kernel counts in batches
	)
	before := resident(t)
	m := StartMeter()
	held := make([]byte, block)
	for i := 0; i < len(held); i += os.Getpagesize() {
		held[i] = 1
	}
	during := resident(t)
	runtime.KeepAlive(held)
	debug.FreeOSMemory()
	after := resident(t)
	if after > during-block/2 {
		t.Fatalf("resident memory went from %d to %d: the block was not given back", during, after)
	}
	if peak := *m.Stop().PeakRSS; peak < during-slack || peak > max(before, during)+slack {
		t.Errorf("peak %d, resident before %d, during %d", peak, before, during)
	}
	if peak := *StartMeter().Stop().PeakRSS; peak > after+slack {
		t.Errorf("peak %d of a meter started at %d", peak, after)
	}
}

// resident reads the process's resident memory from another file than the
// meter does (proc(5), statm: the second number, in pages).
func resident(t *testing.T) int64 {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// The CPU's arena is counted like a device's, so reading the count is tested
// on it: a run on a [64,64] matrix holds at least one such matrix.
func TestAllocatorPeak(t *testing.T) {
	s := session(t, open(t), loop(64), Options{})
	in := loopFeed(64, 2)
	out := feed{"Z": nil}
	if err := s.Run(t.Context(), in, out); err != nil {
		t.Fatal(err)
	}
	peak, err := s.allocatorPeak("Cpu", 0)
	if err != nil {
		t.Fatal(err)
	}
	if peak == nil || *peak < 64*64*4 || *peak > 1<<20 {
		t.Errorf("peak: %v", peak)
	}
	if u := StartMeter(s).Stop(); u.PeakVRAM != nil {
		t.Errorf("device memory %d of a session on the CPU", *u.PeakVRAM)
	}
	if _, err := s.allocatorPeak("nonsense", 0); err == nil {
		t.Error("unknown memory accepted")
	}
}
