package grad

import (
	"fmt"
	"slices"

	"editpipe/onnx"
)

// Head is a loss on the logits at P chosen positions; the strings are value
// names. With the logits z_i in R^V of position i, s = log softmax z,
// p = softmax z, target t_i and reference log-distribution q_i, its terms are
//
//	nll  = -s_t            negative log-likelihood of the target
//	prob = p_t             probability of the target
//	kl1  = sum p (s - q)   = KL(p || q)
//	kl2  = sum e^q (q - s) = KL(q || p)
//
// and Loss = sum_i w_i . terms_i. Terms with weight 0 do not influence it.
// Smoothed labels are a kl2 term with the smoothed distribution as reference,
// up to a constant.
type Head struct {
	// Graph inputs. Floating point ones are float32, or float64 in a float64
	// model.
	Positions string // int64 [P, 2]: batch row and position
	Targets   string // int64 [P]: token ids
	Weights   string // [P, 4]: weights of nll, prob, kl1 and kl2
	Reference string // [P, V] or [1, V], finite; zeros if kl1 and kl2 are unused

	// Results, of the same type.
	Loss     string // scalar
	Terms    string // [P, 4], unweighted
	LogProb  string // [P]: s_t
	LogProbs string // [P, V]: s, which serves as a later reference
}

// AddHead adds the loss to a decoder whose output is logits, of shape [B, T, V].
// rows names the value, of shape [B, T, d] and with a single reader, that the
// vocabulary matrix is multiplied with: the positions are taken out there, and
// logits becomes [P, V], so that nothing is computed for other positions. If
// rows is empty they are taken out of the logits, which stay as they are.
//
// The results become values of the graph, not outputs. On error m is unchanged.
func AddHead(m *onnx.Model, logits, rows string) (*Head, error) {
	f := newFacts(m)
	z := f.of[logits]
	if !float(z.dtype) {
		return nil, fmt.Errorf("grad: adding a loss: logits %q have type %s, want floating point", logits, z.dtype)
	}
	source := logits
	if rows != "" {
		source = rows
	}
	if s := f.of[source].shape; s != nil && len(s) != 3 {
		return nil, fmt.Errorf("grad: adding a loss: %q has %d axes, want batch, position and width", source, len(s))
	}
	names := m.Builder()
	h := &Head{Positions: names.Fresh("loss_positions")}
	if rows != "" {
		if err := takeRows(m, rows, logits, h.Positions); err != nil {
			return nil, fmt.Errorf("grad: adding a loss: %w", err)
		}
	}
	g := newGraph(m)
	b := g.b
	b.Scope("loss")
	count := onnx.Symbolic(h.Positions + "_count")
	v := logits
	if rows == "" {
		b.Input(h.Positions, onnx.Int64, []onnx.Dim{count, {Value: 2}})
		v = g.op("GatherND", logits, h.Positions)
	}
	work := onnx.Float
	if z.dtype == onnx.Double {
		work = onnx.Double
	}
	if z.dtype != work {
		v = g.cast(v, work)
	}
	vocabulary := onnx.Symbolic("vocabulary")
	if d := z.shape.at(-1); d.known() {
		vocabulary = onnx.Dim{Value: d.n}
	}
	h.Targets = b.Input(b.Fresh("loss_targets"), onnx.Int64, []onnx.Dim{count})
	h.Weights = b.Input(b.Fresh("loss_weights"), work, []onnx.Dim{count, {Value: 4}})
	h.Reference = b.Input(b.Fresh("loss_reference"), work, []onnx.Dim{onnx.Symbolic(h.Positions + "_references"), vocabulary})

	s := b.Op("LogSoftmax", []string{v}, onnx.AttrInt("axis", -1))
	target := g.hits(h.Targets, g.part(g.op("Shape", s), 1))
	h.LogProbs = s
	h.LogProb = g.sum(g.op("Where", target, s, g.number(0, work)), []int64{1}, false)
	excess := g.op("Sub", s, h.Reference)
	along := func(p string) string { return g.sum(g.op("Mul", p, excess), []int64{1}, false) }
	var terms []string
	for _, t := range []string{
		g.op("Neg", h.LogProb),
		g.op("Exp", h.LogProb),
		along(g.op("Exp", s)),
		g.op("Neg", along(g.op("Exp", h.Reference))),
	} {
		terms = append(terms, g.op("Unsqueeze", t, g.ints(1)))
	}
	h.Terms = g.concat(1, terms...)
	h.Loss = g.sum(g.op("Mul", h.Weights, h.Terms), nil, false)
	return h, nil
}

// takeRows replaces rows, [B, T, d], by [P, d] for its reader.
func takeRows(m *onnx.Model, rows, logits, positions string) error {
	x := m.Graph.Index()
	if n := len(x.Consumers(rows)); n != 1 || x.Output(rows) != nil {
		return fmt.Errorf("%q has %d readers or is a graph output; rows can be taken out only where the head alone reads it", rows, n)
	}
	after := x.Reach(rows)
	delete(after, rows)
	if !after[logits] {
		return fmt.Errorf("logits %q are not computed from %q", logits, rows)
	}
	count := onnx.Symbolic(positions + "_count")
	err := m.Splice(rows, func(b *onnx.Builder, in string) (string, error) {
		b.Scope("loss")
		b.Input(positions, onnx.Int64, []onnx.Dim{count, {Value: 2}})
		return b.Op("GatherND", []string{in, positions}), nil
	})
	if err != nil {
		return err
	}
	// What the file says of the shapes behind it no longer holds.
	m.Graph.ValueInfos = slices.DeleteFunc(m.Graph.ValueInfos, func(v *onnx.ValueInfo) bool { return after[v.Name] })
	for _, v := range m.Graph.Outputs {
		if after[v.Name] && v.HasShape && len(v.Shape) == 3 {
			v.Shape = []onnx.Dim{count, v.Shape[2]}
		}
	}
	return nil
}
