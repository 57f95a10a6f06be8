package models

import (
	"context"
	"fmt"
	"maps"

	"editpipe/tensor"
)

// input is one run in the making.
type input struct {
	lm      *LM
	v       variant
	jobs    []*job
	only    *Patch
	rows, T int
	wanted  []int64
	tapped  []int64 // rows of taps: of the decoder if v.taps, of the encoder if tapsEncoder

	tapsEncoder bool
	patches     map[string]*tensor.Tensor // inputs that carry the patches; made by run unless given
	encoded     *encoding                 // of encoder-decoders; made by run unless given
	past        *past                     // what stands in for the first positions; nil: nothing
	outputs     map[string]*tensor.Tensor // further outputs to fetch; filled by run
}

// newInput lays out jobs as rows of a run of their decoder.
func (lm *LM) newInput(r role, jobs []*job, only *Patch) *input {
	in := &input{lm: lm, v: lm.newVariant(r, jobs, only), jobs: jobs, only: only, rows: len(jobs)}
	for _, j := range jobs {
		in.T = max(in.T, j.fed())
	}
	return in
}

// want asks for the logits at a position of a row.
func (in *input) want(row, t int) {
	in.wanted = append(in.wanted, int64(row*in.T+t-in.past.start(row)))
}

// run feeds the decoder (after the encoder, if there is one) and returns the
// logits of the wanted positions, [P, V] float32, in the order of want; nil from
// a graph with taps, which ends below them.
func (in *input) run(ctx context.Context) (*tensor.Tensor, error) {
	lm := in.lm
	if in.patches == nil {
		var err error
		if in.patches, err = lm.patchFeeds(in.v, in.jobs, in.only); err != nil {
			return nil, err
		}
	}
	feeds := maps.Clone(in.patches)
	in.tokens(feeds)
	if lm.anatomy.Encoder != nil {
		if in.encoded == nil {
			var err error
			if in.encoded, err = lm.encode(ctx, in); err != nil {
				return nil, err
			}
		}
		in.encoded.feed(feeds, lm.graph(in.v.role).Ports)
	}
	out := map[string]*tensor.Tensor{}
	if in.v.taps {
		feeds[tapsInput] = tensor.FromInt64s(in.tapped, len(in.tapped))
	} else {
		feeds[rowsInput] = tensor.FromInt64s(in.wanted, len(in.wanted))
		out[logitsOutput] = nil
	}
	for name := range in.outputs {
		out[name] = nil
	}
	s, err := lm.session(ctx, in.v)
	if err != nil {
		return nil, err
	}
	if err := s.Run(ctx, feeds, out); err != nil {
		return nil, fmt.Errorf("models: running %s on %d rows of %d tokens: %w: %w", lm.Name(), in.rows, in.T, ErrRun, err)
	}
	for name := range in.outputs {
		in.outputs[name] = out[name]
	}
	return out[logitsOutput], nil
}
