//go:build webgpu

package ort

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"editpipe/tensor"
)

// driverVar names the Vulkan driver to use; set, the provider has to work.
const driverVar = "VK_ICD_FILENAMES"

// gpuTolerance bounds the difference of two float32 evaluations of the block
// below: sums of 64 products of numbers near 1, in another order.
const gpuTolerance = 1e-4

// webgpu opens the provider, or skips where this machine has no driver for it.
func webgpu(t testing.TB) (*Env, Provider) {
	t.Helper()
	e := open(t)
	p := Provider{Name: "webgpu"}
	if err := e.Probe(t.Context(), p); err != nil {
		if os.Getenv(driverVar) != "" {
			t.Fatal(err)
		}
		t.Skipf("no usable Vulkan loader or driver (docs/providers.md says how to install one, %s names it): %v", driverVar, err)
	}
	return e, p
}

// block is a small transformer block without attention: token embedding,
// layer normalisation, two overridable matrices with a non-linearity between
// them, softmax. The activation is an output too.
func block() (graph, feed) {
	const vocab, width, inner = 50, 64, 128
	r := rand.New(rand.NewPCG(1, 2))
	random := func(scale float64, shape ...int) *tensor.Tensor {
		t := tensor.New(tensor.F32, shape...)
		for i := range t.Float32s() {
			t.Float32s()[i] = float32(scale * r.NormFloat64())
		}
		return t
	}
	ones := tensor.New(tensor.F32, width)
	for i := range ones.Float32s() {
		ones.Float32s()[i] = 1
	}
	g := graph{
		inputs: []value{
			{name: "ids", elem: elemI64, dims: []int64{-1}},
			{name: "up", elem: elemF32, dims: []int64{width, inner}},
			{name: "down", elem: elemF32, dims: []int64{inner, width}},
		},
		outputs: []value{{name: "p", elem: elemF32, dims: []int64{-1, width}}, {name: "act", elem: elemF32, dims: []int64{-1, inner}}},
		weights: []weight{
			{"emb", random(1, vocab, width)}, {"scale", ones},
			{"up", random(0.1, width, inner)}, {"down", random(0.1, inner, width)},
		},
		nodes: []node{
			{op: "Gather", in: []string{"emb", "ids"}, out: []string{"x"}},
			{op: "LayerNormalization", in: []string{"x", "scale"}, out: []string{"n"}},
			{op: "MatMul", in: []string{"n", "up"}, out: []string{"h"}},
			{op: "Tanh", in: []string{"h"}, out: []string{"act"}},
			{op: "MatMul", in: []string{"act", "down"}, out: []string{"d"}},
			{op: "Add", in: []string{"x", "d"}, out: []string{"y"}},
			{op: "Softmax", in: []string{"y"}, out: []string{"p"}},
		},
	}
	override := feed{"down": random(0.1, inner, width)}
	return g, override
}

func TestWebGPU(t *testing.T) {
	e, p := webgpu(t)
	g, override := block()
	cpu := session(t, e, g, Options{})
	// NoFallback: with one node on the CPU the session would be refused.
	gpu := session(t, e, g, Options{Provider: p, NoFallback: true})
	if len(gpu.Elsewhere()) != 0 {
		t.Errorf("nodes elsewhere: %v", gpu.Elsewhere())
	}
	meter := StartMeter(gpu)
	for name, extra := range map[string]feed{"stored": nil, "overridden": override} {
		t.Run(name, func(t *testing.T) {
			in := feed{"ids": tensor.FromInt64s([]int64{3, 1, 4, 1, 5, 9, 2, 6}, 8)}
			for name, w := range extra {
				in[name] = w
			}
			want, got := feed{"p": nil, "act": nil}, feed{"p": nil, "act": tensor.New(tensor.F32, 8, 128)}
			if err := cpu.Run(t.Context(), in, want); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				start := time.Now()
				if err := gpu.Run(t.Context(), in, got); err != nil {
					t.Fatal(err)
				}
				t.Logf("run took %v", time.Since(start).Round(time.Microsecond))
			}
			for out := range want {
				a, b := want[out].Float32s(), got[out].Float32s()
				if !slices.Equal(want[out].Shape, got[out].Shape) {
					t.Fatalf("%s: shape %v, want %v", out, got[out].Shape, want[out].Shape)
				}
				worst := 0.0
				for i := range a {
					worst = max(worst, math.Abs(float64(a[i]-b[i])))
				}
				t.Logf("%s: largest difference %.2g", out, worst)
				if !(worst <= gpuTolerance) {
					t.Errorf("%s: differs from the CPU by %g", out, worst)
				}
			}
		})
	}
	if u := meter.Stop(); u.PeakVRAM != nil {
		t.Logf("device memory %d bytes", *u.PeakVRAM)
	} else {
		t.Log("device memory not counted by the provider")
	}
}

// A graph with a node that only the CPU can run is refused with NoFallback and
// accounted for without it; a graph with nothing else is refused in any case.
func TestWebGPUElsewhere(t *testing.T) {
	e, p := webgpu(t)
	g := graph{
		inputs:  []value{{name: "X", elem: elemF32, dims: []int64{-1}}, {name: "D", elem: elemF64, dims: []int64{-1}}},
		outputs: []value{{name: "Y", elem: elemF32, dims: []int64{-1}}, {name: "E", elem: elemF64, dims: []int64{-1}}},
		nodes: []node{
			{op: "Tanh", in: []string{"X"}, out: []string{"Y"}},
			{op: "Abs", in: []string{"D"}, out: []string{"E"}}, // no 64-bit floats on the device
		},
	}
	s := session(t, e, g, Options{Provider: p})
	if got := s.Elsewhere(); len(got) != 1 || got[0].Op != "Abs" || got[0].Provider != cpuProvider {
		t.Errorf("elsewhere: %+v", got)
	}
	_, err := e.NewSession(t.Context(), g.model(), Options{Provider: p, NoFallback: true})
	wantError(t, err, "webgpu", "CPU")

	var refused *ProviderError
	only := identity(elemF64, 2)
	only.nodes[0].op = "Abs"
	if _, err := e.NewSession(t.Context(), only.model(), Options{Provider: p}); !errors.As(err, &refused) {
		t.Errorf("a model of which the provider takes no node: got %v", err)
	}
}

// The state of a loop stays in the device's memory from run to run, and feeds
// another session there; the CPU doesn't get to see it.
func TestWebGPUResident(t *testing.T) {
	e, p := webgpu(t)
	gpu := session(t, e, step(), Options{Provider: p, NoFallback: true})
	checkLoop(t, gpu)

	g := f32([]float32{2})
	state := keepOne(t, gpu, feed{"S": f32([]float32{4, 8, 16}, 3), "G": g}, nil, nil, "S'")
	defer closeResident(t, state)
	if state.host {
		t.Error("the kept state lies in main memory")
	}
	other := session(t, e, step(), Options{Provider: p, NoFallback: true})
	out := feed{"S'": nil}
	if _, err := other.RunResident(t.Context(), feed{"G": g}, map[string]*Resident{"S": state}, out); err != nil {
		t.Fatal(err)
	}
	wantF32(t, out["S'"], []float32{4, 5, 7}, 3)

	cpu := session(t, e, step(), Options{})
	_, err := cpu.RunResident(t.Context(), feed{"G": g}, map[string]*Resident{"S": state}, out)
	wantError(t, err, `"S"`, "webgpu", "cpu", "Tensor")
	wantError(t, gpu.Close(), "1 values")
}

// Outputs of nodes the provider leaves to the CPU are kept there, in any type,
// and feed a node on either side.
func TestWebGPUResidentElsewhere(t *testing.T) {
	e, p := webgpu(t)
	g := graph{
		inputs:  []value{{name: "X", elem: elemF32, dims: []int64{-1}}, {name: "D", elem: elemF64, dims: []int64{-1}}},
		outputs: []value{{name: "Y", elem: elemF32, dims: []int64{-1}}, {name: "E", elem: elemF64, dims: []int64{-1}}, {name: "F", elem: elemF32, dims: []int64{-1}}},
		nodes: []node{
			{op: "Abs", in: []string{"X"}, out: []string{"Y"}},
			{op: "Abs", in: []string{"D"}, out: []string{"E"}},
			{op: "Cast", in: []string{"E"}, out: []string{"F"}, attrs: [][]byte{attrInt("to", elemF32)}},
		},
	}
	s := session(t, e, g, Options{Provider: p})
	d := f32([]float32{-3, 4}, 2)
	wide, err := d.Convert(tensor.F64)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := s.RunResident(t.Context(), feed{"X": f32([]float32{-1, 2}, 2), "D": wide}, nil, nil, "Y", "E", "F")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]float32{"Y": {1, 2}, "E": {3, 4}, "F": {3, 4}} {
		defer closeResident(t, kept[name])
		got, err := kept[name].Tensor(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantF32(t, got, want, 2)
		t.Logf("%s: in main memory: %v", name, kept[name].host)
	}
	if kept["Y"].host || !kept["E"].host {
		t.Errorf("in main memory: Y %v, E %v", kept["Y"].host, kept["E"].host)
	}
	// F, computed on the CPU, feeds a node on the device; Y, on the device, is fetched.
	out := feed{"Y": nil, "E": nil}
	if _, err := s.RunResident(t.Context(), nil, map[string]*Resident{"X": kept["F"], "D": kept["E"]}, out); err != nil {
		t.Fatal(err)
	}
	wantF32(t, out["Y"], []float32{3, 4}, 2)
	wantF32(t, out["E"], []float32{3, 4}, 2)
}

// Sessions loaded, run and closed side by side share the device.
func TestWebGPUSessions(t *testing.T) {
	e, p := webgpu(t)
	model := step().model()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 3 {
				s, err := e.NewSession(t.Context(), model, Options{Provider: p, Threads: 1})
				if err != nil {
					t.Error(err)
					return
				}
				for range 30 {
					out := feed{"S'": nil}
					if err := s.Run(t.Context(), feed{"S": f32([]float32{4, 8, 16}, 3), "G": f32([]float32{2})}, out); err != nil {
						t.Error(err)
					} else if got := out["S'"].Float32s(); !slices.Equal(got, []float32{4, 6, 10}) {
						t.Errorf("got %v", got)
					}
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// Runs, reads and closes from several goroutines at a time.
func TestWebGPUResidentConcurrent(t *testing.T) {
	e, p := webgpu(t)
	s := session(t, e, step(), Options{Provider: p})
	g := f32([]float32{2})
	state := keepOne(t, s, feed{"S": f32([]float32{4, 8, 16}, 3), "G": g}, nil, nil, "S'")
	defer closeResident(t, state)
	held := map[string]*Resident{"S": state}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 10 {
				out := feed{"S'": nil}
				if _, err := s.RunResident(t.Context(), feed{"G": g}, held, out); err != nil {
					t.Error(err)
					return
				}
				kept, err := s.RunResident(t.Context(), feed{"G": g}, held, nil, "S'")
				if err != nil {
					t.Error(err)
					return
				}
				got, err := kept["S'"].Tensor(t.Context())
				if err != nil || !slices.Equal(got.Float32s(), []float32{4, 5, 7}) || !slices.Equal(out["S'"].Float32s(), []float32{4, 5, 7}) {
					t.Errorf("got %v, %v, %v", got, out["S'"], err)
				}
				closeResident(t, kept["S'"])
			}
		})
	}
	all.Wait()
}

func BenchmarkWebGPUState(b *testing.B) {
	e, p := webgpu(b)
	benchmarkState(b, e, Options{Provider: p, NoFallback: true})
}
