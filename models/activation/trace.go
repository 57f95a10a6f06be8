// Package activation reads activations, the values that a model computes
// between its input and its output: at sites and chosen positions, or as sums
// of their products over text. It also reads the embeddings of tokens and
// computes vectors of texts.
package activation

import (
	"context"
	"fmt"
	"slices"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/tensor"
)

// Row is a sequence whose activations are wanted. The sequence is the
// query's prompt followed by its first target, or the prompt alone if the
// query has no target.
type Row struct {
	Query ask.Query
	Patch *patch.Patch
	// Positions are token positions in the sequence that the traced side of the
	// model reads, template tokens included; negative ones count from the end
	// of the prompt, -1 being its last token.
	Positions []int
}

// Traced holds the activations of one row.
type Traced struct {
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
func Trace(ctx context.Context, lm *models.LM, rows []Row, at ...arch.Site) ([]Traced, error) {
	if len(at) == 0 {
		return nil, fmt.Errorf("models: tracing: %w: none was named", arch.ErrSite)
	}
	side := at[0].Side
	taps := graph.Taps{}
	for _, s := range at {
		if s.Side != side {
			return nil, fmt.Errorf("models: tracing: %w: %s and %s are on different sides; trace them in two calls", arch.ErrSite, at[0], s)
		}
		if _, _, err := lm.Info().Site(s); err != nil {
			return nil, fmt.Errorf("models: tracing: %w", err)
		}
		taps.Top = max(taps.Top, s.Layer)
	}
	out := make([]Traced, len(rows))
	in := run.NewIntake(lm)
	rowsOf := map[*run.Question][]int{}
	for i, r := range rows {
		q, err := toTrace(lm, in, r, side, &out[i])
		if err != nil {
			out[i] = Traced{Err: err}
			continue
		}
		rowsOf[q] = append(rowsOf[q], i)
	}
	for _, b := range run.Plan(lm, in.Questions, 0) {
		once := func(b run.Batch) error { return traceBatch(ctx, lm, b, taps, at, rowsOf, rows, out) }
		err := run.Alone(ctx, once(b), len(b.Questions),
			func(k int) error { return once(run.Batch{Questions: b.Questions[k : k+1], Only: b.Only}) },
			func(k int, err error) {
				for _, i := range rowsOf[b.Questions[k]] {
					out[i] = Traced{Err: err}
				}
			})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// toTrace files the sequence of a row and resolves its positions.
func toTrace(lm *models.LM, in *run.Intake, r Row, side arch.Side, t *Traced) (*run.Question, error) {
	through, err := in.Admit(r.Patch)
	if err != nil {
		return nil, err
	}
	prompt, err := run.PromptIDs(lm, r.Query)
	if err != nil {
		return nil, err
	}
	s := run.Unanswered(lm, prompt)
	if run.Targets(r.Query) > 0 {
		j, err := run.Join(lm, r.Query, prompt, 0)
		if err != nil {
			return nil, err
		}
		s = j.Sequence
	}
	if err := run.Within(lm, max(s.Fed(), len(s.Encoder)), 0); err != nil {
		return nil, err
	}
	q := in.File(through, s)
	t.IDs, t.Prompt = q.Tokens(), len(q.Prompt)
	if side == arch.Encoder {
		t.IDs, t.Prompt = q.Encoder, len(q.Encoder)
	}
	for _, p := range r.Positions {
		if at := position(p, t.Prompt); at < 0 || at >= len(t.IDs) {
			return nil, fmt.Errorf("models: tracing: %w: position %d of a sequence of %d tokens", arch.ErrSite, p, len(t.IDs))
		}
	}
	return q, nil
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
func traceBatch(ctx context.Context, lm *models.LM, b run.Batch, taps graph.Taps, at []arch.Site, rowsOf map[*run.Question][]int, rows []Row, out []Traced) error {
	role := arch.Forward
	if at[0].Side == arch.Encoder {
		role = arch.Encode
	}
	r := run.New(lm, role, b.Questions, b.Only)
	r.Spec.Give = taps
	type span struct{ row, from, n int }
	var spans []span
	var tapped []int64
	for k, q := range b.Questions {
		for _, i := range rowsOf[q] {
			spans = append(spans, span{i, len(tapped), len(rows[i].Positions)})
			for _, p := range rows[i].Positions {
				tapped = append(tapped, int64(k*r.T+position(p, out[i].Prompt)))
			}
		}
	}
	r.Inputs[graph.TapRows] = tensor.FromInt64s(tapped, len(tapped))
	for _, s := range at {
		r.Outputs[graph.Tap(s)] = nil
	}
	if err := r.Compute(ctx); err != nil {
		return err
	}
	for _, sp := range spans {
		for _, s := range at {
			v := r.Outputs[graph.Tap(s)]
			width := v.Shape[1]
			part := slices.Clone(v.Float32s()[sp.from*width : (sp.from+sp.n)*width])
			out[sp.row].Values = append(out[sp.row].Values, tensor.FromFloat32s(part, sp.n, width))
		}
	}
	return nil
}
