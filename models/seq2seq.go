package models

import (
	"context"
	"fmt"

	"editpipe/models/ports"
	"editpipe/tensor"
)

// encoding is what the encoder makes of the prompts of a run.
type encoding struct {
	states *tensor.Tensor // [B, S, width]
	mask   *tensor.Tensor // int64 [B, S]
}

// feed feeds a decoder what it takes of the encoder.
func (e *encoding) feed(feeds map[string]*tensor.Tensor, p ports.Ports) {
	if p.EncoderStates != "" {
		feeds[p.EncoderStates] = e.states
	}
	if p.EncoderMask != "" {
		feeds[p.EncoderMask] = integers(p.Type(p.EncoderMask), e.mask.Int64s(), e.mask.Shape...)
	}
}

// encode runs the encoder on the jobs of a run. The patch's changes of encoder
// weights apply here; those of decoder weights in the run itself.
func (lm *LM) encode(ctx context.Context, in *input) (*encoding, error) {
	enc := lm.anatomy.Encoder.Ports
	v := lm.newVariant(encode, in.jobs, in.only)
	if v.taps = in.tapsEncoder; v.taps {
		v.top = lm.info.Layers
	}
	feeds, err := lm.patchFeeds(v, in.jobs, in.only)
	if err != nil {
		return nil, err
	}
	B, S := in.rows, 0
	for _, j := range in.jobs {
		S = max(S, len(j.encoder))
	}
	ids, mask, pos := make([]int64, B*S), make([]int64, B*S), make([]int64, B*S)
	pad := lm.pad()
	for b, j := range in.jobs {
		n := copy(ids[b*S:(b+1)*S], j.encoder)
		for t := range S {
			pos[b*S+t] = int64(t)
			if t < n {
				mask[b*S+t] = 1
			} else {
				ids[b*S+t] = pad
			}
		}
	}
	feedTokens(feeds, enc, B, S, ids, mask, pos)
	out := map[string]*tensor.Tensor{statesOutput: nil}
	if v.taps {
		feeds[tapsInput] = tensor.FromInt64s(in.tapped, len(in.tapped))
		for name := range in.outputs {
			out[name] = nil
		}
	}
	s, err := lm.session(ctx, v)
	if err != nil {
		return nil, err
	}
	if err := s.Run(ctx, feeds, out); err != nil {
		return nil, fmt.Errorf("models: running the encoder of %s on %d rows of %d tokens: %w: %w", lm.Name(), B, S, ErrRun, err)
	}
	if v.taps {
		for name := range in.outputs {
			in.outputs[name] = out[name]
		}
	}
	return &encoding{states: out[statesOutput], mask: tensor.FromInt64s(mask, B, S)}, nil
}
