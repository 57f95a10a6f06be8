package arch

import (
	"editpipe/models/linear"
	"editpipe/models/ports"
	"editpipe/onnx"
)

// Head is the language model head of a decoder graph.
type Head struct {
	// X is the value that the head multiplies, [B, T, width]. Taking rows out
	// of it before the product keeps the logits of other positions from being
	// computed. "" where the head was not recognised; rows are then taken from
	// the logits.
	X string
	// Width of X.
	Width int
}

// head walks back from the logits to the product with the vocabulary matrix.
func (g graph) head(logits string) Head {
	v := logits
	for range 12 {
		if l := g.Of(v); l != nil {
			if l.Node.OpType == "Gemm" || len(g.Readers(l.X)) != 1 || g.isOutput(l.X) {
				return Head{}
			}
			return Head{X: l.X, Width: l.In}
		}
		n := g.Index.Producer(v)
		if n == nil {
			return Head{}
		}
		switch n.OpType {
		case "Cast", "Identity", "Tanh": // Tanh: soft-capped logits
			v = n.Inputs[0]
		case "Add", "Mul", "Div":
			switch {
			case g.Constant(n.Inputs[1]):
				v = n.Inputs[0]
			case g.Constant(n.Inputs[0]):
				v = n.Inputs[1]
			default:
				return Head{}
			}
		default:
			return Head{}
		}
		if len(g.Readers(v)) != 1 {
			return Head{}
		}
	}
	return Head{}
}

func (g graph) isOutput(value string) bool { return g.Index.Output(value) != nil }

// Graph is one opened graph of a model with what was found in it.
type Graph struct {
	Path  string
	Model *onnx.Model
	Ports ports.Ports
	FFNs  []FFN
	Head  Head // of decoder graphs

	merged    bool        // one branch of a merged decoder
	positions ports.Table // the shortest of positions; no rows where there is none
}

// Analyse looks for the parts of a model in one graph, read from path; side says which
// outputs to expect.
func Analyse(path string, m *onnx.Model, side Side) (*Graph, error) {
	ix := graph{linear.Find(m)}
	p, err := ports.Of(m, ix.Graph, side == Encoder)
	if err != nil {
		return nil, err
	}
	g := &Graph{Path: path, Model: m, Ports: p, FFNs: ix.ffns(side)}
	g.positions, _ = ports.Positions(ix.Graph, p)
	if side == Decoder {
		g.Head = ix.head(p.Logits)
	}
	return g, nil
}
