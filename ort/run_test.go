package ort

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"editpipe/tensor"
)

func TestRunOverridable(t *testing.T) {
	s := session(t, open(t), linear(), Options{})
	x := f32([]float32{1, 0, 0, 0, 1, 1}, 2, 3)
	stored := []float32{11, 22, 18, 30}
	fed := []float32{17, 17, 24, 24}
	w := f32([]float32{7, -3, 7, 2, 7, 2}, 3, 2)

	for _, c := range []struct {
		name string
		in   feed
		want []float32
	}{{"unfed", feed{"X": x}, stored}, {"fed", feed{"X": x, "W": w}, fed}, {"unfed again", feed{"X": x}, stored}} {
		out := feed{"Y": nil}
		if err := s.Run(t.Context(), c.in, out); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		wantF32(t, out["Y"], c.want, 2, 2)
	}
}

func TestRunInPlace(t *testing.T) {
	s := session(t, open(t), linear(), Options{})
	y := tensor.New(tensor.F32, 2, 2)
	data := unsafe.SliceData(y.Data)
	out := feed{"Y": y, "XW": nil}
	if err := s.Run(t.Context(), feed{"X": f32([]float32{1, 0, 0, 0, 1, 1}, 2, 3)}, out); err != nil {
		t.Fatal(err)
	}
	if out["Y"] != y || unsafe.SliceData(y.Data) != data {
		t.Error("the output tensor was replaced")
	}
	wantF32(t, y, []float32{11, 22, 18, 30}, 2, 2)
	wantF32(t, out["XW"], []float32{1, 2, 8, 10}, 2, 2)

	// The same memory again, for a batch of another size: refused, and not
	// written past.
	err := s.Run(t.Context(), feed{"X": f32([]float32{1, 0, 0}, 1, 3)}, feed{"Y": y})
	wantError(t, err, "ort: run")
}

// TestRunKinds passes every element type through, both ways of fetching,
// with shapes of any rank, no elements, and no dimensions.
func TestRunKinds(t *testing.T) {
	e := open(t)
	for dt, elem := range map[tensor.DType]uint64{
		tensor.F32: elemF32, tensor.F64: elemF64, tensor.F16: elemF16, tensor.BF16: elemBF16, tensor.I64: elemI64,
		tensor.I32: elemI32, tensor.I8: elemI8, tensor.U8: elemU8, tensor.Bool: elemBool,
	} {
		for _, shape := range [][]int{{}, {3}, {2, 3}, {0}, {2, 0, 3}} {
			t.Run(fmt.Sprintf("%s%v", dt, shape), func(t *testing.T) {
				var dims []int64
				for _, d := range shape {
					dims = append(dims, int64(d))
				}
				s := session(t, e, identity(elem, dims...), Options{})
				x := tensor.New(dt, shape...)
				for i := range x.Data {
					x.Data[i] = byte(i*7+1) & 1 // 0 and 1 are values of every type
				}
				place := tensor.New(dt, shape...)
				for _, out := range []feed{{"Y": nil}, {"Y": place}} {
					if err := s.Run(t.Context(), feed{"X": x}, out); err != nil {
						t.Fatal(err)
					}
					y := out["Y"]
					if y.DType != dt || !slices.Equal(y.Shape, shape) || !bytes.Equal(y.Data, x.Data) {
						t.Errorf("got %v %v %v, want %v", y.DType, y.Shape, y.Data, x.Data)
					}
				}
			})
		}
	}
}

// A run-time shape with no rows must reach kernels that compute.
func TestRunNoRows(t *testing.T) {
	s := session(t, open(t), linear(), Options{})
	out := feed{"Y": nil}
	if err := s.Run(t.Context(), feed{"X": tensor.New(tensor.F32, 0, 3)}, out); err != nil {
		t.Fatal(err)
	}
	wantF32(t, out["Y"], []float32{}, 0, 2)
}

// Half precision computes, and comes out at its own size.
func TestRunHalf(t *testing.T) {
	g := graph{
		inputs:  []value{{name: "X", elem: elemF16, dims: []int64{-1}}},
		outputs: []value{{name: "Y", elem: elemF16, dims: []int64{-1}}, {name: "S", elem: elemF16, dims: []int64{}}},
		nodes: []node{
			{op: "Add", in: []string{"X", "X"}, out: []string{"Y"}},
			{op: "ReduceMax", in: []string{"Y"}, out: []string{"S"}, attrs: [][]byte{attrInt("keepdims", 0)}},
		},
	}
	s := session(t, open(t), g, Options{})
	x, err := f32([]float32{0.5, -1, 2.25}, 3).Convert(tensor.F16)
	if err != nil {
		t.Fatal(err)
	}
	out := feed{"Y": nil, "S": nil}
	if err := s.Run(t.Context(), feed{"X": x}, out); err != nil {
		t.Fatal(err)
	}
	if out["Y"].DType != tensor.F16 || len(out["Y"].Data) != 6 {
		t.Errorf("got %v with %d bytes", out["Y"].DType, len(out["Y"].Data))
	}
	wantF32(t, out["Y"], []float32{1, -2, 4.5}, 3)
	wantF32(t, out["S"], []float32{4.5})
}

// Slices of a mapped file need not be aligned to their elements.
func TestRunUnaligned(t *testing.T) {
	s := session(t, open(t), linear(), Options{})
	x := f32([]float32{1, 0, 0}, 1, 3)
	shifted := make([]byte, len(x.Data)+1)
	copy(shifted[1:], x.Data)
	out := feed{"Y": nil}
	if err := s.Run(t.Context(), feed{"X": {DType: tensor.F32, Shape: []int{1, 3}, Data: shifted[1:]}}, out); err != nil {
		t.Fatal(err)
	}
	wantF32(t, out["Y"], []float32{11, 22}, 1, 2)
	err := s.Run(t.Context(), feed{"X": x}, feed{"Y": {DType: tensor.F32, Shape: []int{1, 2}, Data: make([]byte, 16)[1:9]}})
	wantError(t, err, `output "Y"`, "aligned")
}

func TestRunErrors(t *testing.T) {
	s := session(t, open(t), linear(), Options{})
	x := f32([]float32{1, 2, 3}, 1, 3)
	y := feed{"Y": nil}
	for name, c := range map[string]struct {
		in, out feed
		parts   []string
	}{
		"missing input":   {feed{}, y, []string{`input "X"`, "not fed", "float32 [-1 3]"}},
		"nil input":       {feed{"X": x, "W": nil}, y, []string{`input "W"`, "nil"}},
		"unknown input":   {feed{"X": x, "Q": x}, y, []string{`no input "Q"`, `"W", "X"`}},
		"constant fed":    {feed{"X": x, "B": x}, y, []string{`no input "B"`}},
		"unknown output":  {feed{"X": x}, feed{"Q": nil}, []string{`no output "Q"`, `"XW", "Y"`}},
		"no output":       {feed{"X": x}, feed{}, []string{"no output"}},
		"type":            {feed{"X": tensor.New(tensor.I64, 1, 3)}, y, []string{`input "X"`, "int64", "float32"}},
		"rank":            {feed{"X": f32([]float32{1, 2, 3}, 3)}, y, []string{`input "X"`, "1 dimensions"}},
		"dimension":       {feed{"X": f32([]float32{1, 2}, 1, 2)}, y, []string{`input "X"`, "[1 2]", "[-1 3]"}},
		"override shape":  {feed{"X": x, "W": tensor.New(tensor.F32, 2, 3)}, y, []string{`input "W"`, "[2 3]", "[3 2]"}},
		"short data":      {feed{"X": {DType: tensor.F32, Shape: []int{1, 3}, Data: make([]byte, 8)}}, y, []string{`input "X"`, "12 bytes", "8"}},
		"negative":        {feed{"X": {DType: tensor.F32, Shape: []int{-1, 3}}}, y, []string{`input "X"`, "negative"}},
		"output type":     {feed{"X": x}, feed{"Y": tensor.New(tensor.F16, 1, 2)}, []string{`output "Y"`, "float16"}},
		"output rank":     {feed{"X": x}, feed{"Y": tensor.New(tensor.F32, 2)}, []string{`output "Y"`, "dimensions"}},
		"output too big":  {feed{"X": x}, feed{"Y": tensor.New(tensor.F32, 2, 2)}, []string{"run"}},
		"zero rank input": {feed{"X": tensor.New(tensor.F32)}, y, []string{`input "X"`, "0 dimensions"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, s.Run(t.Context(), c.in, c.out), append(c.parts, "ort: run: ")...)
			if c.out["Y"] != nil && c.out["Y"] == y["Y"] {
				t.Error("a failed run stored an output")
			}
		})
	}
	out := feed{"Y": nil}
	if err := s.Run(t.Context(), feed{"X": x}, out); err != nil {
		t.Fatalf("after the errors: %v", err)
	}
	wantF32(t, out["Y"], []float32{32, 48}, 1, 2)
}

// Strings load, are described, and are refused by name.
func TestRunUnsupported(t *testing.T) {
	g := identity(elemStr, 1)
	g.inputs = append(g.inputs, value{name: "A", elem: elemF32, noRank: true})
	g.outputs = append(g.outputs, value{name: "C", elem: elemF32, noRank: true})
	g.nodes = append(g.nodes, node{op: "Neg", in: []string{"A"}, out: []string{"C"}})
	s := session(t, open(t), g, Options{})
	if got := s.Inputs()[0].String(); got != "a tensor of strings" {
		t.Errorf("got %q", got)
	}
	if v := s.Inputs()[1]; v.Shape != nil || v.String() != "float32 of any shape" {
		t.Errorf("unknown rank: %v %v", v.Shape, v)
	}
	a := f32([]float32{1, 2}, 1, 2)
	wantError(t, s.Run(t.Context(), feed{"X": a, "A": a}, feed{"C": nil}), `input "X"`, "strings")
}

// A fault the runtime finds while computing is returned, with its own words.
func TestRunKernelError(t *testing.T) {
	g := graph{
		inputs:  []value{{name: "A", elem: elemF32, dims: []int64{-1}}, {name: "B", elem: elemF32, dims: []int64{-1}}},
		outputs: []value{{name: "Y", elem: elemF32, dims: []int64{-1}}},
		nodes:   []node{{op: "Add", in: []string{"A", "B"}, out: []string{"Y"}}},
	}
	s := session(t, open(t), g, Options{})
	out := feed{"Y": nil}
	wantError(t, s.Run(t.Context(), feed{"A": tensor.New(tensor.F32, 2), "B": tensor.New(tensor.F32, 3)}, out), "Add")
	if out["Y"] != nil {
		t.Error("a failed run stored an output")
	}
}

// Runs on one session at once, with different overrides, keep apart; Close
// waits for them.
func TestRunConcurrent(t *testing.T) {
	e := open(t)
	s, err := e.NewSession(t.Context(), linear().model(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const workers, rounds = 8, 50
	var wg sync.WaitGroup
	var first sync.WaitGroup
	first.Add(workers)
	for w := range workers {
		wg.Go(func() {
			x := f32([]float32{1, 0, 0}, 1, 3)
			v := float32(w)
			override := f32([]float32{v, -v, 0, 0, 0, 0}, 3, 2)
			for round := range rounds {
				out := feed{"Y": nil}
				err := s.Run(t.Context(), feed{"X": x, "W": override}, out)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
				} else if got := out["Y"].Float32s(); got[0] != 10+v || got[1] != 20-v {
					t.Errorf("worker %d: got %v", w, got)
				}
				if round == 0 {
					first.Done()
				}
			}
		})
	}
	first.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestRunCancel(t *testing.T) {
	s := session(t, open(t), loop(64), Options{Threads: 1})
	in := loopFeed(64, 1<<40)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	out := feed{"Z": nil}
	start := time.Now()
	err := s.Run(ctx, in, out)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	// The loop would take months; a second is a hundred thousand nodes.
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v to stop", took)
	}
	if out["Z"] != nil {
		t.Error("a cancelled run stored an output")
	}
	// The session is as good as before.
	in = loopFeed(64, 3)
	if err := s.Run(t.Context(), in, out); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx, in, out); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run with a done context: %v", err)
	}
}

// BenchmarkRun measures what a call costs beside the kernels: the model's own
// arithmetic is six multiplications.
func BenchmarkRun(b *testing.B) {
	s := session(b, open(b), linear(), Options{Threads: 1})
	x := f32([]float32{1, 0, 0}, 1, 3)
	for name, out := range map[string]feed{"allocated": {"Y": nil}, "in place": {"Y": tensor.New(tensor.F32, 1, 2)}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				call := feed{"Y": out["Y"]}
				if err := s.Run(context.Background(), feed{"X": x}, call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("cancellable", func(b *testing.B) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for b.Loop() {
			if err := s.Run(ctx, feed{"X": x}, feed{"Y": nil}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
