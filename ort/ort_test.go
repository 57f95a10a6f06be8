package ort

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"editpipe/tensor"
)

// library finds the real runtime. Tests of this package are about nothing
// else, so they are skipped without it, unless EDITPIPE_REQUIRE_ORT=1 says that
// it has been installed.
func library(t testing.TB) Library {
	t.Helper()
	lib, err := Find("")
	if err == nil {
		return lib
	}
	var missing *MissingError
	if errors.As(err, &missing) && os.Getenv("EDITPIPE_REQUIRE_ORT") != "1" {
		t.Skip(err)
	}
	t.Fatal(err)
	return Library{}
}

func open(t testing.TB) *Env {
	t.Helper()
	e, err := Open(t.Context(), library(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func session(t testing.TB, e *Env, g graph, o Options) *Session {
	t.Helper()
	s, err := e.NewSession(t.Context(), g.model(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type feed = map[string]*tensor.Tensor

func f32(v []float32, shape ...int) *tensor.Tensor { return tensor.FromFloat32s(v, shape...) }

func wantF32(t *testing.T, got *tensor.Tensor, want []float32, shape ...int) {
	t.Helper()
	if got == nil {
		t.Fatal("no tensor")
	}
	if !slices.Equal(got.Shape, shape) || !slices.Equal(got.Float32s(), want) {
		t.Fatalf("got %v %v, want %v %v", got.Shape, got.Float32s(), shape, want)
	}
}

// wantError checks that err is there and names all of parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that names %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %q", err, part)
		}
	}
}

func TestOpenTwice(t *testing.T) {
	lib := library(t)
	e, err := Open(t.Context(), lib)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), lib); !errors.Is(err, ErrOpen) {
		t.Errorf("second Open: got %v, want ErrOpen", err)
	}
	s, err := e.NewSession(t.Context(), linear().model(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, e.Close(), "1 sessions are still open")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Run(t.Context(), nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Run on a closed session: got %v, want ErrClosed", err)
	}
	if _, err := e.NewSession(t.Context(), linear().model(), Options{}); !errors.Is(err, ErrClosed) {
		t.Errorf("NewSession on a closed environment: got %v, want ErrClosed", err)
	}
	e = open(t) // a closed environment can be opened again
	if e.Version() == "" || e.BuildInfo() == "" {
		t.Errorf("version %q, build %q", e.Version(), e.BuildInfo())
	}
	providers, err := e.Compiled()
	if err != nil || !slices.Contains(providers, cpuProvider) {
		t.Errorf("compiled-in providers: %v, %v", providers, err)
	}
}

func TestOpenRefusesCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, library(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAtLeast(t *testing.T) {
	for version, want := range map[string]bool{"1.27.0": true, "1.24.0": true, "2.0.0": true, "1.20.1": false, "": false, "1": false, "x.y": false} {
		if atLeast(version, oldestMinor) != want {
			t.Errorf("atLeast(%q, %d) = %v", version, oldestMinor, !want)
		}
	}
}

func TestDescribe(t *testing.T) {
	s := session(t, open(t), linear(), Options{})
	want := map[string][]Value{
		"inputs":      {{Name: "X", DType: tensor.F32, Shape: []int64{-1, 3}}},
		"overridable": {{Name: "W", DType: tensor.F32, Shape: []int64{3, 2}}},
		"outputs":     {{Name: "Y", DType: tensor.F32, Shape: []int64{-1, 2}}, {Name: "XW", DType: tensor.F32, Shape: []int64{-1, 2}}},
	}
	for kind, got := range map[string][]Value{"inputs": s.Inputs(), "overridable": s.Overridable(), "outputs": s.Outputs()} {
		if !slices.EqualFunc(got, want[kind], func(a, b Value) bool {
			return a.Name == b.Name && a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && a.Unsupported == b.Unsupported
		}) {
			t.Errorf("%s: got %+v, want %+v", kind, got, want[kind])
		}
	}
	if len(s.Elsewhere()) != 0 {
		t.Errorf("nodes elsewhere on the CPU: %v", s.Elsewhere())
	}
}

func TestCorruptModel(t *testing.T) {
	e := open(t)
	model := linear().model()
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("not a model"), "truncated": model[:len(model)/2]} {
		t.Run(name, func(t *testing.T) {
			s, err := e.NewSession(t.Context(), data, Options{})
			if err == nil {
				_ = s.Close()
			}
			wantError(t, err, "ort: loading model")
		})
	}
}

func TestSessionOptions(t *testing.T) {
	e := open(t)
	x := f32([]float32{1, 1, 1}, 1, 3)
	for _, o := range []Options{
		{Threads: 2, Spin: true}, {DisablePrepacking: true}, {NoMemoryPatterns: true}, {Deterministic: true}, {Optimize: OptimizeNone}, {Optimize: OptimizeBasic}, {Optimize: OptimizeExtended}, {ExternalDir: t.TempDir()},
	} {
		s := session(t, e, linear(), o)
		out := feed{"Y": nil}
		if err := s.Run(t.Context(), feed{"X": x}, out); err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		wantF32(t, out["Y"], []float32{19, 32}, 1, 2)
	}
	for _, o := range []Options{{Threads: -1}, {Optimize: 9}} {
		if _, err := e.NewSession(t.Context(), linear().model(), o); err == nil {
			t.Errorf("%+v accepted", o)
		}
	}
	if n := DefaultThreads(); n < 1 {
		t.Errorf("default threads: %d", n)
	}
}

func TestCancelledLoad(t *testing.T) {
	// Long enough a chain that loading it takes many times the deadline.
	const nodes, deadline = 8000, 20 * time.Millisecond
	name := func(i int) string { return "x" + strconv.Itoa(i) }
	g := graph{inputs: []value{{name: name(0), elem: elemF32, dims: []int64{4}}}, outputs: []value{{name: name(nodes), elem: elemF32, dims: []int64{4}}}}
	for i := range nodes {
		g.nodes = append(g.nodes, node{op: "Abs", in: []string{name(i)}, out: []string{name(i + 1)}})
	}
	model := g.model()
	e := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for _, when := range []string{"during", "before"} {
		if _, err := e.NewSession(ctx, model, Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline %s the loading: got %v", when, err)
		}
	}
}

// The runtime's telemetry keeps its identity and its queue in files, in the
// home and working folders. A process of its own, since the runtime decides
// once; continuous integration's variables are taken away, since they turn
// telemetry off as well.
func TestNoTelemetry(t *testing.T) {
	lib := library(t)
	const home = "EDITPIPE_TEST_TELEMETRY"
	if os.Getenv(home) != "" {
		e := open(t)
		if err := e.Probe(t.Context(), Provider{}); err != nil {
			t.Error(err)
		}
		return
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestNoTelemetry$")
	cmd.Dir = dir
	cmd.Env = []string{home + "=1", EnvLibrary + "=" + lib.Path, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("the runtime left %v, %v", left, err)
	}
}
