package run

import (
	"context"

	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/ports"
	"editpipe/tensor"
)

// Encoded is what the encoder makes of the prompts of a run.
type Encoded struct {
	states *tensor.Tensor // [B, S, width]
	mask   *tensor.Tensor // int64 [B, S]
}

// feed feeds a decoder what it takes of the encoder.
func (e *Encoded) feed(feeds map[string]*tensor.Tensor, p ports.Ports) {
	if p.EncoderStates != "" {
		feeds[p.EncoderStates] = e.states
	}
	if p.EncoderMask != "" {
		feeds[p.EncoderMask] = integers(p.Type(p.EncoderMask), e.mask.Int64s(), e.mask.Shape...)
	}
}

// Take is what the encoder makes of the listed rows.
func (e *Encoded) Take(rows []int) *Encoded {
	return &Encoded{states: takeRows(e.states, 0, rows), mask: takeRows(e.mask, 0, rows)}
}

// encode runs the encoder on the questions of a run. The patch's changes of encoder
// weights apply here; those of decoder weights in the run itself.
func (r *Run) encode(ctx context.Context) (*Encoded, error) {
	enc := New(r.lm, arch.Encode, r.Questions, r.Only)
	enc.Outputs[graph.StatesOut] = nil
	if err := enc.Compute(ctx); err != nil {
		return nil, err
	}
	mask := tensor.New(tensor.I64, len(r.Questions), enc.T)
	for b, q := range r.Questions {
		for t := range q.Encoder {
			mask.Int64s()[b*enc.T+t] = 1
		}
	}
	return &Encoded{states: enc.Outputs[graph.StatesOut], mask: mask}, nil
}
