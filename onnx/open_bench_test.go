package onnx_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"editpipe/onnx"
	"editpipe/tensor"
)

// BenchmarkOpen reads a generated model of 48 weights of 4 MiB (192 MiB). The
// bytes allocated per operation stay far below the size of one weight: the
// weights are mapped, not copied.
func BenchmarkOpen(b *testing.B) {
	m := onnx.New(8, 17)
	bld := m.Builder()
	x := bld.Input("x", onnx.Float, onnx.Fixed(1, 1024))
	shared := make([]float32, 1<<20)
	for i := range 48 {
		w := bld.Initializer(fmt.Sprintf("layer.%d.weight", i), tensor.FromFloat32s(shared, 1024, 1024))
		x = bld.Op("Relu", []string{bld.Op("MatMul", []string{x, w})})
	}
	bld.Output(x, "y", onnx.Float, onnx.Fixed(1, 1024))
	for name, o := range map[string]onnx.SaveOptions{"inline": {}, "external": {ExternalOver: 1024}} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "m.onnx")
			if err := m.Save(path, o); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(48 << 22)
			b.ReportAllocs()
			for b.Loop() {
				m, err := onnx.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				for _, t := range m.Graph.Initializers {
					if _, err := t.Value(); err != nil {
						b.Fatal(err)
					}
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
