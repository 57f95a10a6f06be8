package answer

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/models/run"
	"editpipe/onnx"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// trapped is the token on which the graphs of trap fail.
const trapped = 7

// trap writes a model whose graphs look a row of a table up that is not there
// where the sequence has the trapped token; all other sequences are as before.
func trap(t *testing.T, c tinylm.Config) string {
	t.Helper()
	dir := modeltest.Folder(t, c)
	files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	modeltest.Must(t, err)
	for _, file := range files {
		m, err := onnx.Open(file)
		modeltest.Must(t, err)
		modeltest.Must(t, m.Splice("/transformer/Add_output_0", func(b *onnx.Builder, in string) (string, error) {
			hit := b.Op("Equal", []string{"input_ids", b.Int64s(trapped)})
			place := b.Op("Cast", []string{hit}, onnx.AttrInt("to", int64(onnx.Int64)))
			zero := b.Op("Gather", []string{b.Const(tensor.FromFloat32s([]float32{0}, 1)), place})
			return b.Op("Add", []string{in, b.Op("Unsqueeze", []string{zero, b.Int64s(-1)})}), nil
		}))
		modeltest.Must(t, m.Save(file, onnx.SaveOptions{}))
		modeltest.Must(t, m.Close())
	}
	return dir
}

// TestOneRowFails: a row that the graph fails on has that error, after a try of
// its own; the rows that shared its run have what they have without it.
func TestOneRowFails(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Open(t, env, trap(t, tinylm.Config{Family: tinylm.GPT2}), models.Options{})
	bad := map[int]bool{1: true, 4: true}
	prompts := [][]int64{{3, 4, 5}, {3, trapped, 5}, {3, 4, 6, 8}, {9, 10}, {trapped}, {3, 4, 5, 6}}
	var good []int
	for i := range prompts {
		if !bad[i] {
			good = append(good, i)
		}
	}
	check := func(what string, i int, err error, far float64) {
		t.Helper()
		if bad[i] != errors.Is(err, run.ErrRun) || !bad[i] && (err != nil || !(far <= modeltest.LogProbTolerance)) {
			t.Errorf("%s: row %d: error %v, %v from what it is without the others", what, i, err, far)
		}
	}

	var rows, alone []Row
	for i, p := range prompts {
		// Targets of one token ride on runs of longer ones.
		r := Row{Query: ask.Query{PromptIDs: p, TargetIDs: [][]int64{{11}, {12, 13}}, Targets: []string{"", ""}}}
		rows = append(rows, r)
		if !bad[i] {
			alone = append(alone, r)
		}
	}
	got, want := score(t, lm, rows...), score(t, lm, alone...)
	for i, a := range got {
		far := 0.0
		if k := slices.Index(good, i); k >= 0 && a.Err == nil {
			for j, c := range a.Targets {
				for n, lp := range c.LogProbs {
					far = max(far, modeltest.Relative(want[k].Targets[j].LogProbs[n], lp))
				}
			}
		}
		check("score", i, a.Err, far)
	}
	// A question that is compared with one that fails has that one's error.
	versus := Row{Query: rows[0].Query, Versus: &rows[1].Query}
	if a := score(t, lm, versus, rows[2]); !errors.Is(a[0].Err, run.ErrRun) || a[1].Err != nil {
		t.Errorf("compared with a failing question: %v, %v", a[0].Err, a[1].Err)
	}

	texts, err := Generate(t.Context(), lm, rows, ask.Sampling{MaxNew: 3})
	modeltest.Must(t, err)
	apart, err := Generate(t.Context(), lm, alone, ask.Sampling{MaxNew: 3})
	modeltest.Must(t, err)
	for i, a := range texts {
		far := 0.0
		if k := slices.Index(good, i); k >= 0 && !slices.Equal(a.TextIDs, apart[k].TextIDs) {
			far = math.Inf(1)
		}
		check("generate", i, a.Err, far)
	}

	var losses, lonely []loss.Row
	var shifts, fewShifts []loss.LayerRow
	var traces, fewTraces []activation.Row
	for i, p := range prompts {
		l := loss.Row{IDs: p, At: 0, Terms: []loss.Term{{Position: len(p) - 1, Target: 11, NLL: 1}}}
		losses = append(losses, l)
		shifts = append(shifts, loss.LayerRow{IDs: p, Layer: i % 2, Target: 11})
		traces = append(traces, activation.Row{Query: ask.Query{PromptIDs: p}, Positions: []int{-1}})
		if !bad[i] {
			lonely, fewShifts, fewTraces = append(lonely, l), append(fewShifts, shifts[i]), append(fewTraces, traces[i])
		}
	}
	site := arch.Site{Layer: 1, Point: arch.FFNOut}
	l, err := loss.At(t.Context(), lm, []arch.Site{site}, losses)
	modeltest.Must(t, err)
	w, err := loss.At(t.Context(), lm, []arch.Site{site}, lonely)
	modeltest.Must(t, err)
	for i := range l {
		far := 0.0
		if k := slices.Index(good, i); k >= 0 && l[i].Err == nil {
			far = max(modeltest.Relative(w[k].Loss, l[i].Loss), modeltest.MaxDiff(l[i].Gradient, w[k].Gradient))
		}
		check("losses", i, l[i].Err, far)
	}
	s, err := loss.EachLayer(t.Context(), lm, arch.FFNOut, shifts)
	modeltest.Must(t, err)
	fewS, err := loss.EachLayer(t.Context(), lm, arch.FFNOut, fewShifts)
	modeltest.Must(t, err)
	tr, err := activation.Trace(t.Context(), lm, traces, site)
	modeltest.Must(t, err)
	fewTr, err := activation.Trace(t.Context(), lm, fewTraces, site)
	modeltest.Must(t, err)
	for i := range prompts {
		var shifted, traced float64
		if k := slices.Index(good, i); k >= 0 && s[i].Err == nil && tr[i].Err == nil {
			shifted = max(modeltest.Relative(fewS[k].Prob, s[i].Prob), modeltest.MaxDiff(fewS[k].Gradient, s[i].Gradient))
			traced = modeltest.MaxDiff(fewTr[k].Values[0].Float32s(), tr[i].Values[0].Float32s())
		}
		check("layer shifts", i, s[i].Err, shifted)
		check("trace", i, tr[i].Err, traced)
	}
}

// TestOneRowFailsBehindASharedBeginning: a row that fails among those that share
// what they begin with, or among those that a cache continues, fails alone, and
// the saving stays in use where the plain way fails on the row as well.
func TestOneRowFailsBehindASharedBeginning(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Open(t, env, trap(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}), models.Options{})
	before := slices.Repeat([]int64{3, 4, 5, 6}, leastBeginning/4+1)
	var rows []Row
	const bad = 2
	for i := range leastShare + 2 {
		last := int64(20 + i)
		if i == bad {
			last = trapped
		}
		rows = append(rows, Row{Query: ask.Query{PromptIDs: append(slices.Clone(before), last), TargetIDs: [][]int64{{11, 12}}, Targets: []string{""}}})
	}
	if found, _ := beginnings(lm, questionsTo(rows)); len(found) != 1 {
		t.Fatalf("%d shared beginnings, want 1", len(found))
	}
	texts, err := Generate(t.Context(), lm, rows, ask.Sampling{MaxNew: 3})
	modeltest.Must(t, err)
	for i, a := range score(t, lm, rows...) {
		if i == bad {
			if !errors.Is(a.Err, run.ErrRun) || !errors.Is(texts[i].Err, run.ErrRun) {
				t.Errorf("row %d: error %v in scoring, %v in generating", i, a.Err, texts[i].Err)
			}
			continue
		}
		modeltest.Must(t, a.Err)
		modeltest.Must(t, texts[i].Err)
		for k, want := range score(t, lm, rows[i])[0].Targets[0].LogProbs {
			if d := modeltest.Relative(want, a.Targets[0].LogProbs[k]); !(d <= modeltest.LogProbTolerance) {
				t.Errorf("row %d is off by %g", i, d)
			}
		}
		alone, err := Generate(t.Context(), lm, rows[i:i+1], ask.Sampling{MaxNew: 3})
		modeltest.Must(t, err)
		if !slices.Equal(alone[0].TextIDs, texts[i].TextIDs) {
			t.Errorf("row %d continues as %v, alone as %v", i, texts[i].TextIDs, alone[0].TextIDs)
		}
	}
	if given := lm.Abandoned(); len(given) > 0 {
		t.Errorf("given up: %v", given)
	}
}

func questionsTo(rows []Row) (questions []*run.Question) {
	for _, r := range rows {
		questions = append(questions, &run.Question{Sequence: run.Sequence{Prompt: r.Query.PromptIDs, Target: r.Query.TargetIDs[0]}})
	}
	return questions
}
