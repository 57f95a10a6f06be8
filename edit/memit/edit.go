package memit

import (
	"context"
	"fmt"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/models"
	"editpipe/tensor"
)

// wanted is a fact with the hidden state that states it.
type wanted struct {
	id     dataset.EditID
	fact   *locate.Fact
	value  []float64 // z
	effort edit.Effort
}

// Edit makes edits together.
func (ed *editor) Edit(ctx context.Context, on edit.Base, edits []dataset.Edit) (models.Patch, error) {
	if len(edits) == 0 {
		return models.Patch{}, edit.ErrNoEdits
	}
	facts, errs, err := ed.search(ctx, on, edits)
	if err != nil {
		return models.Patch{}, edit.Wrap(name, "", locate.Refused(err))
	}
	for i, err := range errs {
		if err != nil {
			return models.Patch{}, edit.Wrap(name, edits[i].ID, err)
		}
	}
	p, err := ed.spread(ctx, on, facts)
	if err != nil {
		return models.Patch{}, edit.Wrap(name, "", locate.Refused(err))
	}
	return *p, nil
}

// EditEach makes every edit alone; their values are searched side by side.
func (ed *editor) EditEach(ctx context.Context, on edit.Base, edits []dataset.Edit) ([]models.Patch, []error) {
	patches := make([]models.Patch, len(edits))
	facts, errs, err := ed.search(ctx, on, edits)
	for i := range edits {
		if errs[i] != nil {
			continue
		}
		if err != nil {
			errs[i] = locate.Refused(err)
			continue
		}
		p, err := ed.spread(ctx, on, facts[i:i+1])
		if err != nil {
			errs[i] = locate.Refused(err)
			continue
		}
		patches[i] = *p
	}
	return patches, errs
}

// search finds the hidden states that state the facts. It returns one error per
// edit and one that concerns all.
func (ed *editor) search(ctx context.Context, on edit.Base, edits []dataset.Edit) ([]wanted, []error, error) {
	facts, errs := make([]wanted, len(edits)), make([]error, len(edits))
	if len(edits) == 0 {
		return facts, errs, nil
	}
	if err := ed.fits(on.LM); err != nil {
		return facts, errs, err
	}
	contexts, err := ed.texts(ctx, on.LM)
	if err != nil {
		return facts, errs, err
	}
	site := models.Site{Layer: ed.last(), Point: models.Hidden}
	tokens, starts := make([]*locate.Fact, len(edits)), make([][]float32, len(edits))
	for i, e := range edits {
		if tokens[i], errs[i] = locate.NewFact(on.LM, e, contexts, ed.c.FactToken); errs[i] != nil {
			continue
		}
		traces, err := read(ctx, on.LM, &on.Patch, tokens[i].Prompts[:1], site)
		if err != nil {
			return facts, errs, err
		}
		starts[i] = traces[0].Values[0].Float32s()
	}
	s := locate.Search{Steps: ed.c.Steps, Rate: ed.c.Rate, Decay: ed.c.Decay, Clamp: ed.c.Clamp, KL: ed.c.KL}
	found, err := locate.Optimise(ctx, on.LM, &on.Patch, site, tokens, starts, s)
	if err != nil {
		return facts, errs, err
	}
	for i, e := range edits {
		if errs[i] == nil {
			errs[i] = found[i].Err
		}
		if errs[i] != nil {
			continue
		}
		n := len(found[i].Losses)
		facts[i] = wanted{e.ID, tokens[i], make([]float64, len(starts[i])), edit.Effort{Steps: int32(n), FinalLoss: found[i].Losses[n-1]}}
		for j, x := range starts[i] {
			facts[i].value[j] = float64(x) + float64(found[i].Shift[j])
		}
	}
	return facts, errs, nil
}

// last is the last layer that is changed.
func (ed *editor) last() int { return ed.layers[len(ed.layers)-1].index }

// down names the down-projection of a layer.
func down(layer int) models.WeightID { return models.WeightID{Layer: layer, Part: models.FFNDown} }

// fits says what keeps the layers from being changed in a model.
func (ed *editor) fits(lm *models.LM) error {
	for _, l := range ed.layers {
		at := down(l.index)
		if w := lm.Info().Weight(at); w == nil || !w.Editable {
			why := "the model has no such weight"
			if w != nil {
				why = w.Why
			}
			return fmt.Errorf("%w: %s: %s", models.ErrNotEditable, at, why)
		}
		if err := l.moments.Fits(lm, l.index); err != nil {
			return err
		}
	}
	return nil
}

// spread changes layer after layer until the hidden states are those wanted.
func (ed *editor) spread(ctx context.Context, on edit.Base, facts []wanted) (*models.Patch, error) {
	var rows []locate.Sequence
	mine := &models.Patch{Method: name}
	efforts := make([]edit.Effort, len(facts))
	for i, f := range facts {
		rows = append(rows, f.fact.Prompts...)
		mine.Edits = append(mine.Edits, string(f.id))
		efforts[i] = f.effort
	}
	each := len(facts[0].fact.Prompts)
	for j, l := range ed.layers {
		traces, err := read(ctx, on.LM, on.Patch.Then(mine), rows,
			models.Site{Layer: l.index, Point: models.FFNAct}, models.Site{Layer: ed.last(), Point: models.Hidden})
		if err != nil {
			return nil, err
		}
		keys := make([][]float64, len(facts))
		width := len(facts[0].value)
		right := make([]float32, 0, len(facts)*width)
		for i, f := range facts {
			of := traces[i*each : (i+1)*each]
			keys[i] = key(of)
			for k, h := range of[0].Values[1].Float32s() {
				right = append(right, float32((f.value[k]-float64(h))/float64(len(ed.layers)-j)))
			}
		}
		columns, err := l.adjust(ed.c.Weight, keys)
		if err != nil {
			return nil, err
		}
		left := make([]float32, l.moments.Width*len(facts))
		for i, column := range columns {
			for k, x := range column {
				left[k*len(facts)+i] = float32(x)
			}
		}
		mine.Changes = append(mine.Changes, models.LowRank{
			At: down(l.index),
			U:  tensor.FromFloat32s(left, l.moments.Width, len(facts)),
			V:  tensor.FromFloat32s(right, len(facts), width),
		})
	}
	p := on.Patch.Then(mine)
	edit.SetEffort(p, efforts)
	return p, nil
}

// key is half the key of the bare prompt and half the mean of the others.
func key(traces []models.Trace) []float64 {
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
func read(ctx context.Context, lm *models.LM, patch *models.Patch, at []locate.Sequence, sites ...models.Site) ([]models.Trace, error) {
	var rows []models.TraceRow
	for _, s := range at {
		rows = append(rows, models.TraceRow{Query: ask.Query{PromptIDs: s.IDs}, Patch: patch, Positions: []int{s.At}})
	}
	traces, err := lm.Trace(ctx, rows, sites...)
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
