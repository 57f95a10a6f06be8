package rome

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/locate"
	"editpipe/edit/moments"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/patch"
)

// One value computed on two ways in float32; values of the tiny models are
// around 1 and shifts around 4.
const valueTolerance = 1e-4

func config(t *testing.T, lm *models.LM, set map[string]string) edit.Config {
	t.Helper()
	c, err := Method().Configure(lm.Info(), set)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// with runs a test on a model that is closed afterwards, since a process has
// one environment at a time.
func with(t *testing.T, label string, c tinylm.Config, test func(t *testing.T, lm *models.LM)) {
	t.Helper()
	t.Run(label, func(t *testing.T) { test(t, edittest.Open(t, c)) })
}

func prepared(t *testing.T, c tinylm.Config) string {
	t.Helper()
	return edittest.Prepared(t, Method(), c, nil)
}

func open1(t *testing.T, lm *models.LM, artifacts string, set map[string]string) edit.Editor {
	t.Helper()
	ed, err := Method().Open(context.Background(), config(t, lm, set), edit.Env{LM: lm, Artifacts: artifacts, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return ed
}

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		model tinylm.Config
		set   map[string]string
	}{
		{model: tinylm.Config{Family: tinylm.GPT2}},
		// Not the last layer: nothing behind it would look at the subject, and the search
		// would follow the rounding of slopes that are zero.
		{model: tinylm.Config{Family: tinylm.LLaMA, Layers: 3}, set: map[string]string{"mom2_adjustment": "false", "layer": "1", "v_num_grad_steps": "5"}},
	} {
		t.Run(string(c.model.Family), func(t *testing.T) {
			o := edittest.Options{Model: c.model, Set: c.set}
			if c.set == nil {
				o.Artifacts = prepared(t, c.model)
			}
			edittest.Run(t, Method(), o)
		})
	}
}

// TestKeyGivesValue: after the edit the layer says v* for k*, in every form of
// the update and on top of an earlier edit. The value that is wanted is searched
// a second time here, from traces of the public interface.
func TestKeyGivesValue(t *testing.T) {
	ctx := context.Background()
	artifacts := prepared(t, tinylm.Config{})
	lm := edittest.Open(t, tinylm.Config{})
	const steps = 4 // whatever value is found must be said
	for _, set := range []map[string]string{
		{"key": "unified"}, {"key": "mixed"}, {"key": "unified", "mom2_adjustment": "false"}, {"key": "mixed", "fact_token": "last"},
	} {
		set["v_num_grad_steps"] = strconv.Itoa(steps)
		opened, err := open(ctx, config(t, lm, set).Value().(Config), edit.Env{LM: lm, Artifacts: artifacts, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		ed, on := opened.(*editor), &patch.Patch{}
		for _, e := range edittest.Edits() {
			made := edittest.Together(ctx, ed, on, e)
			if made.Err != nil {
				t.Fatal(made.Err)
			}
			after := made.Patch
			at := locate.SubjectLast
			if set["fact_token"] != "" {
				at = locate.Last
			}
			contexts, err := ed.contexts.All(ctx)
			if err != nil {
				t.Fatal(err)
			}
			f, err := locate.NewFact(lm, e, contexts, at, false)
			if err != nil {
				t.Fatal(err)
			}
			before := recall(t, lm, on, f)
			layer := ed.c.Layer
			found, err := locate.Optimise(ctx, lm, on, arch.Site{Layer: layer, Point: arch.FFNOut}, []*locate.Fact{f}, [][]float32{before[0]},
				locate.Search{Steps: steps, Rate: 0.5, Decay: 0.5, Clamp: 4, KL: 0.0625})
			if err != nil || found[0].Err != nil {
				t.Fatal(err, found[0].Err)
			}
			// The layer is linear in the key, so the mean value is that of the mean key.
			got := recall(t, lm, after, f)
			if set["key"] == "mixed" {
				got = got[:1]
			}
			size := 0.0
			for i, y := range locate.Mean(got) {
				want := float64(before[0][i]) + float64(found[0].Shift[i])
				if math.Abs(y-want) > valueTolerance {
					t.Errorf("%v edit %s: element %d is %g, want %g", set, e.ID, i, y, want)
				}
				size += math.Abs(float64(found[0].Shift[i]))
			}
			if size == 0 {
				t.Error("the value was not moved")
			}
			if n := len(found[0].Losses); len(made.Efforts) != 1 || int(made.Efforts[0].Steps) != n || made.Efforts[0].FinalLoss != float32(found[0].Losses[n-1]) {
				t.Errorf("efforts %+v, %d evaluations", made.Efforts, n)
			}
			on = after
		}
		if len(on.Weights) != 3 || len(on.Edits) != 3 {
			t.Errorf("after three edits the patch has %d changes", len(on.Weights))
		}
	}
}

// recall reads the values of layer 0 for every prompt of a fact.
func recall(t *testing.T, lm *models.LM, p *patch.Patch, f *locate.Fact) [][]float32 {
	t.Helper()
	var rows []activation.Row
	for _, s := range f.Prompts {
		rows = append(rows, activation.Row{Query: ask.Query{PromptIDs: s.IDs}, Patch: p, Positions: []int{s.At}})
	}
	traces, err := activation.Trace(context.Background(), lm, rows, arch.Site{Point: arch.FFNOut})
	if err != nil {
		t.Fatal(err)
	}
	var out [][]float32
	for _, tr := range traces {
		if tr.Err != nil {
			t.Fatal(tr.Err)
		}
		out = append(out, tr.Values[0].Float32s())
	}
	return out
}

// TestOneBadEdit: an edit that cannot be made has its own error and leaves its
// neighbours alone.
func TestOneBadEdit(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{})
	ed := open1(t, lm, "", map[string]string{"mom2_adjustment": "false"})
	good := edittest.Edits()
	bad := []dataset.Edit{good[0], good[0], good[0], good[0]}
	bad[0].Subject, bad[0].SubjectEnd = "Zoe", -1
	bad[1].Target = ""
	bad[2].Prompt += strings.Repeat(" and on", 60)
	bad[3].Subject, bad[3].SubjectEnd = "", 0
	made := edittest.Apart(t, ed, nil, append(bad, good...))
	for i, want := range []error{locate.ErrSubject, ask.ErrNoTarget, ask.ErrTooLong, locate.ErrNoSubject} {
		if !errors.Is(made[i].Err, want) {
			t.Errorf("edit %d: %v, want %v", i, made[i].Err, want)
		}
	}
	for i := range good {
		if m := made[len(bad)+i]; m.Err != nil || len(m.Patch.Weights) != 1 {
			t.Errorf("good edit %d: %v", i, m.Err)
		}
	}
}

func TestInputsAreChecked(t *testing.T) {
	ctx := context.Background()
	artifacts, dir, edits := prepared(t, tinylm.Config{}), t.TempDir(), edittest.Edits()[:1]
	own := filepath.Join(artifacts, moments.File(0))
	m, err := moments.Read(own)
	if err != nil {
		t.Fatal(err)
	}
	m.Model = ""
	anonymous, singular := filepath.Join(dir, "anonymous.npz"), filepath.Join(dir, "singular.npz")
	if err := m.Write(anonymous); err != nil {
		t.Fatal(err)
	}
	for i := range m.C {
		m.C[i] = 1
	}
	if err := m.Write(singular); err != nil {
		t.Fatal(err)
	}
	with(t, "own model", tinylm.Config{}, func(t *testing.T, lm *models.LM) {
		for _, set := range []map[string]string{{"v_lr": "0"}, {"layer": "-1"}, {"kl_factor": "-1"}, {"key": "both"}} {
			if _, err := Method().Configure(lm.Info(), set); err == nil {
				t.Errorf("%v: accepted", set)
			}
		}
		if _, err := Method().Open(ctx, config(t, lm, nil), edit.Env{LM: lm}); !errors.Is(err, edit.ErrNotPrepared) || !strings.Contains(err.Error(), "rome.covariance") {
			t.Errorf("no covariance: %v", err)
		}
		if _, err := Method().Open(ctx, config(t, lm, map[string]string{"covariance": singular}), edit.Env{LM: lm}); !errors.Is(err, moments.ErrSingular) {
			t.Errorf("singular moments: %v", err)
		}
		for file, text := range map[string]string{"a.json": "{", "b.json": "[]", "c.json": `["{}","no slot"]`, "d.json": `["A. {}"]`} {
			path := filepath.Join(dir, file)
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			c := config(t, lm, map[string]string{"contexts": path})
			if _, err := Method().Open(ctx, c, edit.Env{LM: lm, Artifacts: artifacts}); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("contexts %s: %v", text, err)
			}
		}
		few := func(yield func(string, error) bool) { yield("Ada works as a cook.", nil) }
		for _, in := range []edit.PrepareEnv{{LM: lm}, {LM: lm, Texts: few}} {
			if err := Method().Prepare(ctx, config(t, lm, nil), in, filepath.Join(dir, "p")); err == nil || in.Texts != nil && !errors.Is(err, moments.ErrSingular) {
				t.Errorf("prepared from too little text: %v", err)
			}
		}
		for _, path := range []string{anonymous, own} {
			if made := edittest.Together(ctx, open1(t, lm, "", map[string]string{"covariance": path}), nil, edits...); made.Err != nil {
				t.Errorf("its own moments: %v", made.Err)
			}
		}
		if _, err := Method().Configure(lm.Info(), map[string]string{"layer": "9"}); err == nil || !strings.Contains(err.Error(), "the model has 2 layers") {
			t.Errorf("no such layer: %v", err)
		}
		ed := open1(t, lm, "", map[string]string{"mom2_adjustment": "false"})
		if made := edittest.Together(ctx, ed, nil, edittest.Edits()...); !errors.Is(made.Err, edit.ErrUnsupported) {
			t.Errorf("three edits at once: %v", made.Err)
		}
	})
	for label, c := range map[string]struct {
		model tinylm.Config
		path  string
	}{
		"another width": {tinylm.Config{FFN: 64}, anonymous}, "another model": {tinylm.Config{LayerNormOp: true}, own},
	} {
		with(t, label, c.model, func(t *testing.T, lm *models.LM) {
			ed := open1(t, lm, "", map[string]string{"covariance": c.path})
			if made := edittest.Together(ctx, ed, nil, edits...); !errors.Is(made.Err, moments.ErrMisfit) {
				t.Errorf("got %v", made.Err)
			}
		})
	}
	with(t, "encoder-decoder", tinylm.Config{Family: tinylm.T5}, func(t *testing.T, lm *models.LM) {
		if _, err := Method().Open(ctx, config(t, lm, map[string]string{"mom2_adjustment": "false"}), edit.Env{LM: lm}); !errors.Is(err, edit.ErrUnsupported) {
			t.Errorf("got %v", err)
		}
	})
}

// TestDenominator: a key at right angles to the update is refused.
func TestDenominator(t *testing.T) {
	ed := &editor{c: Config{Key: Mixed}}
	keys := [][]float32{{1, 0}, {-1, 2}} // mean (0, 1), at right angles to the bare key
	if _, err := ed.update(keys, [][]float32{{1}, {1}}, []float32{1}); !errors.Is(err, ErrDenominator) {
		t.Errorf("got %v", err)
	}
}

// TestDefaults are the reference's published settings.
func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		family string
		layers int
		want   int
		steps  int
		clamp  float64
	}{{"gpt2", 48, 17, 20, 4}, {"gpt2", 36, 12, 20, 4}, {"gpt2", 24, 8, 20, 3}, {"gptj", 28, 5, 20, 4}, {"llama", 32, 5, 25, 4}, {"gpt2", 12, 4, 20, 4}, {"gpt2", 6, 0, 20, 4}, {"", 0, 0, 20, 4}} {
		config, err := Method().Configure(&arch.Info{Family: c.family, Layers: c.layers}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := config.Value().(Config)
		if got.Layer != c.want || got.Steps != c.steps || got.Clamp != c.clamp {
			t.Errorf("%s with %d layers: %+v", c.family, c.layers, got)
		}
	}
}
