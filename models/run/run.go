// Package run asks many questions in few runs, which are calls of a session.
// Scoring, generating, tracing and differentiating all use it.
//
//	join a prompt and its targets -> file each sequence once -> share runs ->
//	group by patch, order by length -> runs within the memory budget
//
// Rows are padded on the right with explicit attention mask and positions;
// models are causal, so padding cannot reach a real position. With cached keys
// and values the padding is put before these and masked: local windows and
// biases by distance count the places in a cache, so no padding may be between
// a row's tokens. [TakesPadding] tries whether a graph accepts padding there;
// if it does not, rows of unequal length do not share cached runs.
//
// No result depends on which other rows were asked, up to floating-point
// reassociation in the runtime's kernels (below 1e-4 nats in float32). Within one
// shape of run, a row without a patch and a row with a patch of zeros agree to the
// bit.
package run

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/tensor"
)

// ErrRun is returned when the runtime fails to compute a graph on a row that was
// given, alone as well.
var ErrRun = errors.New("the model's graph failed")

// Run is one run in the making: questions as the rows of one graph.
type Run struct {
	Spec      graph.Spec
	Lanes     int // sessions that are used side by side, see models.LM.Session
	Questions []*Question
	Only      *patch.Patch // the patch of all questions, if it is one
	T         int          // positions of every row
	Unmasked  bool         // padding counts as tokens, which causal attention keeps from them

	Patches map[string]*tensor.Tensor // inputs that carry the patches; made by Compute unless given
	Encoded *Encoded                  // of encoder-decoders; made by Compute unless given
	past    *Past                     // what stands in for the first positions; nil: nothing
	Inputs  map[string]*tensor.Tensor // further inputs
	Outputs map[string]*tensor.Tensor // what is fetched, by name; Compute fills the values

	lm     *models.LM
	wanted []int64
}

// New lays out questions as rows of a run of the graph of a role, which gives
// logits, or the states of an encoder.
func New(lm *models.LM, r arch.Role, questions []*Question, only *patch.Patch) *Run {
	run := &Run{
		Spec: graph.Spec{Role: r, Take: take(lm, r, questions, only), Give: graph.Logits{}}, Questions: questions, Only: only, lm: lm,
		Inputs: map[string]*tensor.Tensor{}, Outputs: map[string]*tensor.Tensor{},
	}
	if r == arch.Encode {
		run.Spec.Give = graph.States{}
	}
	for row := range questions {
		run.T = max(run.T, len(run.tokens(row)))
	}
	return run
}

// tokens are the ids that the graph reads of a row, those behind the past.
func (r *Run) tokens(row int) []int64 {
	if r.Spec.Role == arch.Encode {
		return r.Questions[row].Encoder
	}
	return r.Questions[row].Tokens()[r.past.start(row):]
}

// Follow makes the rows begin behind a past.
func (r *Run) Follow(p *Past) {
	r.past, r.T = p, 0
	for row := range r.Questions {
		r.T = max(r.T, len(r.tokens(row)))
	}
}

// Want asks for the logits at a position of a row.
func (r *Run) Want(row, t int) {
	r.wanted = append(r.wanted, int64(row*r.T+t-r.past.start(row)))
}

// Wanted is the number of positions whose logits were asked for.
func (r *Run) Wanted() int { return len(r.wanted) }

// Logits computes the run and returns the logits of the wanted positions, [P, V]
// float32, in the order of Want.
func (r *Run) Logits(ctx context.Context) (*tensor.Tensor, error) {
	r.Inputs[graph.LogitRows] = tensor.FromInt64s(r.wanted, len(r.wanted))
	r.Outputs[graph.LogitsOut] = nil
	if err := r.Compute(ctx); err != nil {
		return nil, err
	}
	return r.Outputs[graph.LogitsOut], nil
}

// Remember computes the keys and values of the rows' tokens, in the graph that gives
// logits as well. One that gave nothing else would save logits at one position and
// cost a session, which holds the weights again where they are inside the model's
// file: whoever wants keys and values needs logits of the same graph too.
func (r *Run) Remember(ctx context.Context) (*Past, error) {
	r.FetchCaches()
	r.Inputs[graph.LogitRows] = tensor.FromInt64s([]int64{0}, 1) // not every provider takes empty tensors
	if err := r.Compute(ctx); err != nil {
		return nil, err
	}
	return r.Settled(), nil
}

// FetchCaches fetches keys and values.
func (r *Run) FetchCaches() {
	for _, c := range r.lm.Anatomy().Caches(r.Spec.Role) {
		r.Outputs[c.Present] = nil
	}
}

// Compute runs the graph, after the encoder if there is one, and fills Outputs.
func (r *Run) Compute(ctx context.Context) error {
	feeds, err := r.Feeds(ctx)
	if err != nil {
		return err
	}
	s, err := r.lm.Session(ctx, r.Spec, r.Lanes)
	if err != nil {
		return err
	}
	if err := s.Run(ctx, feeds, r.Outputs); err != nil {
		what := ""
		if r.Spec.Role == arch.Encode {
			what = "the encoder of "
		}
		return fmt.Errorf("models: running %s%s on %d rows of %d tokens: %w: %w", what, r.lm.Name(), len(r.Questions), r.T, ErrRun, err)
	}
	return nil
}

// Feeds are the inputs of the run.
func (r *Run) Feeds(ctx context.Context) (map[string]*tensor.Tensor, error) {
	if r.Patches == nil {
		var err error
		if r.Patches, err = patchFeeds(r.lm, r.Spec, r.Questions, r.Only); err != nil {
			return nil, err
		}
	}
	feeds := maps.Clone(r.Patches)
	r.feedTokens(feeds)
	if r.lm.Anatomy().Encoder != nil && r.Spec.Role != arch.Encode {
		if r.Encoded == nil {
			var err error
			if r.Encoded, err = r.encode(ctx); err != nil {
				return nil, err
			}
		}
		r.Encoded.feed(feeds, r.lm.Anatomy().Graph(r.Spec.Role).Ports)
	}
	maps.Copy(feeds, r.Inputs)
	return feeds, nil
}

// feedTokens adds ids, mask, positions and the past, empty unless given, of the
// rows, padded on the right.
//
// Attention that takes lengths is told that padding counts, which the causal order
// keeps from the tokens anyway: ONNX Runtime leaves what it gives back behind a
// row's length as memory happens to be, and what is not a number there would
// spread to the gradients of the tokens.
func (r *Run) feedTokens(feeds map[string]*tensor.Tensor) {
	p := r.lm.Anatomy().Graph(r.Spec.Role).Ports
	B, T, before := len(r.Questions), r.T, r.past.padded()
	ids, mask, pos := make([]int64, B*T), make([]int64, B*(before+T)), make([]int64, B*T)
	for b := range r.Questions {
		start, row := r.past.start(b), mask[b*(before+T):(b+1)*(before+T)]
		for t := range start {
			row[before-1-t] = 1
		}
		n := copy(ids[b*T:(b+1)*T], r.tokens(b))
		for t := range T {
			pos[b*T+t] = int64(start + t)
			if t < n || p.Lengths || r.Unmasked {
				row[before+t] = 1
			}
			if t >= n {
				// Behind a past of its own length a padded row may end beyond the last
				// position that the model knows.
				ids[b*T+t], pos[b*T+t] = pad(r.lm), int64(t)
			}
		}
	}
	feedTokens(feeds, p, B, T, ids, mask, pos)
	for _, c := range p.Past {
		if r.past != nil && r.past.Values != nil {
			feeds[c.In] = r.past.Values[c.In]
		} else {
			feeds[c.In] = emptyPast(c, B)
		}
	}
}
