package run

import (
	"math/bits"
	"slices"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
)

// maxRows bounds the rows of one run whatever the budget allows: beyond it a
// run gains nothing and cancelling it takes longer.
const maxRows = 128

// Batch is what shares a run.
type Batch struct {
	Questions []*Question
	// Only is set when the whole batch carries one patch: its factors are then
	// fed once, and it may be dense.
	Only *patch.Patch
}

// Cost estimates the memory of a run.
type Cost struct {
	Heads                     int // of attention
	width, ffn, vocab, layers int
	cached                    bool // the graph hands out keys and values
	wholeLogits               bool // logits of all positions are computed
}

// CostOf is the cost of runs of the graph of a role.
func CostOf(lm *models.LM, r arch.Role) Cost {
	info, g := lm.Info(), lm.Anatomy().Graph(r)
	c := Cost{
		width: info.Width, ffn: info.FFNWidth, Heads: lm.Anatomy().Config.Heads, vocab: info.Vocab, layers: info.Layers,
		cached: len(lm.Anatomy().Caches(r)) > 0, wholeLogits: g.Head.X == "",
	}
	if c.ffn == 0 {
		c.ffn = 4 * c.width
	}
	return c
}

// Bytes is the estimate for B rows of T decoder positions (and S encoder
// positions), P wanted logit rows and the given bytes of factors:
//
//	4 B (T+S) (8 width + 3 ffn)      activations alive within one block
//	8 B heads (T^2 + T S + S^2)      attention scores before and after the softmax
//	8 P vocab                        logits in the graph and on the host
//	4 B T vocab                      only if the head was not recognised
//	8 layers B (T+S) width           only if keys and values are handed out
//	factors                          low-rank factors and networks of all rows
//
// ffn counts three times because exported activations are chains of
// element-wise nodes, and holds the units of the widest network too. Weights are not
// included.
func (c Cost) Bytes(B, T, S, P int, factors int64) int64 {
	b, t, s := int64(B), int64(T), int64(S)
	n := 4*b*(t+s)*int64(8*c.width+3*c.ffn) + 8*b*int64(c.Heads)*(t*t+t*s+s*s) + 8*int64(P)*int64(c.vocab) + factors
	if c.wholeLogits {
		n += 4 * b * t * int64(c.vocab)
	}
	if c.cached {
		n += 8 * int64(c.layers) * b * (t + s) * int64(c.width)
	}
	return n
}

// Plan packs questions into batches. Those of a dense patch, and those of a patch with
// so many rows or so much to feed that feeding these once pays, are kept to
// themselves; all others mix. Within a group questions go by length, so that
// padding stays small, and by magnitude of rank and width. Every row may grow by more
// positions later on.
func Plan(lm *models.LM, questions []*Question, more int) []Batch {
	perPatch := map[*patch.Patch]int{}
	for _, q := range questions {
		perPatch[q.Patch]++
	}
	type traits struct {
		alone bool
		load  Load
		class int // of the largest rank or number of units; 0 up to 8, then by powers of two
		order int
	}
	known := map[*patch.Patch]*traits{}
	for _, q := range questions {
		p := q.Patch
		if known[p] != nil {
			continue
		}
		t := &traits{load: LoadOf(lm, p)}
		n := perPatch[p]
		t.alone = p.Binding() == patch.BindDense || p != nil && n > 1 && (n >= maxRows/2 || t.load.Bytes()*int64(n) > lm.Budget()/8)
		if t.alone {
			t.order = 1 + len(known)
		}
		if r := t.load.most(); r > 8 {
			t.class = bits.Len(uint(r - 1))
		}
		known[p] = t
	}
	questions = slices.Clone(questions)
	slices.SortStableFunc(questions, func(a, b *Question) int {
		ta, tb := known[a.Patch], known[b.Patch]
		switch {
		case ta.order != tb.order:
			return ta.order - tb.order
		case ta.class != tb.class:
			return ta.class - tb.class
		case len(a.Encoder) != len(b.Encoder):
			return len(b.Encoder) - len(a.Encoder)
		}
		return b.Fed() - a.Fed()
	})
	c, most := CostOf(lm, arch.Forward), MaxRows(lm)
	var out []Batch
	for start := 0; start < len(questions); {
		first := known[questions[start].Patch]
		T, S, P := questions[start].Fed(), len(questions[start].Encoder), 0
		largest := LoadOf(lm, nil)
		end := start
		for end < len(questions) && end-start < most {
			q, t := questions[end], known[questions[end].Patch]
			if t.order != first.order || t.class != first.class {
				break
			}
			T = max(T, q.Fed()) // rows of equal encoder length come longest first, others may not
			largest.widen(t.load)
			P += len(q.Positions())
			rows := end - start + 1
			factors := largest.Bytes()
			if !first.alone {
				factors *= int64(rows)
			}
			if rows > 1 && (c.With(largest).Bytes(rows, T+more, S, P, factors) > lm.Budget() || wasteful(rows, q.Fed()+len(q.Encoder), T+S) || unpadded(lm) && q.Fed() != T) {
				break
			}
			end++
		}
		b := Batch{Questions: questions[start:end]}
		if p := b.Questions[0].Patch; !slices.ContainsFunc(b.Questions, func(q *Question) bool { return q.Patch != p }) {
			b.Only = p
		}
		out = append(out, b)
		start = end
	}
	return out
}

// MaxRows is the most rows of a run: a graph may have been exported for a fixed
// number, and one row always fits.
func MaxRows(lm *models.LM) int {
	n := maxRows
	for _, g := range []*arch.Graph{lm.Anatomy().Forward, lm.Anatomy().Step, lm.Anatomy().Encoder} {
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
func unpadded(lm *models.LM) bool {
	return lm.Anatomy().Encoder != nil && lm.Anatomy().Encoder.Ports.Mask == ""
}
