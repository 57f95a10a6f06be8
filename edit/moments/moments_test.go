package moments

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/locate"
	"editpipe/internal/tinylm"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/run"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

// Linear algebra in float64 on well-conditioned matrices of some tens of rows.
const solveTolerance = 1e-9

// Activations of one text in two runs of the model, which add up float32 in another
// order: 50 roundings (2^-24) of the largest element.
const runTolerance = 3e-6

// TestSolve: C times the solution is the right-hand side.
func TestSolve(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const n = 30
	m := Moments{Width: n, Count: 100, C: make([]float64, n*n)}
	for range 100 {
		k := tensor.New(tensor.F32, 1, n)
		for i := range n {
			k.Float32s()[i] = float32(r.NormFloat64())
		}
		for i, x := range k.Float32s() {
			for j, y := range k.Float32s() {
				m.C[i*n+j] += float64(x) * float64(y) / 100
			}
		}
	}
	f, err := m.Factor()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]float64, n)
	for i := range b {
		b[i] = r.NormFloat64()
	}
	x := f.Solve(b)
	for i := range n {
		if d := math.Abs(locate.Dot(m.C[i*n:(i+1)*n], x) - b[i]); d > solveTolerance {
			t.Errorf("row %d differs by %g", i, d)
		}
	}
	for i := range n { // two equal rows and columns
		m.C[i*n+3] = m.C[i*n+7]
	}
	copy(m.C[3*n:4*n], m.C[7*n:8*n])
	if _, err := m.Factor(); !errors.Is(err, ErrSingular) {
		t.Errorf("singular: %v", err)
	}
	m.C[0] = math.NaN()
	if _, err := m.Factor(); !errors.Is(err, ErrSingular) {
		t.Errorf("not a number: %v", err)
	}
}

// TestCollect: moments are those of traced keys, cut to the context and to the
// tokens asked for, and survive a file.
func TestCollect(t *testing.T) {
	ctx := context.Background()
	lm := edittest.Open(t, tinylm.Config{Family: tinylm.GPT2, Width: 8, FFN: 16})
	texts := []string{"Ada works as a cook.", "", strings.Repeat("They live in a town by the sea. ", 20), "Zoe works as a judge.", "never read"}
	source := func(yield func(string, error) bool) {
		for i, text := range texts {
			if i == 4 {
				t.Error("more text was read than needed")
			}
			if !yield(text, nil) {
				return
			}
		}
	}
	total, want := 0, make([]float64, 16*16)
	for _, text := range texts[:4] {
		if text == "" {
			continue
		}
		ids, _, err := run.Prompt(lm, text)
		if err != nil {
			t.Fatal(err)
		}
		ids = ids[:min(len(ids), lm.Context())]
		for at := range ids {
			tr, err := activation.Trace(ctx, lm, []activation.Row{{Query: ask.Query{PromptIDs: ids[:at+1]}, Positions: []int{-1}}}, arch.Site{Layer: 1, Point: arch.FFNAct})
			if err != nil || tr[0].Err != nil {
				t.Fatal(err, tr[0].Err)
			}
			k := tr[0].Values[0].Float32s()
			for i, x := range k {
				for j, y := range k {
					want[i*16+j] += float64(x) * float64(y)
				}
			}
			total++
		}
	}
	dir := t.TempDir()
	if err := Prepare(ctx, []int{0, 1}, int64(total), edit.PrepareEnv{LM: lm, Texts: source}, dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, File(1))
	m, factor, err := ReadFactored(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, partialFile)); err == nil {
		t.Error("the sums of a finished collection were left")
	}
	if m.Count != int64(total) || m.Width != 16 {
		t.Errorf("%d tokens of width %d, want %d", m.Count, m.Width, total)
	}
	largest := math.Max(slices.Max(want), -slices.Min(want)) / float64(total)
	for i, x := range want {
		if math.Abs(m.C[i]-x/float64(total)) > 2*runTolerance*largest { // products of two
			t.Fatalf("element %d is %g, want %g", i, m.C[i], x/float64(total))
		}
	}
	if m.Model != lm.Hash() || m.Fits(lm, 1) != nil {
		t.Errorf("moments of model %q do not fit it", m.Model)
	}
	if err := m.Fits(lm, 5); !errors.Is(err, ErrMisfit) {
		t.Errorf("no such layer: %v", err)
	}
	// The kept factor is that of the moments; one of other moments is passed over.
	direct, err := m.Factor()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]float64, 16)
	b[3] = 1
	if !slices.Equal(direct.Solve(b), factor.Solve(b)) {
		t.Error("the kept factor solves to something else")
	}
	other := &Moments{Width: 16, Count: 20, C: make([]float64, 256), Model: lm.Hash()}
	for i := range 16 {
		other.C[i*17] = 2
	}
	if err := other.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, f, err := ReadFactored(path); err != nil || math.Abs(f.Solve(b)[3]-0.5) > solveTolerance {
		t.Errorf("with moments of twice the identity: %v", err)
	}
	broken := errors.New("broken")
	failing := edit.PrepareEnv{LM: lm, Texts: func(yield func(string, error) bool) { yield("", broken) }}
	if err := Prepare(ctx, []int{1}, 10, failing, dir); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
	if err := Prepare(ctx, []int{9}, 10, failing, dir); !errors.Is(err, ErrMisfit) {
		t.Errorf("no such layer: %v", err)
	}
}

// TestCollectGoesOn: a collection that was cut short ends in the same bytes as
// one that was not, refuses other text, and leaves alone what is of another plan.
func TestCollectGoesOn(t *testing.T) {
	ctx := context.Background()
	lm := edittest.Open(t, tinylm.Config{Family: tinylm.GPT2, Width: 8, FFN: 16})
	broken := errors.New("broken")
	const texts = 400
	source := func(upTo int, first string) edit.PrepareEnv {
		return edit.PrepareEnv{LM: lm, Texts: func(yield func(string, error) bool) {
			for i := range texts {
				text := fmt.Sprintf("Person %d works as a cook by the sea.", i)
				if i == 0 {
					text = first
				}
				if i == upTo {
					yield("", broken)
					return
				}
				if !yield(text, nil) {
					return
				}
			}
		}}
	}
	collect := func(in edit.PrepareEnv, partial string) ([]*Moments, error) {
		c := &collection{lm: lm, layers: []int{0, 1}, perSum: 200}
		return c.collect(ctx, 1<<30, in, partial)
	}
	whole, err := collect(source(-1, "First."), filepath.Join(t.TempDir(), partialFile))
	if err != nil {
		t.Fatal(err)
	}
	partial := filepath.Join(t.TempDir(), partialFile)
	for _, stop := range []int{70, 150, 399} {
		if _, err := collect(source(stop, "First."), partial); !errors.Is(err, broken) {
			t.Fatalf("cut short at %d: %v", stop, err)
		}
	}
	if _, err := collect(source(-1, "Another."), partial); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), partial) {
		t.Errorf("going on with another text: %v", err)
	}
	saved, err := npz.Read(partial)
	if err != nil || saved[arrayTexts].Int64s()[0] < 300 {
		t.Fatalf("the sums of %v texts were saved, %v", saved[arrayTexts], err)
	}
	resumed, err := collect(source(-1, "First."), partial)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		if whole[i].Count != resumed[i].Count || !slices.Equal(whole[i].C, resumed[i].C) {
			t.Errorf("layer %d differs from a collection in one go", i)
		}
	}
	saved[arrayTokens] = tensor.New(tensor.I64, 0)
	damaged := filepath.Join(t.TempDir(), partialFile)
	if err := npz.Write(damaged, saved); err != nil {
		t.Fatal(err)
	}
	if _, err := collect(source(-1, "First."), damaged); !errors.Is(err, ErrMisfit) || !strings.Contains(err.Error(), damaged) {
		t.Errorf("going on from a damaged file: %v", err)
	}
	c := &collection{lm: lm, layers: []int{1}, perSum: 200}
	_, err = c.collect(ctx, 1<<30, source(-1, "Another."), partial)
	if err != nil {
		t.Errorf("another plan: %v", err)
	}
}

// TestTooFewTokens: moments of fewer tokens than a key has elements are singular,
// also where rounding to float32 makes them look otherwise.
func TestTooFewTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mom2.npz")
	rounded := &Moments{Width: 2, Count: 1, C: []float64{1, 0.1, 0.1, 0.01 + 1e-8}} // of the key (1, 0.1)
	if err := rounded.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadFactored(path); !errors.Is(err, ErrSingular) || !strings.Contains(err.Error(), path) {
		t.Errorf("two elements, one token: %v", err)
	}
	rounded.Count = 2
	if err := rounded.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadFactored(path); err != nil {
		t.Errorf("the same after two tokens: %v", err)
	}
}

func TestReadRefusesDamage(t *testing.T) {
	square, count := tensor.FromFloat32s([]float32{1, 0, 0, 1}, 2, 2), tensor.FromInt64s([]int64{3}, 1)
	for label, arrays := range map[string]map[string]*tensor.Tensor{
		"no count":    {arraySum: square},
		"no sum":      {arrayCount: count},
		"not square":  {arraySum: tensor.FromFloat32s([]float32{1, 2}, 1, 2), arrayCount: count},
		"no tokens":   {arraySum: square, arrayCount: tensor.FromInt64s([]int64{0}, 1)},
		"not finite":  {arraySum: tensor.FromFloat32s([]float32{1, 0, 0, float32(math.Inf(1))}, 2, 2), arrayCount: count},
		"not numbers": {arraySum: tensor.FromInt64s([]int64{1, 0, 0, 1}, 2, 2), arrayCount: count},
	} {
		path := filepath.Join(t.TempDir(), "mom2.npz")
		if err := npz.Write(path, arrays); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); !errors.Is(err, ErrMisfit) {
			t.Errorf("%s: %v", label, err)
		}
	}
}
