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

	"editpipe/tensor"
)

// step is S' = 0.5 S + G with T, the sum of S', for a state of any length.
func step() graph {
	state := []int64{-1}
	return graph{
		inputs:  []value{{name: "S", elem: elemF32, dims: state}, {name: "G", elem: elemF32, dims: []int64{}}},
		outputs: []value{{name: "T", elem: elemF32, dims: []int64{}}, {name: "S'", elem: elemF32, dims: state}},
		weights: []weight{{"half", f32([]float32{0.5}, 1)}},
		nodes: []node{
			{op: "Mul", in: []string{"S", "half"}, out: []string{"H"}},
			{op: "Add", in: []string{"H", "G"}, out: []string{"S'"}},
			{op: "ReduceSum", in: []string{"S'"}, out: []string{"T"}, attrs: [][]byte{attrInt("keepdims", 0)}},
		},
	}
}

// keepOne runs s and returns the one output it is to keep.
func keepOne(t testing.TB, s *Session, in feed, held map[string]*Resident, out feed, name string) *Resident {
	t.Helper()
	kept, err := s.RunResident(t.Context(), in, held, out, name)
	if err != nil {
		t.Fatal(err)
	}
	if len(kept) != 1 || kept[name] == nil {
		t.Fatalf("kept %v, want %q", kept, name)
	}
	return kept[name]
}

func closeResident(t testing.TB, r *Resident) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// checkLoop runs step n times with the state held, and compares state and sum
// with a loop in Go: the numbers are small multiples of powers of two, so all
// are exact.
func checkLoop(t *testing.T, s *Session) {
	t.Helper()
	const steps = 8
	want := []float32{1024, -512, 0, 256}
	state := keepOne(t, s, feed{"S": f32(slices.Clone(want), 4), "G": f32([]float32{2})}, nil, nil, "S'")
	defer func() { closeResident(t, state) }()
	for i := range steps {
		if i > 0 {
			out := feed{"T": nil}
			next := keepOne(t, s, feed{"G": f32([]float32{2})}, map[string]*Resident{"S": state}, out, "S'")
			closeResident(t, state)
			state = next
			var sum float32
			for _, v := range want {
				sum += v/2 + 2
			}
			wantF32(t, out["T"], []float32{sum})
		}
		for j := range want {
			want[j] = want[j]/2 + 2
		}
		if i%3 == 0 {
			got, err := state.Tensor(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantF32(t, got, want, 4)
		}
	}
	if state.DType() != tensor.F32 || !slices.Equal(state.Shape(), []int{4}) {
		t.Errorf("resident is %s %v", state.DType(), state.Shape())
	}
	// Without keeping: a held state and outputs in main memory, one in place.
	place := tensor.New(tensor.F32, 4)
	out := feed{"S'": place, "T": nil}
	if _, err := s.RunResident(t.Context(), feed{"G": f32([]float32{0})}, map[string]*Resident{"S": state}, out); err != nil {
		t.Fatal(err)
	}
	var sum float32
	for j := range want {
		want[j] /= 2
		sum += want[j]
	}
	wantF32(t, place, want, 4)
	wantF32(t, out["T"], []float32{sum})
	// Fetching one output in place while keeping the other.
	total := tensor.New(tensor.F32)
	closeResident(t, keepOne(t, s, feed{"G": f32([]float32{0})}, map[string]*Resident{"S": state}, feed{"T": total}, "S'"))
	wantF32(t, total, []float32{sum})
}

func TestResidentLoop(t *testing.T) {
	checkLoop(t, session(t, open(t), step(), Options{}))
}

// A resident is the runtime's own memory: writing to what was fed doesn't
// change it, whatever the runtime does with a node that computes nothing.
func TestResidentKinds(t *testing.T) {
	e := open(t)
	for dt, elem := range map[tensor.DType]uint64{
		tensor.F32: elemF32, tensor.F64: elemF64, tensor.F16: elemF16, tensor.BF16: elemBF16, tensor.I64: elemI64,
		tensor.I32: elemI32, tensor.I8: elemI8, tensor.U8: elemU8, tensor.Bool: elemBool,
	} {
		for _, shape := range [][]int{{}, {2, 3}, {2, 0, 3}} {
			t.Run(fmt.Sprintf("%s%v", dt, shape), func(t *testing.T) {
				var dims []int64
				for _, d := range shape {
					dims = append(dims, int64(d))
				}
				s := session(t, e, identity(elem, dims...), Options{})
				x := tensor.New(dt, shape...)
				for i := range x.Data {
					x.Data[i] = byte(i*7+1) & 1
				}
				want := x.Clone()
				first := keepOne(t, s, feed{"X": x}, nil, nil, "Y")
				defer closeResident(t, first)
				clear(x.Data)
				second := keepOne(t, s, nil, map[string]*Resident{"X": first}, nil, "Y")
				defer closeResident(t, second)
				y, err := second.Tensor(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if y.DType != dt || !slices.Equal(y.Shape, shape) || !bytes.Equal(y.Data, want.Data) {
					t.Errorf("got %v %v %v, want %v", y.DType, y.Shape, y.Data, want.Data)
				}
			})
		}
	}
}

// What one session computed feeds another, also in place of an initializer.
func TestResidentAcrossSessions(t *testing.T) {
	e := open(t)
	maker := session(t, e, identity(elemF32, 3, 2), Options{})
	w := keepOne(t, maker, feed{"X": f32([]float32{7, -3, 7, 2, 7, 2}, 3, 2)}, nil, nil, "Y")
	defer closeResident(t, w)
	s := session(t, e, linear(), Options{})
	x := f32([]float32{1, 0, 0, 0, 1, 1}, 2, 3)
	for name, c := range map[string]struct {
		held map[string]*Resident
		want []float32
	}{"held": {map[string]*Resident{"W": w}, []float32{17, 17, 24, 24}}, "stored": {nil, []float32{11, 22, 18, 30}}} {
		out := feed{"Y": nil}
		if _, err := s.RunResident(t.Context(), feed{"X": x}, c.held, out); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantF32(t, out["Y"], c.want, 2, 2)
	}
}

func TestResidentRefuses(t *testing.T) {
	e := open(t)
	s := session(t, e, step(), Options{})
	g := f32([]float32{2})
	r := keepOne(t, s, feed{"S": f32([]float32{1, 2}, 2), "G": g}, nil, nil, "S'")
	defer closeResident(t, r)
	total := keepOne(t, s, feed{"S": f32([]float32{1, 2}, 2), "G": g}, nil, nil, "T")
	defer closeResident(t, total)
	ints := session(t, e, identity(elemI64, 2), Options{})
	whole := keepOne(t, ints, feed{"X": tensor.FromInt64s([]int64{1, 2}, 2)}, nil, nil, "Y")
	defer closeResident(t, whole)
	gone := keepOne(t, s, feed{"G": g}, map[string]*Resident{"S": r}, nil, "S'")
	closeResident(t, gone)
	// As if it lay on another provider, which this machine need not have.
	foreign := &Resident{session: &Session{provider: Provider{Name: "cuda"}}, dtype: tensor.F32, shape: []int{2}}

	type held = map[string]*Resident
	for name, c := range map[string]struct {
		in   feed
		held held
		out  feed
		keep []string
		want []string
	}{
		"unknown input":    {feed{"G": g}, held{"S": r, "no": r}, nil, []string{"T"}, []string{`no input "no"`}},
		"nil":              {feed{"G": g, "S": f32([]float32{1}, 1)}, held{"S": nil}, nil, []string{"T"}, []string{`"S" is nil`}},
		"missing":          {feed{"G": g}, nil, nil, []string{"T"}, []string{`"S"`, "not fed"}},
		"fed twice":        {feed{"G": g, "S": f32([]float32{1}, 1)}, held{"S": r}, nil, []string{"T"}, []string{`"S" is fed twice`}},
		"wrong type":       {feed{"G": g}, held{"S": whole}, nil, []string{"T"}, []string{`"S"`, "int64", "float32"}},
		"wrong rank":       {feed{"G": g}, held{"S": total}, nil, []string{"T"}, []string{`"S"`, "dimensions"}},
		"closed":           {feed{"G": g}, held{"S": gone}, nil, []string{"T"}, []string{`"S"`, "closed"}},
		"another provider": {feed{"G": g}, held{"S": foreign}, nil, []string{"T"}, []string{`"S"`, "cuda:use_tf32=0", "cpu", "Tensor"}},
		"unknown output":   {feed{"G": g}, held{"S": r}, nil, []string{"no"}, []string{`no output "no"`}},
		"kept twice":       {feed{"G": g}, held{"S": r}, nil, []string{"T", "T"}, []string{`"T" is asked for twice`}},
		"kept and fetched": {feed{"G": g}, held{"S": r}, feed{"T": nil}, []string{"T"}, []string{`"T" is asked for twice`}},
		"nothing":          {feed{"G": g}, held{"S": r}, nil, nil, []string{"no output"}},
	} {
		t.Run(name, func(t *testing.T) {
			kept, err := s.RunResident(t.Context(), c.in, c.held, c.out, c.keep...)
			wantError(t, err, append(c.want, "ort: run")...)
			if kept != nil {
				t.Errorf("kept %v", kept)
			}
		})
	}
	if _, err := gone.Tensor(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Tensor of a closed resident: got %v", err)
	}

	through := identity(elemF32, 2)
	through.outputs = append(through.outputs, value{name: "X", elem: elemF32, dims: []int64{2}})
	p := session(t, e, through, Options{})
	_, err := p.RunResident(t.Context(), feed{"X": f32([]float32{1, 2}, 2)}, nil, nil, "X")
	wantError(t, err, `output "X" is an input of the model`)
}

// A failing run keeps nothing, so that its session can be closed.
func TestResidentFailedRun(t *testing.T) {
	s := session(t, open(t), linear(), Options{})
	kept, err := s.RunResident(t.Context(), feed{"X": tensor.New(tensor.F32, 2, 3)}, nil, feed{"Y": tensor.New(tensor.F32, 5, 2)}, "XW")
	wantError(t, err, "ort: run")
	if kept != nil || s.residents.Load() != 0 {
		t.Errorf("kept %v, %d counted", kept, s.residents.Load())
	}
}

func TestResidentClose(t *testing.T) {
	e, err := Open(t.Context(), library(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.NewSession(t.Context(), identity(elemF32, 1).model(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := keepOne(t, s, feed{"X": f32([]float32{3}, 1)}, nil, nil, "Y")
	wantError(t, s.Close(), "1 values", "close them first")
	wantError(t, e.Close(), "1 sessions are still open")
	if err := s.Run(t.Context(), feed{"X": f32([]float32{3}, 1)}, feed{"Y": nil}); err != nil {
		t.Errorf("after a refused Close: %v", err)
	}
	for range 2 {
		closeResident(t, r)
	}
	if err := errors.Join(s.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}

func TestResidentCancelled(t *testing.T) {
	s := session(t, open(t), loop(64), Options{Threads: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	kept, err := s.RunResident(ctx, loopFeed(64, 1<<40), nil, nil, "Z") // years
	if !errors.Is(err, context.DeadlineExceeded) || kept != nil {
		t.Errorf("got %v, %v after %v", kept, err, time.Since(start))
	}
	closeResident(t, keepOne(t, s, loopFeed(64, 1), nil, nil, "Z")) // the session still works
}

// Close waits for the calls that use the value, whatever order they come in.
func TestResidentConcurrent(t *testing.T) {
	s := session(t, open(t), step(), Options{Threads: 1})
	const length = 1 << 16
	r := keepOne(t, s, feed{"S": tensor.New(tensor.F32, length), "G": f32([]float32{1})}, nil, nil, "S'")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				out := feed{"T": nil}
				kept, err := s.RunResident(t.Context(), feed{"G": f32([]float32{0})}, map[string]*Resident{"S": r}, out, "S'")
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if got := out["T"].Float32s()[0]; got != length/2 {
					t.Errorf("sum %v, want %v", got, length/2)
				}
				closeResident(t, kept["S'"])
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	closeResident(t, r)
	all.Wait()

	r = keepOne(t, s, feed{"S": tensor.New(tensor.F32, 1), "G": f32([]float32{1})}, nil, nil, "S'")
	if err := r.borrow(); err != nil { // as a call does
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- r.Close() }()
	select {
	case <-closed:
		t.Error("Close did not wait for a call in progress")
	case <-time.After(20 * time.Millisecond):
		r.users.Done()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}

// Kept values lie in the runtime's own memory and are counted there; closed
// ones are given back, so that a loop doesn't grow.
func TestResidentMemory(t *testing.T) {
	const length, many, bytes = 1 << 18, 16, 4 << 18
	s := session(t, open(t), step(), Options{Threads: 1})
	in := feed{"S": tensor.New(tensor.F32, length), "G": f32([]float32{1})}
	peak := func() int64 {
		t.Helper()
		p, err := s.allocatorPeak("Cpu", 0)
		if err != nil || p == nil {
			t.Fatal(p, err)
		}
		return *p
	}
	state := keepOne(t, s, in, nil, nil, "S'")
	for range many {
		next := keepOne(t, s, feed{"G": in["G"]}, map[string]*Resident{"S": state}, nil, "S'")
		closeResident(t, state)
		state = next
	}
	closeResident(t, state)
	if p := peak(); p < 2*bytes || p > 5*bytes {
		t.Errorf("a loop with a state of %d bytes peaks at %d", bytes, p)
	}
	for range many {
		defer closeResident(t, keepOne(t, s, in, nil, nil, "S'"))
	}
	if p := peak(); p < many*bytes {
		t.Errorf("%d values of %d bytes are kept, the peak is %d", many, bytes, p)
	}
}

// BenchmarkState makes 100 steps of a 4 MB state, S' = 0.5 S + G, fetching
// nothing but the last state.
func BenchmarkState(b *testing.B) { benchmarkState(b, open(b), Options{Threads: 1}) }

func benchmarkState(b *testing.B, e *Env, o Options) {
	const length, steps = 1 << 20, 100
	update := step()
	update.nodes, update.outputs = update.nodes[:2], update.outputs[1:] // without the sum
	s := session(b, e, update, o)
	g := f32([]float32{1})
	b.Run("host", func(b *testing.B) {
		for b.Loop() {
			state := tensor.New(tensor.F32, length)
			for range steps {
				out := feed{"S'": nil}
				if err := s.Run(b.Context(), feed{"S": state, "G": g}, out); err != nil {
					b.Fatal(err)
				}
				state = out["S'"]
			}
		}
	})
	b.Run("inplace", func(b *testing.B) {
		for b.Loop() {
			state, next := tensor.New(tensor.F32, length), tensor.New(tensor.F32, length)
			for range steps {
				if err := s.Run(b.Context(), feed{"S": state, "G": g}, feed{"S'": next}); err != nil {
					b.Fatal(err)
				}
				state, next = next, state
			}
		}
	})
	b.Run("resident", func(b *testing.B) {
		for b.Loop() {
			state := keepOne(b, s, feed{"S": tensor.New(tensor.F32, length), "G": g}, nil, nil, "S'")
			for range steps - 1 {
				next := keepOne(b, s, feed{"G": g}, map[string]*Resident{"S": state}, nil, "S'")
				closeResident(b, state)
				state = next
			}
			if _, err := state.Tensor(b.Context()); err != nil {
				b.Fatal(err)
			}
			closeResident(b, state)
		}
	})
}
