package families

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/ftl"
	"editpipe/edit/kn"
	"editpipe/edit/memit"
	"editpipe/edit/rome"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/row"
	"editpipe/stages"
	"editpipe/store"
)

const (
	// gradientTolerance bounds how far a derivative in a random direction may be
	// from the float64 implementation's central difference, relative to the norms
	// of gradient and direction. The float32 pass back rounds like the one there,
	// see formTolerance; the largest difference seen is 9e-8.
	gradientTolerance = 1e-5
	// differenceStep makes the error of central differences in float64, which is
	// of the order of its square, negligible.
	differenceStep = 1e-5
	// exportTolerance bounds, in nats, how far the exported model's answers may be
	// from the patched one's: W + U V is rounded once in the file, and summed in
	// another order in the patched run. Log-probabilities are of order ten; the
	// largest difference seen is 1e-5.
	exportTolerance = 1e-4
)

// methods are those that every family is edited with. The searches are short:
// what is tested is the way through a graph, not the methods' defaults.
func methods() []edit.Method {
	return []edit.Method{rome.Method(), memit.Method(), ftl.Methods()[0], kn.Method()}
}

func overrides(lm *models.LM, method string) map[string]string {
	layers := "0" // MEMIT's last layer must have one behind it, through which later tokens see the change
	if lm.Info().Layers > 2 {
		layers = "0,1"
	}
	return map[string]map[string]string{
		"rome":  {"v_num_grad_steps": "5", "mom2_tokens": "1500"},
		"memit": {"v_num_grad_steps": "5", "mom2_tokens": "1500", "layers": layers, "mom2_update_weight": "1", "clamp_norm_factor": "4"},
		"ft-l":  {"num_steps": "5", "layer": "0"}, // so that slopes come through an attention
		"kn":    {"refine": "no", "steps": "4"},
	}[method]
}

// TestEdits takes every family in every form through edits: the rows of an
// evaluation have numbers, the slopes that the searches follow are those of the
// second implementation, and an edit written into the model's files changes the
// weight that inspecting names, and answers as the patch does.
func TestEdits(t *testing.T) {
	few := map[string][]string{"opt": {"torchscript"}, "falcon_7b": {"dynamo 24"}, "gemma3": {"group query with positions"}}
	env := orttest.Open(t)
	for _, name := range slices.Sorted(maps.Keys(variants())) {
		if !every && few[name] == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			c := variants()[name]
			if c.Window > 0 { // wide enough for the end of a prompt to see its subject
				c.Window = 12
			}
			all := forms(c)
			for _, form := range slices.Sorted(maps.Keys(all)) {
				if !every && !slices.Contains(few[name], form) {
					continue
				}
				t.Run(form, func(t *testing.T) { edits(t, env, all[form], checkpoint(t, c)) })
			}
		})
	}
}

func edits(t *testing.T, env *ort.Env, c tinylm.Config, second *paper) {
	dir := t.TempDir()
	if err := tinylm.Write(dir, c); err != nil {
		t.Fatal(err)
	}
	lm := open(t, env, dir)
	for _, f := range lm.Info().FFNs {
		if !f.Down.Editable {
			t.Fatalf("%s cannot be edited: %s", f.Down.ID, f.Down.Why)
		}
	}
	t.Run("answers", func(t *testing.T) { answers(t, lm, second) })
	t.Run("slopes", func(t *testing.T) { slopes(t, lm, second) })
	artifacts := t.TempDir()
	for _, m := range methods() {
		t.Run(m.Name, func(t *testing.T) {
			evaluate(t, lm, m, artifacts)
			written(t, env, lm, m, artifacts, dir)
		})
	}
}

func open(t *testing.T, env *ort.Env, dir string) *models.LM {
	t.Helper()
	lm, err := models.Open(t.Context(), env, dir, models.Options{Threads: 1, Name: "tiny"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lm.Close(); err != nil {
			t.Error(err)
		}
	})
	return lm
}

// evaluate prepares a method and evaluates three edits with it, whose rows must
// have numbers.
func evaluate(t *testing.T, lm *models.LM, m edit.Method, artifacts string) {
	t.Helper()
	for _, r := range results(t, lm, m, artifacts, overrides(lm, m.Name)) {
		if r.Status != row.OK {
			t.Errorf("row %s is %s: %s", r.ProbeID, r.Status, r.Detail)
		}
	}
}

// results are the rows of an evaluation.
func results(t *testing.T, lm *models.LM, m edit.Method, artifacts string, set map[string]string) []row.Result {
	t.Helper()
	if m.Name == "rome" || m.Name == "memit" {
		config, err := m.Configure(lm.Info(), set)
		if err != nil {
			t.Fatal(err)
		}
		in := edit.PrepareEnv{LM: lm, Texts: edittest.Texts, Seed: 7}
		err = m.Prepare(t.Context(), config, in, filepath.Join(artifacts, m.Name))
		if err != nil && !errors.Is(err, edit.ErrUnsupported) { // the rows say so, too
			t.Fatal(err)
		}
	}
	single, err := edit.ParseSchedule("single")
	if err != nil {
		t.Fatal(err)
	}
	run := stages.Eval{
		LM: lm, Data: dataset.Data{Name: "tiny", Records: edittest.Records()}, Methods: []edit.Method{m}, Schedules: []edit.Schedule{single},
		Overrides: map[string]map[string]string{m.Name: set}, Artifacts: artifacts, Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
	}
	if _, err := run.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := store.ReadDir[row.Result](filepath.Join(run.Out, "results"))
	if err != nil {
		t.Fatal(err)
	}
	if want := 3 * len(edittest.Records()); len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	return rows
}

// TestWhatCannotBeEdited: rows of edits that a form does not allow say why.
func TestWhatCannotBeEdited(t *testing.T) {
	env := orttest.Open(t)
	refused := func(c tinylm.Config, m edit.Method, set map[string]string, says string) {
		t.Run(fmt.Sprintf("%s/%s/%s", c.Family, c.Exporter, m.Name), func(t *testing.T) {
			dir := t.TempDir()
			if err := tinylm.Write(dir, c); err != nil {
				t.Fatal(err)
			}
			lm := open(t, env, dir)
			all := overrides(lm, m.Name)
			maps.Copy(all, set)
			for _, r := range results(t, lm, m, t.TempDir(), all) {
				if r.Status != row.Unsupported || !strings.Contains(r.Detail, says) {
					t.Errorf("row %s is %s: %q, want one that says %q", r.ProbeID, r.Status, r.Detail, says)
				}
			}
		})
	}
	half := tinylm.Config{Family: tinylm.Qwen3, Float16: true}
	for _, m := range methods() {
		set := map[string]string{}
		if m.Name == "rome" {
			set["mom2_adjustment"] = "false" // what is missing otherwise is that it was not prepared
		}
		exporters := []tinylm.Exporter{tinylm.TorchScript, tinylm.GenAI}
		if !every {
			exporters = exporters[:1]
		}
		for _, half.Exporter = range exporters {
			refused(half, m, set, "it is float16, want float32")
		}
	}
	dir := t.TempDir()
	if err := tinylm.Write(dir, tinylm.Config{Family: tinylm.Phi3}); err != nil {
		t.Fatal(err)
	}
	info := open(t, env, dir).Info()
	if up := info.FFN(arch.Decoder, 0).Up; up.Editable || !strings.Contains(up.Why, "one matrix") || !slices.Contains(info.Refusals, up.ID.String()+": "+up.Why) {
		t.Errorf("%s: editable %v, %q; refusals %q", up.ID, up.Editable, up.Why, info.Refusals)
	}
}

// editor makes a method's editor.
func editor(t *testing.T, lm *models.LM, m edit.Method, artifacts string) edit.Editor {
	t.Helper()
	config, err := m.Configure(lm.Info(), overrides(lm, m.Name))
	if err != nil {
		t.Fatal(err)
	}
	in := edit.Env{LM: lm, Seed: 1}
	if _, err := os.Stat(filepath.Join(artifacts, m.Name)); err == nil {
		in.Artifacts = filepath.Join(artifacts, m.Name)
	}
	e, err := m.Open(t.Context(), config, in)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// written makes an edit, writes it into a model of its own, and compares both.
func written(t *testing.T, env *ort.Env, lm *models.LM, m edit.Method, artifacts, dir string) {
	t.Helper()
	made := edittest.Together(t.Context(), editor(t, lm, m, artifacts), nil, edittest.Edits()[0])
	if made.Err != nil {
		t.Fatal(made.Err)
	}
	patch := made.Patch
	out := filepath.Join(t.TempDir(), "edited")
	if err := lm.Export(t.Context(), patch, out); err != nil {
		t.Fatal(err)
	}
	changed := map[string]bool{}
	for _, c := range patch.Weights {
		if w := lm.Info().Weight(c.At); c.Bias {
			changed[w.Bias] = true
		} else {
			changed[w.Initializer] = true
		}
	}
	if len(changed) == 0 || changed[""] {
		t.Fatalf("the edit changes %v", changed)
	}
	for _, file := range lm.Info().Files {
		before, after := initializers(t, filepath.Join(dir, file)), initializers(t, filepath.Join(out, file))
		if len(before) != len(after) {
			t.Errorf("%s: %d initializers, %d after the edit", file, len(before), len(after))
		}
		for w, hash := range before {
			if (after[w] != hash) != changed[w.name] {
				t.Errorf("%s: %v changed: %v, inspecting says %v", file, w, after[w] != hash, changed[w.name])
			}
		}
	}
	var rows []answer.Row
	for _, r := range edittest.Records() {
		for _, p := range r.Probes {
			rows = append(rows, answer.Row{Patch: patch, Query: ask.Query{Prompt: p.Prompt, Targets: []string{p.Answers[0], p.Contrast}}})
		}
	}
	patched := score(t, lm, rows)
	plain := slices.Clone(rows)
	for i := range plain {
		plain[i].Patch = nil
	}
	base, exported := score(t, lm, plain), score(t, open(t, env, out), plain)
	moved, worst := 0.0, 0.0
	for i := range patched {
		worst = max(worst, math.Abs(patched[i]-exported[i]))
		moved = max(moved, math.Abs(patched[i]-base[i]))
	}
	t.Logf("answers move by up to %.3g nats, the exported model's differ by %.2g", moved, worst)
	if moved < 10*exportTolerance {
		t.Errorf("the edit moves no answer by more than %g nats", moved)
	}
	if worst > exportTolerance {
		t.Errorf("the exported model's answers differ by %g nats from the patched one's, allowed %g", worst, exportTolerance)
	}
}

// held is where a file holds a weight: in which of its graphs, and under what name.
type held struct{ graph, name string }

// initializers are hashes of the weights of a file, those of its branches
// included.
func initializers(t *testing.T, path string) map[held][32]byte {
	t.Helper()
	m, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	out := map[held][32]byte{}
	var walk func(g *onnx.Graph)
	walk = func(g *onnx.Graph) {
		for _, i := range g.Initializers {
			v, err := i.Value()
			if err != nil {
				t.Fatal(err)
			}
			out[held{g.Name, i.Name}] = v.Hash()
		}
		for _, n := range g.Nodes {
			for _, a := range n.Attrs {
				if a.G != nil {
					walk(a.G)
				}
			}
		}
	}
	walk(m.Graph)
	return out
}

// score is the log-probability of every target of every row.
func score(t *testing.T, lm *models.LM, rows []answer.Row) (all []float64) {
	t.Helper()
	answers, err := answer.Score(t.Context(), lm, rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		for _, target := range a.Targets {
			for _, l := range target.LogProbs {
				all = append(all, l)
			}
		}
	}
	return all
}

// story is longer than the windows here.
var story = append(slices.Clone(prompt), 5, 99, 130, 14, 77, 201, 8, 33, 120)

// answers compares what the model says with the second implementation: rows of
// unequal lengths asked and continued together, some with the same beginning.
func answers(t *testing.T, lm *models.LM, second *paper) {
	second = second.in(t)
	const more = 5
	targets := [][]int64{{40, 7}, {12}}
	var rows []answer.Row
	for _, n := range []int{2, 5, len(story)} {
		ids := story[:n]
		if n == 5 { // a beginning of its own
			ids = append([]int64{88, 60}, ids...)
		}
		rows = append(rows, answer.Row{Query: ask.Query{PromptIDs: ids, TargetIDs: targets}})
	}
	scored, err := answer.Score(t.Context(), lm, rows)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		rows[i].Query.TargetIDs = nil
	}
	generated, err := answer.Generate(t.Context(), lm, rows, ask.Sampling{MaxNew: more})
	if err != nil {
		t.Fatal(err)
	}
	for i, asked := range rows {
		if err := errors.Join(scored[i].Err, generated[i].Err); err != nil {
			t.Fatal(err)
		}
		for k, target := range targets {
			ids := append(slices.Clone(asked.Query.PromptIDs), target...)
			logits := second.logits(ids)
			for j, id := range target {
				at := logits[len(asked.Query.PromptIDs)+j-1]
				most, total, largest := slices.Max(at), 0.0, 0.0
				for _, x := range at {
					total += math.Exp(x - most)
					largest = max(largest, math.Abs(x))
				}
				want := at[id] - most - math.Log(total)
				// A logit and the sum over all may differ.
				if d := math.Abs(scored[i].Targets[k].LogProbs[j] - want); !(d <= 2*formTolerance*largest) {
					t.Errorf("row %d, target %d: log-probability %g, the second implementation's %g", i, k, scored[i].Targets[k].LogProbs[j], want)
				}
			}
		}
		ids, sure := slices.Clone(asked.Query.PromptIDs), true
		for range more {
			last := slices.Clone(second.logits(ids)[len(ids)-1])
			best := int64(slices.Index(last, slices.Max(last)))
			slices.Sort(last)
			// Two logits this close may change places by rounding.
			first := last[len(last)-1]
			if sure = first-last[len(last)-2] > 2*formTolerance*max(first, -last[0]); !sure || slices.Contains(lm.EOS(), best) {
				break
			}
			ids = append(ids, best)
		}
		got, want := generated[i].TextIDs, ids[len(asked.Query.PromptIDs):]
		if !sure {
			got = got[:min(len(got), len(want))]
		}
		if !slices.Equal(got, want) {
			t.Errorf("row %d: continued by %v, by the second implementation %v", i, got, want)
		}
	}
}

// slopes compares the derivatives of a loss by what every layer's feed-forward
// part gives, and by its down-projection, with differences of the second
// implementation.
func slopes(t *testing.T, lm *models.LM, second *paper) {
	second = second.in(t)
	ids := story
	every := make([]int, len(ids))
	for i := range every {
		every[i] = i
	}
	terms := []loss.Term{{Position: len(ids) - 1, Target: 40, NLL: 1}, {Position: len(ids) - 3, Target: 7, NLL: 0.5}}
	objective := func(p *paper) (sum float64) {
		logits := p.logits(ids)
		for _, term := range terms {
			scores := logits[term.Position]
			most, total := slices.Max(scores), 0.0
			for _, x := range scores {
				total += math.Exp(x - most)
			}
			sum += term.NLL * (most + math.Log(total) - scores[term.Target])
		}
		return sum
	}
	want := objective(second)
	r := rand.New(rand.NewPCG(3, 3))
	for layer := range lm.Info().Layers {
		down := lm.Info().FFN(arch.Decoder, layer).Down
		site := func(p arch.Point) arch.Site { return arch.Site{Layer: layer, Point: p} }
		found, err := loss.At(t.Context(), lm, []arch.Site{site(arch.FFNOut)}, []loss.Row{{IDs: ids, Everywhere: true, Shift: make([]float32, len(ids)*down.Out), Terms: terms}})
		if err != nil {
			t.Fatal(err)
		}
		if found[0].Err != nil {
			t.Fatal(found[0].Err)
		}
		if d := math.Abs(found[0].Loss - want); d > formTolerance*math.Abs(want) {
			t.Errorf("layer %d: loss %g, the second implementation's %g", layer, found[0].Loss, want)
		}
		byOutput := found[0].Gradient
		traces, err := activation.Trace(t.Context(), lm, []activation.Row{{Query: ask.Query{PromptIDs: ids}, Positions: every}}, site(arch.FFNAct))
		if err != nil {
			t.Fatal(err)
		}
		if traces[0].Err != nil {
			t.Fatal(traces[0].Err)
		}
		keys := traces[0].Values[0].Float32s()
		byWeight := make([]float32, down.In*down.Out) // y = x W: the sum of x' dL/dy over positions
		for i := range ids {
			for k, x := range keys[i*down.In : (i+1)*down.In] {
				for j, d := range byOutput[i*down.Out : (i+1)*down.Out] {
					byWeight[k*down.Out+j] += x * d
				}
			}
		}
		name, stored := sameTensor(t, lm, down, second)
		along(t, r, fmt.Sprintf("layer %d, output", layer), byOutput, func(step float64, direction []float64) float64 {
			p := *second
			p.shift = func(l, position int, out []float64) {
				if l == layer {
					for i := range out {
						out[i] += step * direction[position*len(out)+i]
					}
				}
			}
			return objective(&p)
		})
		along(t, r, fmt.Sprintf("layer %d, %s", layer, name), byWeight, func(step float64, direction []float64) float64 {
			p := *second
			p.tensors = maps.Clone(second.tensors)
			w := p.tensors[name]
			w.v = slices.Clone(w.v)
			for i := range direction {
				w.v[stored(i)] += step * direction[i]
			}
			p.tensors[name] = w
			return objective(&p)
		})
	}
}

// sameTensor is the checkpoint's tensor that holds the values of a weight, and
// where in it element i of [in, out] stands.
func sameTensor(t *testing.T, lm *models.LM, w arch.Weight, second *paper) (name string, stored func(i int) int) {
	t.Helper()
	v, err := lm.Weight(w.ID)
	if err != nil {
		t.Fatal(err)
	}
	straight := func(i int) int { return i }
	turned := func(i int) int { return i%w.Out*w.In + i/w.Out }
	for name, m := range second.tensors {
		for _, at := range []func(int) int{straight, turned} {
			same := len(m.v) == w.In*w.Out
			for i := 0; same && i < len(m.v); i++ {
				same = m.v[at(i)] == float64(v.Float32s()[i])
			}
			if same {
				return name, at
			}
		}
	}
	t.Fatalf("no tensor of the checkpoint holds %s", w.ID)
	return "", nil
}

// along compares a gradient with central differences of f in random directions.
func along(t *testing.T, r *rand.Rand, what string, gradient []float32, f func(step float64, direction []float64) float64) {
	t.Helper()
	norm := 0.0
	for _, g := range gradient {
		norm += float64(g) * float64(g)
	}
	if norm == 0 {
		t.Fatalf("%s: the loss has no slope", what)
	}
	for range 3 {
		direction := make([]float64, len(gradient))
		slope, length := 0.0, 0.0
		for i, g := range gradient {
			direction[i] = r.NormFloat64()
			slope += float64(g) * direction[i]
			length += direction[i] * direction[i]
		}
		want := (f(differenceStep, direction) - f(-differenceStep, direction)) / (2 * differenceStep)
		d := math.Abs(slope-want) / math.Sqrt(norm*length)
		t.Logf("%s: slope %.6g, second implementation %.6g: %.2g of the norms", what, slope, want, d)
		if !(d <= gradientTolerance) {
			t.Errorf("%s: slope %g, the second implementation's %g", what, slope, want)
		}
	}
}
