package models

import (
	"context"
	"fmt"

	"editpipe/tensor"
)

// encode runs the encoder on the jobs of a run and returns its states and the
// mask over them as inputs of the decoder. The patch's changes of encoder
// weights apply here; those of decoder weights in the run itself.
func (lm *LM) encode(ctx context.Context, in *input) (map[string]*tensor.Tensor, error) {
	enc, dec := lm.anatomy.Encoder.Ports, lm.anatomy.Forward.Ports
	v := variant{role: encode, slots: slots(in.jobs, Encoder), taps: in.tapsEncoder}
	feeds := lm.patchFeeds(v, in.jobs, in.only)
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
		return nil, fmt.Errorf("models: running the encoder of %s on %d rows of %d tokens: %w", lm.Name(), B, S, err)
	}
	if v.taps {
		for name := range in.outputs {
			in.outputs[name] = out[name]
		}
	}
	decoder := map[string]*tensor.Tensor{}
	if dec.EncoderStates != "" {
		decoder[dec.EncoderStates] = out[statesOutput]
	}
	if dec.EncoderMask != "" {
		decoder[dec.EncoderMask] = tensor.FromInt64s(mask, B, S)
	}
	return decoder, nil
}
