package edittest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
)

// closeTo bounds the difference between log-probabilities of a row that was asked
// in other company, relative to their size, at least 1 nat. Rows are padded to the
// longest of a run, and kernels add up padded rows in another order; 80 roundings
// of float32 (2^-24) leave as much. A row that sees a thousandth of its neighbour
// moves by 1e-4 and more (task test:sabotage). Elements of a weight change are held
// to the same share of the largest one, however many steps a search makes: it sees
// the same bits in any company (loss.Searches), and only what is read once, keys
// and values, is padded otherwise.
const closeTo = 5e-6

// Run checks a method against everything the stages rely on.
func Run(t *testing.T, m edit.Method, o Options) {
	lm := Open(t, o.Model)
	s := &suite{m: m, o: o, lm: lm, recs: Records(), edits: Edits(), ctx: context.Background()}
	t.Run("configuration", s.configuration)
	t.Run("schedules", s.schedules)
	t.Run("no edits", s.noEdits)
	t.Run("model unchanged", s.unchanged)
	t.Run("deterministic", s.deterministic)
	t.Run("saved and loaded", s.saved)
	t.Run("company does not matter", s.company)
	t.Run("chain", s.chain)
}

type suite struct {
	m     edit.Method
	o     Options
	lm    *models.LM
	recs  []dataset.Record
	edits []dataset.Edit
	ctx   context.Context
}

func (s *suite) has(k edit.Kind) bool {
	if s.o.Kinds != nil {
		return slices.Contains(s.o.Kinds, k)
	}
	return slices.Contains(s.m.Schedules, k)
}

// batch is the most edits the method makes together, of those of the suite.
func (s *suite) batch() []dataset.Edit {
	if s.has(edit.Batch) {
		return s.edits
	}
	return s.edits[:1]
}

func (s *suite) make(t *testing.T, on *patch.Patch, edits []dataset.Edit) *patch.Patch {
	t.Helper()
	made := Together(s.ctx, editor(t, s.m, s.o, s.lm), on, edits...)
	if made.Err != nil {
		t.Fatal(made.Err)
	}
	if n := len(made.Efforts); n != 0 && n != len(edits) {
		t.Errorf("%d efforts for %d edits", n, len(edits))
	}
	return made.Patch
}

func (s *suite) ask(t *testing.T, p *patch.Patch) []ask.Answer {
	t.Helper()
	var all []answer.Row
	for _, r := range s.recs {
		all = append(all, rows(r, p)...)
	}
	return s.score(t, all)
}

func (s *suite) score(t *testing.T, all []answer.Row) []ask.Answer {
	t.Helper()
	answers, err := answer.Score(s.ctx, s.lm, all)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		if a.Err != nil {
			t.Fatalf("asking %q: %v", all[i].Query.Prompt, a.Err)
		}
	}
	return answers
}

// configuration: keys are documented, unknown ones refused, presets are sound, and a
// printed configuration reads back as itself.
func (s *suite) configuration(t *testing.T) {
	keys, err := s.m.Keys(&arch.Info{})
	if err != nil {
		t.Fatalf("defaults without a model: %v", err)
	}
	for _, k := range keys {
		if k.Doc == "" {
			t.Errorf("key %s has no doc", k.Name)
		}
	}
	if _, err := s.m.Configure(s.lm.Info(), map[string]string{"no such key": "1"}); err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("unknown key: %v", err)
	}
	c, err := s.m.Configure(s.lm.Info(), s.o.Set)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.m.Configure(s.lm.Info(), c.Map())
	if err != nil || again.Hash() != c.Hash() {
		t.Errorf("%q reads back as %q, %v", c, again, err)
	}
	for _, p := range s.m.Presets { // each of the first model that it is for
		if _, err := s.m.Configure(&arch.Info{Family: p.Family, Layers: p.From}, nil); err != nil {
			t.Errorf("preset for %s: %v", p.Models(), err)
		}
	}
	if s.m.Name == "" || s.m.Title == "" || s.m.Version < 1 || len(s.m.Schedules) == 0 {
		t.Errorf("name, title, version or schedules are missing: %+v", s.m)
	}
}

// schedules: what the method does not define is refused with ErrUnsupported, by
// Supports and, where an editor can notice, by the editor.
func (s *suite) schedules(t *testing.T) {
	for _, set := range []edit.Schedule{{Kind: edit.Single}, {Kind: edit.Batch, N: 2}, {Kind: edit.Sequential}} {
		err := s.m.Supports(set, s.lm.Info())
		if slices.Contains(s.m.Schedules, set.Kind) != (err == nil) || err != nil && !errors.Is(err, edit.ErrUnsupported) {
			t.Errorf("schedule %s: %v", set, err)
		}
	}
	if !s.has(edit.Batch) && !s.has(edit.Sequential) {
		if made := Together(s.ctx, editor(t, s.m, s.o, s.lm), nil, s.edits[:2]...); !errors.Is(made.Err, edit.ErrUnsupported) {
			t.Errorf("two edits at once: %v", made.Err)
		}
	}
	c, err := s.m.Configure(s.lm.Info(), s.o.Set)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.m.Apart(c); slices.Contains(s.m.Schedules, edit.Single) && (s.has(edit.Single) != (err == nil) || err != nil && !errors.Is(err, edit.ErrUnsupported)) {
		t.Errorf("edits each alone: %v", err)
	}
}

func (s *suite) noEdits(t *testing.T) {
	ed := editor(t, s.m, s.o, s.lm)
	if made := Together(s.ctx, ed, nil); !errors.Is(made.Err, edit.ErrNoEdits) {
		t.Errorf("a group without edits: %v", made.Err)
	}
	if made, err := ed.Make(s.ctx, nil, nil); len(made) != 0 || err != nil {
		t.Errorf("no groups: %v, %v", made, err)
	}
	ended, end := context.WithCancel(s.ctx)
	end()
	if made := Together(ended, ed, nil, s.batch()...); !errors.Is(made.Err, context.Canceled) {
		t.Errorf("after the end of the context: %v", made.Err)
	}
}

// unchanged: editing moves neither weights nor answers of the model, so that
// leaving the patch out is an exact rollback; the patch itself is no empty word.
func (s *suite) unchanged(t *testing.T) {
	before, weights := s.ask(t, nil), s.weights(t)
	p := s.make(t, nil, s.batch())
	during := s.ask(t, p)
	if after := s.ask(t, nil); !sameAnswers(before, after, 0) {
		t.Error("the unedited model answers differently after an edit")
	}
	if !slices.Equal(weights, s.weights(t)) {
		t.Error("an edit wrote to the model's weights")
	}
	if moved := !sameAnswers(before, during, 0); moved == s.o.Unchanged {
		t.Errorf("answers through the patch moved: %v", moved)
	}
	if p.Method != s.m.Name {
		t.Errorf("patch names method %q", p.Method)
	}
	for _, e := range s.batch() {
		if !slices.Contains(p.Edits, string(e.ID)) {
			t.Errorf("patch does not name edit %s", e.ID)
		}
	}
}

func (s *suite) weights(t *testing.T) [][32]byte {
	t.Helper()
	var sums [][32]byte
	for _, f := range s.lm.Info().FFNs {
		for _, part := range []arch.Part{arch.FFNUp, arch.FFNGate, arch.FFNDown} {
			w := f.Weight(part)
			if w == nil || !w.Editable {
				continue
			}
			v, err := s.lm.Weight(w.ID)
			if err != nil {
				t.Fatal(err)
			}
			sums = append(sums, v.Hash())
		}
	}
	return sums
}

func (s *suite) deterministic(t *testing.T) {
	a, b := s.make(t, nil, s.batch()), s.make(t, nil, s.batch())
	if !samePatch(a, b) {
		t.Error("the same edit made twice gives other weight changes")
	}
	if !sameAnswers(s.ask(t, a), s.ask(t, b), 0) {
		t.Error("the same edit made twice gives other answers")
	}
}

func (s *suite) saved(t *testing.T) {
	p := s.make(t, nil, s.batch())
	path := filepath.Join(t.TempDir(), "patch.safetensors")
	meta := patch.Meta{Model: s.lm.Name(), ModelHash: s.lm.Hash(), TokenizerHash: s.lm.TokenizerHash()}
	if err := p.Save(path, meta); err != nil {
		t.Fatal(err)
	}
	q, had, err := patch.Load(path, s.m.Decoders)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.lm.Fits(q, had); err != nil {
		t.Error(err)
	}
	if q.Method != p.Method || !slices.Equal(q.Edits, p.Edits) || !samePatch(p, q) || len(q.State) != len(p.State) {
		t.Errorf("patch of %s %v came back as %s %v, or with other tensors", p.Method, p.Edits, q.Method, q.Edits)
	}
	if !sameAnswers(s.ask(t, p), s.ask(t, q), 0) {
		t.Error("a loaded patch gives other answers")
	}
}

// company: an edit made beside others is the edit made alone, and a row asked
// beside others gives the answer it gives alone.
func (s *suite) company(t *testing.T) {
	if !s.has(edit.Single) {
		t.Skip("the method does not make single edits")
	}
	made := Apart(t, editor(t, s.m, s.o, s.lm), nil, s.edits)
	var mixed []answer.Row
	for i, r := range s.recs {
		if made[i].Err != nil {
			t.Fatal(made[i].Err)
		}
		mixed = append(mixed, rows(r, made[i].Patch)...)
		mixed = append(mixed, rows(r, nil)...)
	}
	together := s.score(t, mixed)
	at, worst := 0, 0.0
	for i, r := range s.recs {
		alone := s.make(t, nil, s.edits[i:i+1])
		if d := changesApart(alone, made[i].Patch); math.IsNaN(d) || d > closeTo {
			t.Errorf("edit %s made alone and in company gives weight changes that are %.2g of their size apart", s.edits[i].ID, d)
		}
		for _, p := range []*patch.Patch{alone, nil} {
			for _, row := range rows(r, p) {
				one := s.score(t, []answer.Row{row})
				s.keep(t, s.edits[i].ID, row, one[0])
				worst = max(worst, apart(one[0], together[at]))
				if !sameAnswers(one, together[at:at+1], closeTo) {
					t.Errorf("edit %s, patched %v, %q: %v alone, %v in company", s.edits[i].ID, p != nil, row.Query.Prompt,
						one[0].Targets[0].LogProbs, together[at].Targets[0].LogProbs)
				}
				at++
			}
		}
	}
	t.Logf("largest difference in company, relative: %.2g", worst)
}

// keep adds an answer to the file that the flag names.
func (s *suite) keep(t *testing.T, id dataset.EditID, row answer.Row, a ask.Answer) {
	t.Helper()
	if *answers == "" {
		return
	}
	f, err := os.OpenFile(*answers, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for k, c := range a.Targets {
		for i, p := range c.LogProbs {
			_, e := fmt.Fprintf(f, "%s\tedit %s, %q, target %d, token %d, patched %v\t%.9g\t%d\n", t.Name(), id, row.Query.Prompt, k, i, row.Patch != nil, p, c.Argmax[i])
			err = errors.Join(err, e)
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// chain: the second edit stands on the first, and leaves the first's patch alone.
func (s *suite) chain(t *testing.T) {
	if !s.has(edit.Sequential) {
		t.Skip("the method does not make sequential edits")
	}
	first := s.make(t, nil, s.edits[:1])
	before := s.ask(t, first)
	second := s.make(t, first, s.edits[1:2])
	if want := []string{string(s.edits[0].ID), string(s.edits[1].ID)}; !slices.Equal(second.Edits, want) {
		t.Errorf("after two edits the patch holds %v, want %v", second.Edits, want)
	}
	if !sameAnswers(before, s.ask(t, first), 0) {
		t.Error("the second edit changed the first one's patch")
	}
}

// samePatch compares what two patches add bit by bit.
func samePatch(a, b *patch.Patch) bool {
	same := func(x, y []*tensor.Tensor) bool {
		return slices.EqualFunc(x, y, func(s, t *tensor.Tensor) bool { return s.Hash() == t.Hash() })
	}
	return slices.EqualFunc(a.Weights, b.Weights, func(x, y patch.Weight) bool {
		return x.At == y.At && x.Bias == y.Bias && same(x.Tensors(), y.Tensors())
	}) && slices.EqualFunc(a.Splices, b.Splices, func(x, y patch.Splice) bool {
		return x.At == y.At && x.Kind == y.Kind && x.Where == y.Where && same(x.Tensors(), y.Tensors())
	})
}

// parts are the tensors of all that a patch adds, by weight and splice.
func parts(p *patch.Patch) [][]*tensor.Tensor {
	var list [][]*tensor.Tensor
	for _, w := range p.Weights {
		list = append(list, w.Tensors())
	}
	for _, s := range p.Splices {
		list = append(list, s.Tensors())
	}
	return list
}

// changesApart is the largest difference of two patches' elements, relative to the
// largest element of the same change; infinite for changes of other forms, NaN
// where an element is.
func changesApart(a, b *patch.Patch) float64 {
	xs, ys := parts(a), parts(b)
	if len(xs) != len(ys) {
		return math.Inf(1)
	}
	worst := 0.0
	for i, x := range xs {
		y := ys[i]
		if len(x) != len(y) {
			return math.Inf(1)
		}
		for k := range x {
			if x[k].Len() != y[k].Len() {
				return math.Inf(1)
			}
			size, apart := 0.0, 0.0
			for j, v := range x[k].Float32s() {
				size = max(size, math.Abs(float64(v)))
				apart = max(apart, math.Abs(float64(v)-float64(y[k].Float32s()[j])))
			}
			if apart != 0 {
				worst = max(worst, apart/size)
			}
		}
	}
	return worst
}

// sameAnswers compares tokens, and log-probabilities up to a tolerance that is
// relative to their size, at least 1 nat.
func sameAnswers(a, b []ask.Answer, tolerance float64) bool {
	return slices.EqualFunc(a, b, func(x, y ask.Answer) bool {
		return slices.EqualFunc(x.Targets, y.Targets, func(x, y ask.Continuation) bool {
			return slices.Equal(x.IDs, y.IDs) && slices.EqualFunc(x.LogProbs, y.LogProbs, func(p, q float64) bool {
				return relative(p, q) <= tolerance
			})
		})
	})
}

func relative(p, q float64) float64 { return math.Abs(p-q) / max(1, math.Abs(p)) }

// apart is the largest relative difference of the log-probabilities of answers to
// one question.
func apart(a, b ask.Answer) float64 {
	worst := 0.0
	for i, c := range a.Targets {
		for k, p := range c.LogProbs {
			worst = max(worst, relative(p, b.Targets[i].LogProbs[k]))
		}
	}
	return worst
}
