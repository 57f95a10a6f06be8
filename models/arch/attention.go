package arch

import (
	"fmt"

	"editpipe/models/linear"
	"editpipe/onnx"
)

// mixing lists fused operations whose first output is what the heads read,
// side by side.
var mixing = map[string]bool{
	"Attention": true, "MultiHeadAttention": true, "GroupQueryAttention": true,
	"PackedAttention": true, "PackedMultiHeadAttention": true, "DecoderMaskedMultiHeadAttention": true,
}

// attentions finds the value behind AttnOut for every block: the output of a
// linear map that reads what the attention heads put together. downs are the
// blocks' down-projections.
//
// Whether attention stands before the feed-forward part or beside it, that of
// one block is computed before anything of the next one, so that both kinds
// pair off in execution order.
func (g graph) attentions(blocks []FFN, downs []*linear.Map) {
	var found []*linear.Map
	for _, l := range g.Maps {
		if g.mixed(l.X) {
			found = append(found, l)
		}
	}
	for i := range blocks {
		f := &blocks[i]
		switch {
		case f.Missing[AttnOut] != "":
		case len(found) != len(blocks):
			f.Missing[AttnOut] = fmt.Sprintf("%d attention output projections found in %d blocks", len(found), len(blocks))
		case i > 0 && found[i].At < downs[i-1].At || found[i].Out != f.Down.Out:
			f.Missing[AttnOut] = "attention and feed-forward blocks do not pair off"
		case found[i].Integer:
			f.Missing[AttnOut] = "activations are quantised (" + found[i].Node.OpType + ")"
		default:
			v, bias := g.biasAfter(found[i].Y, found[i].Out)
			if n := g.biasWithin(v); n != nil {
				f.Missing[AttnOut] = "the bias is added inside " + linear.Label(n)
			} else if bias != "" && found[i].Bias != "" {
				f.Missing[AttnOut] = "two biases are added"
			} else {
				f.Attention = v
			}
		}
	}
}

// mixed says whether a value is put together from the heads of an attention: a
// product of two computed values, but for its layout, or a fused attention.
func (g graph) mixed(value string) bool {
	for range maxWalk {
		n := g.Index.Producer(value)
		switch {
		case n == nil || g.Of(value) != nil || len(n.Inputs) == 0:
			return false
		case mixing[n.OpType]:
			return value == n.Outputs[0]
		case n.OpType == "MatMul":
			return !g.Constant(n.Inputs[0]) && !g.Constant(n.Inputs[1])
		case linear.Passes(n), n.OpType == "Transpose":
			value = n.Inputs[0]
		default:
			return false
		}
	}
	return false
}

// biasWithin returns the normalisation that reads a value alone and adds a bias
// to it before the residual stream, nil if there is none.
func (g graph) biasWithin(value string) *onnx.Node {
	readers := g.Readers(value)
	if len(readers) != 1 {
		return nil
	}
	// Inputs: input, skip, gamma, (beta,) bias.
	n, at := readers[0], 0
	switch n.OpType {
	case "SkipLayerNormalization":
		at = 4
	case "SkipSimplifiedLayerNormalization":
		at = 3
	default:
		return nil
	}
	if len(n.Inputs) <= at || n.Inputs[at] == "" {
		return nil
	}
	return n
}
