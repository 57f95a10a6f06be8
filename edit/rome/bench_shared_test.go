//go:build shared

package rome

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/locate"
	"editpipe/models"
	"editpipe/models/patch"
	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

// benchHeads is the number of attention heads of the reference's model.
const benchHeads = 4

// bench is a run of the reference to be made again.
type bench struct {
	world
	ref   reference
	ed    *editor
	edits []dataset.Edit
}

// openBench opens the reference's model on a number of threads.
func openBench(t testing.TB, run string, threads int) bench {
	t.Helper()
	b := bench{world: world{edittest.OpenWorldWith(t, models.Options{Threads: threads})}}
	b.JSON(t, &b.ref, "reference", run+".json")
	b.ed = b.editor(t, b.ref.Summary.Settings, b.ref.Contexts)
	for _, e := range b.ref.Edits {
		b.edits = append(b.edits, request(e.ID, e.Prompt, e.Subject, e.New))
	}
	b.make(t, b.edits[:1]) // builds the sessions of a search alone
	b.make(t, b.edits[:6]) // and those of searches side by side
	return b
}

// make makes edits side by side.
func (b bench) make(t testing.TB, edits []dataset.Edit) []edit.Made {
	t.Helper()
	made := edittest.Apart(t, b.ed, &patch.Patch{}, edits)
	for _, m := range made {
		if m.Err != nil {
			t.Fatal(m.Err)
		}
	}
	return made
}

// BenchmarkEdits makes the reference's edits side by side, and one at a time.
func BenchmarkEdits(b *testing.B) {
	for _, run := range []string{"rome_l0", "rome_l1"} {
		for _, threads := range []int{1, 2} {
			for _, alone := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/threads=%d/alone=%v", run, threads, alone), func(b *testing.B) {
					w := openBench(b, run, threads)
					b.ResetTimer()
					for range b.N {
						if !alone {
							w.make(b, w.edits)
							continue
						}
						for i := range w.edits {
							w.make(b, w.edits[i:i+1])
						}
					}
					b.ReportMetric(float64(len(w.edits)*b.N)/b.Elapsed().Seconds(), "edits/s")
				})
			}
		}
	}
}

// TestAgainstTorch measures the reference's edits against internal/bench/
// rome_torch.py, in turn, on the threads that EDITPIPE_BENCH_THREADS gives (2).
// PYTHON names an interpreter with PyTorch. Without EDITPIPE_BENCH_TORCH=1 it is
// skipped: it is a measurement and passes or fails by agreement alone.
func TestAgainstTorch(t *testing.T) {
	if os.Getenv("EDITPIPE_BENCH_TORCH") == "" {
		t.Skip("a measurement: set EDITPIPE_BENCH_TORCH=1")
	}
	threads := 2
	if s := os.Getenv("EDITPIPE_BENCH_THREADS"); s != "" {
		if _, err := fmt.Sscan(s, &threads); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s/%s, %d threads", runtime.GOOS, runtime.GOARCH, threads)
	for _, run := range []string{"rome_l0", "rome_l1"} {
		t.Run(run, func(t *testing.T) {
			b := openBench(t, run, threads)
			weights := b.weights(t)
			var ours, alone, theirs, batched timing
			flop, worst := 0.0, 0.0
			// In turn over parts of the edits, so that a busy machine slows all of them.
			const parts = 6
			for k := range parts {
				edits := b.edits[k*len(b.edits)/parts : (k+1)*len(b.edits)/parts]
				file := filepath.Join(t.TempDir(), "sequences.json")
				flop += b.sequences(t, file, edits)
				var patches []edit.Made
				ours.add(func() { patches = b.make(t, edits) })
				alone.add(func() {
					for i := range edits {
						b.make(t, edits[i:i+1])
					}
				})
				r := torch(t, weights, file, threads, 1)
				theirs.wall, theirs.cpu = theirs.wall+r.Seconds, theirs.cpu+r.CPU
				worst = max(worst, apartFrom(t, edits, patches, r))
				r = torch(t, weights, file, threads, 5)
				batched.wall, batched.cpu = batched.wall+r.Seconds, batched.cpu+r.CPU
				t.Logf("PyTorch %s, part %d of %d: seconds so far %.1f side by side, %.1f one at a time, PyTorch %.1f, %.1f; of processor time %.1f, %.1f, %.1f, %.1f", r.Version, k+1, parts, ours.wall, alone.wall, theirs.wall, batched.wall, ours.cpu, alone.cpu, theirs.cpu, batched.cpu)
			}
			n := float64(len(b.edits))
			for _, l := range []struct {
				what string
				timing
			}{{"editpipe, side by side", ours}, {"editpipe, one at a time", alone}, {"PyTorch, one at a time", theirs}, {"PyTorch, 5 in a pass", batched}} {
				t.Logf("%-24s %6.2f edits/s, %6.1f ms of processor time each", l.what, n/l.wall, 1e3*l.cpu/n)
			}
			t.Logf("PyTorch one at a time / editpipe side by side: %.1f (%.1f of processor time)", theirs.wall/ours.wall, theirs.cpu/ours.cpu)
			peak := b.gemm(t, threads)
			t.Logf("floor: %.0f MFLOP an edit, at %.0f GFLOP/s of a product of 1024 x 1024 %.1f ms: %.0f %% of the time taken", flop/n/1e6, peak, flop/n/peak/1e6, 100*flop/peak/1e9/ours.wall)
			t.Logf("last losses differ by at most %.2g", worst)
			if worst > lossTolerance {
				t.Errorf("last losses differ by %g", worst)
			}
		})
	}
}

// timing adds up seconds.
type timing struct{ wall, cpu float64 }

func (t *timing) add(f func()) {
	m := ort.StartMeter()
	f()
	u := m.Stop()
	t.wall, t.cpu = t.wall+u.Wall.Seconds(), t.cpu+u.CPU.Seconds()
}

// torchResult is what the script prints.
type torchResult struct {
	Version string               `json:"torch"`
	Seconds float64              `json:"seconds"`
	CPU     float64              `json:"cpu_seconds"`
	Losses  map[string][]float64 `json:"losses"`
}

// torch runs the script.
func torch(t *testing.T, weights, sequences string, threads, batch int) (r torchResult) {
	t.Helper()
	python := os.Getenv("PYTHON")
	if python == "" {
		python = "python3"
	}
	script := filepath.Join("..", "..", "internal", "bench", "rome_torch.py")
	cmd := exec.Command(python, script, weights, sequences, "--threads", fmt.Sprint(threads), "--batch", fmt.Sprint(batch))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v; it needs PyTorch (Debian: python3-torch), PYTHON names the interpreter", script, err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// weights writes the parameters of the reference's model.
func (b bench) weights(t *testing.T) string {
	t.Helper()
	m, err := onnx.Open(filepath.Join(b.Dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	all := map[string]*tensor.Tensor{}
	for _, p := range m.Graph.Initializers {
		if !strings.HasPrefix(p.Name, "transformer.") {
			continue
		}
		if all[p.Name], err = p.Value(); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "weights.npz")
	if err := npz.Write(file, all); err != nil {
		t.Fatal(err)
	}
	return file
}

// apartFrom is the largest difference of last losses.
func apartFrom(t *testing.T, edits []dataset.Edit, made []edit.Made, r torchResult) (worst float64) {
	t.Helper()
	for i, e := range edits {
		effort := made[i].Efforts[0]
		l := r.Losses[string(e.ID)]
		if len(l) != int(effort.Steps) {
			t.Fatalf("edit %s: %d evaluations, PyTorch made %d", e.ID, effort.Steps, len(l))
		}
		worst = max(worst, math.Abs(float64(effort.FinalLoss)-l[len(l)-1]))
	}
	return worst
}

// sequences writes the ids of the edits and returns the floating-point
// operations that making all of them takes: matrix products alone, of every
// layer once for the positions of the prompts, and of the layers above the
// edited one, there and back, at each step for the positions that the shift
// reaches, and for the logits of the loss.
func (b bench) sequences(t *testing.T, file string, edits []dataset.Edit) float64 {
	t.Helper()
	type row struct {
		IDs []int64 `json:"ids"`
		At  int     `json:"at"`
	}
	type item struct {
		ID     string  `json:"id"`
		Rows   []row   `json:"rows"`
		Target []int64 `json:"target"`
	}
	h, info := b.ref.Summary.Settings, b.LM.Info()
	var items []item
	flop := 0.0
	d, f, above := float64(info.Width), float64(info.FFNWidth), float64(info.Layers-1-h.Layers[0])
	head := 2 * d * float64(info.Vocab)
	block := func(positions, keys float64) float64 { // of one row
		return positions * (2*(4*d*d+2*d*f) + 4*d*keys)
	}
	for _, e := range edits {
		fact, err := locate.NewFact(b.LM, e, b.ref.Contexts, locate.SubjectLast, false)
		if err != nil {
			t.Fatal(err)
		}
		it := item{ID: string(e.ID), Target: fact.Target}
		once, step := 0.0, 2*head*float64(len(fact.Prompts)*len(fact.Target)+1)
		for _, s := range append(slices.Clone(fact.Prompts), fact.Essence) {
			ids := slices.Concat(s.IDs, fact.Target[:len(fact.Target)-1])
			n := len(ids)
			if len(it.Rows) == len(fact.Prompts) {
				ids, n = s.IDs, s.At+1
			}
			it.Rows = append(it.Rows, row{ids, s.At})
			before, reached := float64(s.At), float64(n-s.At)
			once += float64(info.Layers)*block(before, before/2) + (float64(info.Layers)-above)*block(reached, before+reached/2)
			step += 2 * above * block(reached, before+reached/2)
		}
		items = append(items, it)
		flop += once + float64(h.Steps)*step
	}
	data, err := json.Marshal(map[string]any{"heads": benchHeads, "epsilon": 1e-5, "layer": h.Layers[0], "edits": items, "settings": map[string]any{
		"steps": h.Steps, "rate": h.Rate, "decay": h.Decay, "clamp": h.Clamp, "kl": h.KL,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return flop
}

// gemm measures the rate of large matrix products in GFLOP/s.
func (b bench) gemm(t testing.TB, threads int) float64 {
	t.Helper()
	const n, runs = 1024, 20
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: &onnx.Graph{Name: "product"}}
	g := m.Builder()
	square := []onnx.Dim{{Value: n}, {Value: n}}
	v := make([]float32, n*n)
	for i := range v {
		v[i] = float32(i%7) / 8
	}
	w := g.Const(tensor.FromFloat32s(v, n, n))
	g.Output(g.Op("MatMul", []string{g.Input("x", onnx.Float, square), w}), "y", onnx.Float, square)
	data, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Env.NewSession(context.Background(), data, ort.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, out := map[string]*tensor.Tensor{"x": tensor.FromFloat32s(v, n, n)}, map[string]*tensor.Tensor{"y": tensor.New(tensor.F32, n, n)}
	best := time.Duration(1 << 62)
	for range runs {
		at := time.Now()
		if err := s.Run(context.Background(), in, out); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(at))
	}
	return 2 * float64(n*n*n) / best.Seconds() / 1e9
}
