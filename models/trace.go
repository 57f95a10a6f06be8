package models

import (
	"context"
	"editpipe/models/arch"
	"fmt"
	"slices"

	"editpipe/ask"
	"editpipe/tensor"
)

// TraceRow is a sequence whose activations are wanted. The sequence is the
// query's prompt followed by its first target, or the prompt alone if the
// query has no target.
type TraceRow struct {
	Query ask.Query
	Patch *Patch
	// Positions are token positions in the sequence that the traced side of the
	// model reads, template tokens included; negative ones count from the end
	// of the prompt, -1 being its last token.
	Positions []int
}

// Trace holds the activations of one row.
type Trace struct {
	IDs    []int64 // the sequence, without the last target token, which is never fed
	Prompt int     // how many of IDs are the prompt's
	// Values has one tensor per site asked for, [len(Positions), width] float32.
	Values []*tensor.Tensor
	Err    error // why this row has none
}

// Trace reads activations at chosen positions. Traces are parallel to rows,
// values within a trace to at. All sites must be on one side of the model;
// encoder sites are read while the encoder runs alone. Routes of a patch do not
// take part.
//
// It returns ErrSite, with the reason, for a site that the graph does not show.
func (lm *LM) Trace(ctx context.Context, rows []TraceRow, at ...arch.Site) ([]Trace, error) {
	if len(at) == 0 {
		return nil, fmt.Errorf("models: tracing: %w: none was named", ErrSite)
	}
	side := at[0].Side
	for _, s := range at {
		if s.Side != side {
			return nil, fmt.Errorf("models: tracing: %w: %s and %s are on different sides; trace them in two calls", ErrSite, at[0], s)
		}
		f := lm.info.FFN(s.Side, s.Layer)
		if f == nil {
			return nil, fmt.Errorf("models: tracing: %w: %s: the model has no such layer", ErrSite, s)
		}
		if value, why := f.Value(s.Point); value == "" {
			return nil, fmt.Errorf("models: tracing: %w: %s: %s", ErrSite, s, why)
		}
	}
	out := make([]Trace, len(rows))
	w := lm.newWave()
	byJob := map[*job][]int{}
	for i, r := range rows {
		j, err := w.openTrace(r, side, &out[i])
		if err != nil {
			out[i] = Trace{Err: err}
			continue
		}
		byJob[j] = append(byJob[j], i)
	}
	for _, b := range lm.plan(w.jobs, 0) {
		run := func(b batch) error { return lm.traceBatch(ctx, b, side, at, byJob, rows, out) }
		err := apart(ctx, run(b), len(b.jobs),
			func(k int) error { return run(batch{jobs: b.jobs[k : k+1], only: b.only}) },
			func(k int, err error) {
				for _, i := range byJob[b.jobs[k]] {
					out[i] = Trace{Err: err}
				}
			})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// openTrace files the sequence of a row and resolves its positions.
func (w *wave) openTrace(r TraceRow, side arch.Side, t *Trace) (*job, error) {
	patch, err := w.admit(r.Patch)
	if err != nil {
		return nil, err
	}
	prompt, err := w.lm.promptIDs(r.Query)
	if err != nil {
		return nil, err
	}
	j := joined{ids: append(slices.Clone(prompt), 0), first: len(prompt)}
	if targets(r.Query) > 0 {
		if j, err = w.lm.join(r.Query, prompt, 0); err != nil {
			return nil, err
		}
	} else if w.lm.anatomy.Encoder != nil {
		j = joined{encoder: prompt, ids: []int64{*w.lm.anatomy.Config.DecoderStart, 0}, first: 1}
	}
	if err := w.lm.fits(max(len(j.ids)-1, len(j.encoder)), 0); err != nil {
		return nil, err
	}
	t.IDs, t.Prompt = j.ids[:len(j.ids)-1], j.first
	if side == arch.Encoder {
		t.IDs, t.Prompt = j.encoder, len(j.encoder)
	}
	for _, p := range r.Positions {
		if at := position(p, t.Prompt); at < 0 || at >= len(t.IDs) {
			return nil, fmt.Errorf("models: tracing: %w: position %d of a sequence of %d tokens", ErrSite, p, len(t.IDs))
		}
	}
	return w.job(patch, j), nil
}

// position turns a position that counts from the end of the prompt into one
// that counts from the start.
func position(p, prompt int) int {
	if p < 0 {
		return prompt + p
	}
	return p
}

// traceBatch runs one batch and hands the activations to the rows.
func (lm *LM) traceBatch(ctx context.Context, b batch, side arch.Side, at []arch.Site, rowsOf map[*job][]int, rows []TraceRow, out []Trace) error {
	in := lm.newInput(forward, b.jobs, b.only)
	length := in.T
	if side == arch.Encoder {
		length = 0
		for _, j := range b.jobs {
			length = max(length, len(j.encoder))
		}
	}
	type span struct{ row, from, n int }
	var spans []span
	for k, j := range b.jobs {
		for _, i := range rowsOf[j] {
			spans = append(spans, span{i, len(in.tapped), len(rows[i].Positions)})
			for _, p := range rows[i].Positions {
				in.tapped = append(in.tapped, int64(k*length+position(p, out[i].Prompt)))
			}
		}
	}
	in.outputs = map[string]*tensor.Tensor{}
	for _, s := range at {
		in.outputs[tapOf(s)] = nil
	}
	var err error
	if side == arch.Encoder {
		in.tapsEncoder = true
		_, err = lm.encode(ctx, in)
	} else {
		in.v.taps = true
		for _, s := range at {
			in.v.top = max(in.v.top, s.Layer)
		}
		_, err = in.run(ctx)
	}
	if err != nil {
		return err
	}
	for _, sp := range spans {
		for _, s := range at {
			v := in.outputs[tapOf(s)]
			width := v.Shape[1]
			part := slices.Clone(v.Float32s()[sp.from*width : (sp.from+sp.n)*width])
			out[sp.row].Values = append(out[sp.row].Values, tensor.FromFloat32s(part, sp.n, width))
		}
	}
	return nil
}
