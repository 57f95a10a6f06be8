package onnx_test

import (
	"runtime"
	"testing"

	"editpipe/onnx"
)

// allocFactor bounds the memory that reading may take as a multiple of the
// input: two bytes of file (an empty node) become one Node of about 160 bytes
// and a few map entries.
const (
	allocFactor = 1000
	allocBase   = 1 << 20
)

// readDamaged reads a damaged model and uses whatever came out of it. Only
// errors are allowed.
func readDamaged(t *testing.T, data []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := onnx.Parse(data, ".")
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > uint64(allocBase+allocFactor*len(data)) {
		t.Errorf("reading %d bytes allocated %d", len(data), used)
	}
	if err != nil {
		return
	}
	for _, init := range m.Graph.Initializers {
		_, _ = init.Value() // must not panic; either outcome is fine
	}
	m.Prune()
	out, err := m.Bytes()
	if err != nil {
		t.Errorf("a model that was accepted cannot be written: %v", err)
	}
	if _, err := onnx.Parse(out, ""); err != nil && len(m.ExternalFiles()) == 0 {
		t.Errorf("a model that was accepted is refused once written: %v", err)
	}
}

func TestTruncations(t *testing.T) {
	data := handmade()
	for n := range data {
		readDamaged(t, data[:n])
	}
}

func TestFlips(t *testing.T) {
	data := handmade()
	damaged := make([]byte, len(data))
	for i := range data {
		for _, mask := range []byte{0x01, 0x08, 0x80, 0xff} {
			copy(damaged, data)
			damaged[i] ^= mask
			readDamaged(t, damaged)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(handmade())
	f.Fuzz(func(t *testing.T, data []byte) { readDamaged(t, data) })
}
