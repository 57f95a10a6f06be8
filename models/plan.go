package models

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"editpipe/ask"
	"editpipe/models/arch"
)

// maxRows bounds the rows of one run whatever the budget allows: beyond it a
// run gains nothing and cancelling it takes longer.
const maxRows = 128

// job is one distinct sequence asked through one patch; rows that agree in both
// share it.
type job struct {
	joined
	patch   *Patch // nil if nothing is applied to the graph
	riders  []*job // jobs that read this one's run, see share
	compare []*comparison
	keep    bool      // other jobs are compared with this one
	dist    []float32 // then: log-probabilities [targets, V]

	out ask.Continuation
	err error
}

// all lists the job and its riders.
func (j *job) all() []*job { return append([]*job{j}, j.riders...) }

// failed says whether the job or a rider has no answer.
func (j *job) failed() bool {
	return slices.ContainsFunc(j.all(), func(k *job) bool { return k.err != nil })
}

// positions lists the positions of the job's run whose logits it or a rider
// needs, in order. Those of one job follow each other.
func (j *job) positions() []int {
	var at []int
	for _, k := range j.all() {
		for t := k.first - 1; t < k.fed(); t++ {
			at = append(at, t)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// share makes every job whose fed tokens another one's begin with a rider of
// that one, and returns the others in their order. Targets of one token, which
// are not fed, all ride on their prompt.
func share(jobs []*job) []*job {
	fed := func(j *job) []int64 { return j.ids[:j.fed()] }
	type group struct {
		patch   *Patch
		encoder string
	}
	groups := map[group][]*job{}
	for _, j := range jobs {
		g := group{j.patch, joined{ids: j.encoder}.key()}
		groups[g] = append(groups[g], j)
	}
	rides := map[*job]bool{}
	for _, g := range groups {
		// Behind a sequence stand, first of all, those that begin with it.
		slices.SortStableFunc(g, func(a, b *job) int { return slices.Compare(fed(a), fed(b)) })
		var host *job
		for _, j := range slices.Backward(g) {
			if host != nil && j.fed() <= host.fed() && slices.Equal(fed(j), fed(host)[:j.fed()]) {
				host.riders, rides[j] = append(host.riders, j), true
			} else {
				host = j
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return rides[j] })
}

// comparison is KL(base || job) over the target positions.
type comparison struct {
	base *job
	kl   float64
}

// fed is the number of decoder positions the model has to compute: the last
// target token predicts nothing that is asked.
func (j *job) fed() int { return len(j.ids) - 1 }

// key identifies a sequence under a patch.
func (j joined) key() string {
	b := binary.AppendUvarint(nil, uint64(j.first)<<1|uint64(j.extra()))
	b = binary.AppendUvarint(b, uint64(len(j.encoder)))
	for _, id := range j.encoder {
		b = binary.AppendUvarint(b, uint64(id))
	}
	for _, id := range j.ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return string(b)
}

// batch is what shares a run.
type batch struct {
	jobs []*job
	// only is set when the whole batch carries one patch: its factors are then
	// fed once, and it may be dense.
	only *Patch
}

// cost estimates the memory of a run.
type cost struct {
	width, ffn, heads, vocab, layers int
	cached                           bool // the graph hands out keys and values
	wholeLogits                      bool // logits of all positions are computed
}

func (lm *LM) cost(r role) cost {
	g := lm.graph(r)
	c := cost{
		width: lm.info.Width, ffn: lm.info.FFNWidth, heads: lm.anatomy.Config.Heads, vocab: lm.info.Vocab, layers: lm.info.Layers,
		cached: len(lm.caches(r)) > 0, wholeLogits: g.Head.X == "",
	}
	if c.ffn == 0 {
		c.ffn = 4 * c.width
	}
	return c
}

// bytes is the estimate for B rows of T decoder positions (and S encoder
// positions), P wanted logit rows and the given bytes of factors:
//
//	4 B (T+S) (8 width + 3 ffn)      activations alive within one block
//	8 B heads (T^2 + T S + S^2)      attention scores before and after the softmax
//	8 P vocab                        logits in the graph and on the host
//	4 B T vocab                      only if the head was not recognised
//	8 layers B (T+S) width           only if keys and values are handed out
//	factors                          low-rank factors of all rows
//
// ffn counts three times because exported activations are chains of
// element-wise nodes. Weights are not included.
func (c cost) bytes(B, T, S, P int, factors int64) int64 {
	b, t, s := int64(B), int64(T), int64(S)
	n := 4*b*(t+s)*int64(8*c.width+3*c.ffn) + 8*b*int64(c.heads)*(t*t+t*s+s*s) + 8*int64(P)*int64(c.vocab) + factors
	if c.wholeLogits {
		n += 4 * b * t * int64(c.vocab)
	}
	if c.cached {
		n += 8 * int64(c.layers) * b * (t + s) * int64(c.width)
	}
	return n
}

// ranks maps each weight to the rank fed for it.
type ranks map[arch.WeightID]int

func (p *Patch) ranks() ranks {
	r := ranks{}
	if p == nil {
		return r
	}
	dense := map[arch.WeightID]bool{}
	for _, w := range p.Weights {
		if w.Bias || w.Dense() && dense[w.At] { // matrices for one weight are added up before they are fed
			continue
		}
		dense[w.At] = dense[w.At] || w.Dense()
		r[w.At] += w.Rank()
	}
	return r
}

// factorBytes is the size of one row's factors at these ranks.
func (lm *LM) factorBytes(r ranks) int64 {
	var n int64
	for id, rank := range r {
		if w := lm.info.Weight(id); w != nil {
			n += 4 * int64(rank) * int64(w.In+w.Out)
		}
	}
	return n
}

// plan packs jobs into batches. Jobs of a dense patch, and jobs of a patch with
// so many rows or so large factors that feeding these once pays, are kept to
// themselves; all others mix. Within a group jobs go by length, so that
// padding stays small, and by magnitude of rank. Every row may grow by more
// positions later on.
func (lm *LM) plan(jobs []*job, more int) []batch {
	perPatch := map[*Patch]int{}
	for _, j := range jobs {
		perPatch[j.patch]++
	}
	type traits struct {
		alone bool
		ranks ranks
		class int // of the largest rank; 0 up to 8, then by powers of two
		order int
	}
	known := map[*Patch]*traits{}
	for _, j := range jobs {
		p := j.patch
		if known[p] != nil {
			continue
		}
		t := &traits{ranks: p.ranks()}
		n := perPatch[p]
		t.alone = p.Binding() == BindDense || p != nil && n > 1 && (n >= maxRows/2 || lm.factorBytes(t.ranks)*int64(n) > lm.opts.MemoryBudget/8)
		if t.alone {
			t.order = 1 + len(known)
		}
		for _, r := range t.ranks {
			if r > 8 {
				t.class = max(t.class, bits.Len(uint(r-1)))
			}
		}
		known[p] = t
	}
	jobs = slices.Clone(jobs)
	slices.SortStableFunc(jobs, func(a, b *job) int {
		ta, tb := known[a.patch], known[b.patch]
		switch {
		case ta.order != tb.order:
			return ta.order - tb.order
		case ta.class != tb.class:
			return ta.class - tb.class
		case len(a.encoder) != len(b.encoder):
			return len(b.encoder) - len(a.encoder)
		}
		return b.fed() - a.fed()
	})
	c, most := lm.cost(forward), lm.maxRows()
	var out []batch
	for start := 0; start < len(jobs); {
		first := known[jobs[start].patch]
		T, S, P := jobs[start].fed(), len(jobs[start].encoder), 0
		largest := ranks{}
		end := start
		for end < len(jobs) && end-start < most {
			j, t := jobs[end], known[jobs[end].patch]
			if t.order != first.order || t.class != first.class {
				break
			}
			T = max(T, j.fed()) // rows of equal encoder length come longest first, others may not
			for id, r := range t.ranks {
				largest[id] = max(largest[id], r)
			}
			P += len(j.positions())
			rows := end - start + 1
			factors := lm.factorBytes(largest)
			if !first.alone {
				factors *= int64(rows)
			}
			if rows > 1 && (c.bytes(rows, T+more, S, P, factors) > lm.opts.MemoryBudget || wasteful(rows, j.fed()+len(j.encoder), T+S) || lm.unpadded() && j.fed() != T) {
				break
			}
			end++
		}
		b := batch{jobs: jobs[start:end]}
		if same := func(j *job) bool { return j.patch == b.jobs[0].patch }; !slices.ContainsFunc(b.jobs, func(j *job) bool { return !same(j) }) {
			b.only = b.jobs[0].patch
		}
		out = append(out, b)
		start = end
	}
	return out
}

// maxRows is the most rows of a run: a graph may have been exported for a fixed
// number, and one row always fits.
func (lm *LM) maxRows() int {
	n := maxRows
	for _, g := range []*arch.Graph{lm.anatomy.Forward, lm.anatomy.Step, lm.anatomy.Encoder} {
		if g != nil && g.Ports.MaxRows > 0 {
			n = 1
		}
	}
	return n
}

// wasteful says that a row would be more than a quarter padding in a batch that
// is already large enough to keep the processor busy.
func wasteful(rows, length, longest int) bool {
	return rows > 8 && 4*length < 3*longest
}

// unpadded says that rows of different length must not share a run: the
// encoder reads in both directions, so without a mask it would read padding.
func (lm *LM) unpadded() bool {
	return lm.anatomy.Encoder != nil && lm.anatomy.Encoder.Ports.Mask == ""
}
