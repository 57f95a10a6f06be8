package kn

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/models/patch"
)

// heldBytes bounds the shifts and gradients that wait for, or come from, one
// call of the model.
const heldBytes = 64 << 20

// scores are attributions, [layer][neuron].
type scores [][]float64

// question is one token of an old object behind one prompt.
type question struct {
	ids   []int64
	token int64
	share float64     // of the prompt's attribution
	into  scores      // of the prompt
	fault *error      // of the edit
	acts  [][]float32 // by layer
	prob  float64     // of the token, for zeroing
}

// attribute finds the attributions for every prompt of every fact: [fact][prompt].
// Questions of equal length share runs, so that none is padded.
func (ed *editor) attribute(ctx context.Context, on *patch.Patch, facts []*fact, errs []error) ([][]scores, error) {
	out := make([][]scores, len(facts))
	alike := map[int][]*question{}
	for i, f := range facts {
		if errs[i] != nil {
			continue
		}
		for _, prompt := range f.prompts {
			s := make(scores, ed.lm.Info().Layers)
			for l := range s {
				s[l] = make([]float64, ed.lm.Info().FFN(arch.Decoder, l).Down.In)
			}
			out[i] = append(out[i], s)
			for k, id := range f.gold {
				q := &question{ids: prompt, token: id, share: 1 / float64(len(f.gold)), into: s, fault: &errs[i]}
				if ed.c.appends() {
					q.ids = slices.Concat(prompt, f.gold[:k])
				}
				alike[len(q.ids)] = append(alike[len(q.ids)], q)
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(alike)) {
		if err := ed.recall(ctx, on, alike[n]); err != nil {
			return nil, err
		}
		if err := ed.ask(ctx, on, alike[n]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// recall reads the activations of all layers at the last positions.
func (ed *editor) recall(ctx context.Context, on *patch.Patch, list []*question) error {
	var sites []arch.Site
	for l := range ed.lm.Info().Layers {
		sites = append(sites, arch.Site{Layer: l, Point: ed.c.point()})
	}
	var rows []activation.Row
	for _, q := range list {
		rows = append(rows, activation.Row{Query: ask.Query{PromptIDs: q.ids}, Patch: on, Positions: []int{-1}})
	}
	traces, err := activation.Trace(ctx, ed.lm, rows, sites...)
	if err != nil {
		return err
	}
	for i, t := range traces {
		*list[i].fault = cmp.Or(*list[i].fault, t.Err)
		for _, v := range t.Values {
			list[i].acts = append(list[i].acts, v.Float32s())
		}
	}
	return nil
}

// sweep collects rows and what becomes of their answers, and asks when enough
// have come together.
type sweep struct {
	lm    *models.LM
	on    *patch.Patch
	point arch.Point
	most  int // rows
	rows  []loss.LayerRow
	then  []func(loss.LayerLoss)
}

func (s *sweep) add(ctx context.Context, q *question, layer int, shift []float32, then func(loss.LayerLoss)) error {
	s.rows = append(s.rows, loss.LayerRow{IDs: q.ids, Patch: s.on, Layer: layer, Shift: shift, Target: q.token})
	s.then = append(s.then, func(r loss.LayerLoss) {
		if r.Err != nil {
			*q.fault = cmp.Or(*q.fault, r.Err)
			return
		}
		then(r)
	})
	if len(s.rows) < s.most {
		return nil
	}
	return s.flush(ctx)
}

func (s *sweep) flush(ctx context.Context) error {
	got, err := loss.EachLayer(ctx, s.lm, s.point, s.rows)
	if err != nil {
		return err
	}
	for i, then := range s.then {
		then(got[i])
	}
	s.rows, s.then = nil, nil
	return nil
}

// ask adds the attributions of questions to their prompts'.
func (ed *editor) ask(ctx context.Context, on *patch.Patch, list []*question) error {
	s := &sweep{lm: ed.lm, on: on, point: ed.c.point(), most: max(1, heldBytes/(8*ed.lm.Info().FFN(arch.Decoder, 0).Down.In))}
	add := ed.integrate
	if ed.c.Attribution == Zeroing {
		for _, q := range list {
			if err := s.add(ctx, q, 0, nil, func(r loss.LayerLoss) { q.prob = r.Prob }); err != nil {
				return err
			}
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
		add = ed.leaveOut
	}
	for _, q := range list {
		if *q.fault != nil {
			continue
		}
		for l := range q.acts {
			if err := add(ctx, s, q, l); err != nil {
				return err
			}
		}
	}
	return s.flush(ctx)
}

// integrate asks for the integrated gradient of a layer, at every point of the
// integral in one row.
func (ed *editor) integrate(ctx context.Context, s *sweep, q *question, layer int) error {
	a, into := q.acts[layer], q.into[layer]
	for k := range ed.c.Steps {
		shift := make([]float32, len(a))
		for i, x := range a {
			shift[i] = float32((ed.c.alpha(k) - 1) * float64(x))
		}
		weight := q.share / float64(ed.c.Steps)
		err := s.add(ctx, q, layer, shift, func(r loss.LayerLoss) {
			for i, g := range r.Gradient {
				into[i] += weight * float64(a[i]) * float64(g)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// leaveOut asks for the probability without each neuron of a layer in turn.
func (ed *editor) leaveOut(ctx context.Context, s *sweep, q *question, layer int) error {
	for i, x := range q.acts[layer] {
		if x == 0 {
			continue
		}
		shift := make([]float32, len(q.acts[layer]))
		shift[i] = -x
		err := s.add(ctx, q, layer, shift, func(r loss.LayerLoss) { q.into[layer][i] += q.share * (q.prob - r.Prob) })
		if err != nil {
			return err
		}
	}
	return nil
}
