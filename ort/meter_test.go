package ort

import (
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestMeter spends known amounts of each resource and looks for them.
func TestMeter(t *testing.T) {
	const (
		block = 64 << 20 // bytes; far above what the test process holds anyway
		// The collector may give back memory meanwhile, and the kernel counts
		// pages in per-thread batches.
		slack = 8 << 20
		spin  = 50 * time.Millisecond
	)
	m := StartMeter()
	first := m.Stop()
	held := make([]byte, block)
	for i := 0; i < len(held); i += os.Getpagesize() {
		held[i] = 1
	}
	for start := processCPU(); processCPU()-start < spin; {
	}
	u := m.Stop()
	runtime.KeepAlive(held)
	if u.CPU < spin || u.Wall < spin/time.Duration(runtime.NumCPU()) || u.CPU > time.Duration(runtime.NumCPU()+1)*u.Wall {
		t.Errorf("CPU %v and wall %v after %v of work", u.CPU, u.Wall, spin)
	}
	if u.PeakVRAM != nil {
		t.Errorf("device memory %d measured without a device", *u.PeakVRAM)
	}
	if !resetPeakRSS() {
		if u.PeakRSS != nil {
			t.Error("peak memory reported where it cannot be measured")
		}
		return
	}
	if grown := *u.PeakRSS - *first.PeakRSS; grown < block-slack || grown > block+slack {
		t.Errorf("peak memory grew by %d for a block of %d", grown, block)
	}
}

// The mark is reset: a later meter does not see an earlier peak.
func TestMeterResets(t *testing.T) {
	if !resetPeakRSS() {
		t.Skip("this system does not let the peak be reset")
	}
	const block = 64 << 20
	held := make([]byte, block)
	for i := 0; i < len(held); i += os.Getpagesize() {
		held[i] = 1
	}
	with := StartMeter().Stop()
	held = nil
	debug.FreeOSMemory()
	without := StartMeter().Stop()
	if shrunk := *with.PeakRSS - *without.PeakRSS; shrunk < block/2 {
		t.Errorf("peak after freeing %d bytes is only %d lower", block, shrunk)
	}
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
