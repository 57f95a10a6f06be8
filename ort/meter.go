package ort

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"fmt"
	"strconv"
	"time"
	"unsafe"
)

// Usage is what a stretch of work cost. A nil figure couldn't be measured.
type Usage struct {
	Wall time.Duration
	// CPU is the processor time of all threads of the process, user and system.
	CPU time.Duration
	// PeakRSS is the largest resident memory of the process between Start and
	// Stop, in bytes. It is measured on Linux only; elsewhere the system's mark
	// can't be reset.
	PeakRSS *int64
	// PeakVRAM is the sum of the largest amounts of device memory the metered
	// sessions had allocated at a time since they were loaded, in bytes, weights
	// included, by the runtime's own count. It is nil without sessions on a
	// device, and where a provider keeps no count.
	PeakVRAM *int64
}

// A Meter measures from StartMeter to Stop. The memory mark belongs to the
// process, so meters must not overlap: starting a second one resets the mark of
// the first.
type Meter struct {
	start    time.Time
	cpu      time.Duration
	rss      bool // the mark was reset
	sessions []*Session
}

// StartMeter starts measuring. Sessions are needed for PeakVRAM only, and must
// stay open until Stop.
func StartMeter(sessions ...*Session) *Meter {
	return &Meter{sessions: sessions, rss: resetPeakRSS(), cpu: processCPU(), start: time.Now()}
}

// Stop returns what was used since the start. The meter keeps running.
func (m *Meter) Stop() Usage {
	u := Usage{Wall: time.Since(m.start), CPU: processCPU() - m.cpu}
	if m.rss {
		u.PeakRSS = peakRSS()
	}
	for _, s := range m.sessions {
		peak, err := s.peakMemory()
		if err != nil || peak == nil {
			u.PeakVRAM = nil // a sum without one of its parts would mislead
			break
		}
		if u.PeakVRAM == nil {
			u.PeakVRAM = new(int64)
		}
		*u.PeakVRAM += *peak
	}
	return u
}

// device returns the runtime's name of the provider's memory and the device's
// number; ok is false where the provider computes in main memory or isn't known
// to count.
func (p Provider) device() (memory string, id int, ok bool) {
	switch p.Name {
	case "cuda", "tensorrt":
		memory = "Cuda"
	case "webgpu":
		return "WebGPU_Buffer", 0, true
	case "directml":
		memory = "DML"
	default:
		return "", 0, false
	}
	if s, given := p.Options["device_id"]; given {
		n, err := strconv.Atoi(s)
		return memory, n, err == nil
	}
	return memory, 0, true
}

// peakMemory returns the high-water mark of the session's device allocator, or
// nil where there is none.
func (s *Session) peakMemory() (*int64, error) {
	memory, id, ok := s.provider.device()
	if !ok {
		return nil, nil
	}
	return s.allocatorPeak(memory, id)
}

func (s *Session) allocatorPeak(memory string, id int) (*int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.s == nil {
		return nil, ErrClosed
	}
	name := C.CString(memory)
	defer C.free(unsafe.Pointer(name))
	var text *C.char
	if err := failure(C.ep_peak(s.env.api, s.handle, name, C.int(id), &text)); err != nil {
		return nil, fmt.Errorf("ort: reading allocator statistics: %w", err)
	}
	if text == nil {
		return nil, nil
	}
	defer C.free(unsafe.Pointer(text))
	n, err := strconv.ParseInt(C.GoString(text), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("ort: reading allocator statistics: %w", err)
	}
	return &n, nil
}
