// Package spread makes a change that is spread over the down-projections of
// several layers, for the methods that do so: values are optimised at the last
// of the layers, and each layer in turn makes its share of what is still
// missing.
package spread

import (
	"context"
	"slices"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
)

// Rule is what tells apart the methods that spread a change over layers.
type Rule struct {
	Method string
	// Points of the last layer at which values are searched together; that of the
	// first is what the layers are changed for.
	Points []arch.Point
	// Over is what that which is missing is divided by for a layer, with so many
	// layers left, itself included.
	Over func(left int) float64
	// Bare says that targets are not parted from the prompt by a space.
	Bare  bool
	Weigh func(locate.Standing) (likelihood float64, enough bool) // see locate.Search
}

// Editor is an editor that searches, for every fact, a value at the last of
// its layers under which the model says the new object, and then changes layer
// after layer, each with the changes of those before it in force, by
//
//	W' = W + (weight C + K K')^-1 K R',   R = (Z - H) / over
//
// with W [in, out] the layer's down-projection, C the second moments of its
// keys, K [in, n] the keys of the subjects, and H [width, n] the values that are to
// become Z (Meng et al. 2023, "Mass-Editing Memory in a Transformer", equations
// 14 and 20, algorithm 1). A key is half that of the bare prompt and half the mean
// over the prompt behind contexts.
type Editor struct {
	c        Config
	rule     Rule
	lm       *models.LM
	contexts *locate.Texts
	layers   []layer // ascending
}

// Wanted is a fact with the value that states it.
type Wanted struct {
	ID     dataset.EditID
	Fact   *locate.Fact
	Value  []float64
	Effort edit.Effort
}

// Make makes groups of edits; the values of all are searched side by side. An edit
// that cannot be made is blamed before the search, from which its group is left out.
func (s *Editor) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made, edits := make([]edit.Made, len(groups)), slices.Concat(groups...)
	facts, errs, err := s.facts(ctx, edits)
	if err != nil {
		return nil, err
	}
	at := 0
	for i, g := range groups {
		if made[i].Err = s.blame(g, errs[at:at+len(g)]); made[i].Err != nil {
			for k := range g {
				errs[at+k] = made[i].Err
			}
		}
		at += len(g)
	}
	wanted, err := s.values(ctx, on, edits, facts, errs)
	if err != nil {
		return made, err
	}
	at = 0
	for i, g := range groups {
		if made[i].Err = s.blame(g, errs[at:at+len(g)]); made[i].Err == nil {
			made[i] = s.spread(ctx, on, wanted[at:at+len(g)])
		}
		at += len(g)
	}
	return made, nil
}

// Search finds the values that state the facts. It returns one error per edit
// and one that concerns all.
func (s *Editor) Search(ctx context.Context, on *patch.Patch, edits []dataset.Edit) ([]Wanted, []error, error) {
	facts, errs, err := s.facts(ctx, edits)
	if err != nil {
		return nil, errs, err
	}
	wanted, err := s.values(ctx, on, edits, facts, errs)
	return wanted, errs, err
}

// blame is the first error of a group's edits.
func (s *Editor) blame(edits []dataset.Edit, errs []error) error {
	for i, err := range errs {
		if err != nil {
			return edit.Wrap(s.rule.Method, edits[i].ID, err)
		}
	}
	return nil
}

// facts builds the sequences of edits.
func (s *Editor) facts(ctx context.Context, edits []dataset.Edit) ([]*locate.Fact, []error, error) {
	for _, l := range s.layers {
		if err := l.moments.Fits(s.lm, l.index); err != nil {
			return nil, nil, err
		}
	}
	contexts, err := s.contexts.All(ctx)
	if err != nil {
		return nil, nil, err
	}
	facts, errs := make([]*locate.Fact, len(edits)), make([]error, len(edits))
	for i, e := range edits {
		facts[i], errs[i] = locate.NewFact(s.lm, e, contexts, s.c.FactToken, s.rule.Bare)
	}
	return facts, errs, nil
}

// values finds the values that state the facts without an error, and adds to
// the errors.
func (s *Editor) values(ctx context.Context, on *patch.Patch, edits []dataset.Edit, facts []*locate.Fact, errs []error) ([]Wanted, error) {
	sites := s.sites()
	wanted, starts := make([]Wanted, len(edits)), make([][]float32, len(edits))
	for i, f := range facts {
		if errs[i] != nil {
			continue
		}
		traces, err := read(ctx, s.lm, on, f.Prompts[:1], sites...)
		if err != nil {
			return nil, err
		}
		for _, v := range traces[0].Values {
			starts[i] = append(starts[i], v.Float32s()...)
		}
	}
	found, err := locate.OptimiseAt(ctx, s.lm, on, sites, facts, starts, locate.Search{
		Steps: s.c.Steps, Rate: s.c.Rate, Decay: s.c.Decay, Clamp: s.c.Clamp, KL: s.c.KL, Weigh: s.rule.Weigh,
	})
	if err != nil {
		return nil, err
	}
	for i, e := range edits {
		if errs[i] == nil {
			errs[i] = found[i].Err
		}
		if errs[i] != nil {
			continue
		}
		n, width := len(found[i].Losses), len(starts[i])/len(sites)
		wanted[i] = Wanted{e.ID, facts[i], make([]float64, width), edit.Effort{Steps: int32(n), FinalLoss: float32(found[i].Losses[n-1])}}
		for j, x := range starts[i][:width] {
			wanted[i].Value[j] = float64(x) + float64(found[i].Shift[j])
		}
	}
	return wanted, nil
}

// sites are where values are searched.
func (s *Editor) sites() []arch.Site {
	var sites []arch.Site
	for _, p := range s.rule.Points {
		sites = append(sites, arch.Site{Layer: s.layers[len(s.layers)-1].index, Point: p})
	}
	return sites
}

// spread changes layer after layer to make the values those wanted.
func (s *Editor) spread(ctx context.Context, on *patch.Patch, facts []Wanted) edit.Made {
	var rows []locate.Sequence
	mine := &patch.Patch{Method: s.rule.Method}
	efforts := make([]edit.Effort, len(facts))
	for i, f := range facts {
		rows = append(rows, f.Fact.Prompts...)
		mine.Edits = append(mine.Edits, string(f.ID))
		efforts[i] = f.Effort
	}
	each := len(facts[0].Fact.Prompts)
	for j, l := range s.layers {
		traces, err := read(ctx, s.lm, on.Then(mine), rows, arch.Site{Layer: l.index, Point: arch.FFNAct}, s.sites()[0])
		if err != nil {
			return edit.Made{Err: err}
		}
		keys := make([][]float64, len(facts))
		width, over := len(facts[0].Value), s.rule.Over(len(s.layers)-j)
		right := make([]float32, 0, len(facts)*width)
		for i, f := range facts {
			of := traces[i*each : (i+1)*each]
			keys[i] = key(of)
			for k, h := range of[0].Values[1].Float32s() {
				right = append(right, float32((f.Value[k]-float64(h))/over))
			}
		}
		columns, err := l.adjust(s.c.Weight, keys)
		if err != nil {
			return edit.Made{Err: err}
		}
		left := make([]float32, l.moments.Width*len(facts))
		for i, column := range columns {
			for k, x := range column {
				left[k*len(facts)+i] = float32(x)
			}
		}
		mine.Weights = append(mine.Weights, patch.Weight{
			At: locate.Down(l.index),
			U:  tensor.FromFloat32s(left, l.moments.Width, len(facts)),
			V:  tensor.FromFloat32s(right, len(facts), width),
		})
	}
	return edit.Made{Patch: on.Then(mine), Efforts: efforts}
}

// key is half the key of the bare prompt and half the mean of the others.
func key(traces []activation.Traced) []float64 {
	var keys [][]float32
	for _, t := range traces {
		keys = append(keys, t.Values[0].Float32s())
	}
	k := locate.Mean(keys[:1])
	if len(keys) > 1 {
		for i, x := range locate.Mean(keys[1:]) {
			k[i] = (k[i] + x) / 2
		}
	}
	return k
}

// read traces sites where the facts enter, through a patch.
func read(ctx context.Context, lm *models.LM, on *patch.Patch, at []locate.Sequence, sites ...arch.Site) ([]activation.Traced, error) {
	var rows []activation.Row
	for _, s := range at {
		rows = append(rows, activation.Row{Query: ask.Query{PromptIDs: s.IDs}, Patch: on, Positions: []int{s.At}})
	}
	traces, err := activation.Trace(ctx, lm, rows, sites...)
	if err != nil {
		return nil, err
	}
	for _, t := range traces {
		if t.Err != nil {
			return nil, t.Err
		}
	}
	return traces, nil
}
