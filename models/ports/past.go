package ports

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"editpipe/models/folder"
	"editpipe/models/linear"
	"editpipe/onnx"
)

// Past is what earlier positions left behind, as a decoder takes it: keys,
// values, both stacked, or state of another kind. It is an input and the output
// that extends it.
type Past struct {
	In    string
	Out   string // "" where the graph does not give it back (cross-attention)
	First string // output of the graph without past that begins it; of encoder-decoders
	DType onnx.DataType
	// Shape of the input; -1 at axes Rows and Length, elsewhere only until the
	// configuration has been asked.
	Shape  []int64
	Rows   int  // axis of the rows: 1 where keys and values are stacked along axis 0
	Length int  // axis that grows by one position per step; -1: it does not grow
	Cross  bool // keys or values of the encoder: they do not grow

	all int // heads times width by the weights of the keys; 0 if unknown
}

// State says that this is not a cache: what a convolution or a recurrence left
// behind has one size, and is zero before the first position.
func (p *Past) State() bool { return p.Length < 0 }

// pastOf reads the geometry of one input. The axis that grows is the symbolic
// one beside the rows'. Where several are symbolic, it is the one before the
// last of [B, heads, positions, width] and [2, B, heads, positions, width].
func pastOf(in *onnx.ValueInfo) (Past, error) {
	p := Past{In: in.Name, DType: in.DType, Length: -1, Cross: strings.Contains(in.Name, ".encoder.")}
	for _, d := range in.Shape {
		p.Shape = append(p.Shape, max(d.Value, -1))
	}
	rank := len(p.Shape)
	if rank < 2 {
		return p, fmt.Errorf("%w: the shape of cache input %q is not declared; export the model with shapes", ErrGraph, in.Name)
	}
	if rank == 5 {
		p.Rows = 1
		if p.Shape[0] < 0 {
			p.Shape[0] = 2
		}
	}
	var open []int
	for i := p.Rows + 1; i < rank; i++ {
		if p.Shape[i] < 0 {
			open = append(open, i)
		}
	}
	switch {
	case len(open) == 1:
		p.Length = open[0]
	case len(open) > 1 && rank-p.Rows == 4 && slices.Contains(open, rank-2):
		p.Length = rank - 2
	case len(open) == 0 && !keyed(in.Name):
		// State of another kind.
	case len(open) == 0:
		return p, fmt.Errorf("%w: cache input %q has no dimension that grows; export the model with dynamic axes", ErrGraph, in.Name)
	default:
		return p, fmt.Errorf("%w: cache input %q has more than one growing dimension, and not the four of rows, heads, positions and width", ErrGraph, in.Name)
	}
	if p.Length >= 0 {
		p.Shape[p.Length] = -1
	}
	return p, nil
}

// keyed says whether the name is that of keys or values; "past_" with a number is
// that of both.
func keyed(name string) bool {
	if _, err := strconv.Atoi(strings.TrimPrefix(name, "past_")); err == nil {
		return true
	}
	return strings.HasPrefix(name, "past_key_values") || strings.Contains(name, "key") || strings.Contains(name, "value")
}

// heads are the axes of the number of heads and of their width, of a past with
// both.
func (p *Past) heads() (number, width int, ok bool) {
	rank := len(p.Shape)
	switch {
	case p.State() || rank-p.Rows != 4:
		return 0, 0, false
	case p.Length == rank-2:
		return rank - 3, rank - 1, true
	case p.Length == p.Rows+1:
		return rank - 2, rank - 1, true
	}
	return 0, 0, false
}

// settle fills in what the declared shapes of the past leave open, from what
// the graph says elsewhere: the outputs that extend it, the attributes of the
// attention that reads it, the weights of its keys.
func (g graph) settle(ports *Ports) {
	for i := range ports.Past {
		p := &ports.Past[i]
		if o := g.Index.Output(p.Out); o != nil && len(o.Shape) == len(p.Shape) {
			for k, d := range o.Shape {
				if p.Shape[k] < 0 && k != p.Rows && k != p.Length {
					p.Shape[k] = max(d.Value, -1)
				}
			}
		}
		number, width, ok := p.heads()
		if !ok || p.Shape[number] >= 0 && p.Shape[width] >= 0 {
			continue
		}
		n, keys := g.reader(p.In)
		if n == nil {
			continue
		}
		if p.Shape[number] < 0 {
			p.Shape[number] = positive(n.Int("kv_num_heads", 0), n.Int("num_heads", 0))
		}
		if l := g.mapped(keys); l != nil {
			p.all = l.Out
		}
	}
}

// positive is the first of the numbers above 0, -1 if there is none.
func positive(v ...int64) int64 {
	for _, x := range v {
		if x > 0 {
			return x
		}
	}
	return -1
}

// reader finds what puts new keys or values behind past ones, a fused attention
// or a Concat, and the value that holds the new ones: "" where they are not
// apart from others.
func (g graph) reader(past string) (n *onnx.Node, fresh string) {
	for _, n := range g.Index.Consumers(past) {
		switch {
		case n.OpType == "GroupQueryAttention" || n.OpType == "MultiHeadAttention" || n.OpType == "Attention" && n.Domain != msDomain:
			if len(n.Inputs) > 1 && n.Inputs[1] != "" {
				return n, n.Inputs[1]
			}
			return n, ""
		case n.OpType == "Attention":
			return n, ""
		case n.OpType == "Concat":
			for _, in := range n.Inputs {
				if in != past {
					return n, in
				}
			}
		case linear.Passes(n):
			return g.reader(n.Outputs[0])
		}
	}
	return nil, ""
}

// graph is a graph with its linear maps, in which the size of ports is looked for.
type graph struct{ *linear.Graph }

// maxWalk bounds the way back from keys to the linear map that computes them.
const maxWalk = 64

// msDomain is that of ONNX Runtime's own operators.
const msDomain = "com.microsoft"

// mapped follows a value back to the linear map that computes it; nil where
// something stands between that may change its width.
func (g graph) mapped(value string) *linear.Map {
	for range maxWalk {
		if l := g.Of(value); l != nil {
			return l
		}
		n := g.Index.Producer(value)
		if n == nil || len(n.Inputs) == 0 {
			return nil
		}
		switch n.OpType {
		case "Add", "Mul":
			if value = n.Inputs[0]; g.Constant(value) {
				value = n.Inputs[1]
			}
		case "Transpose", "RotaryEmbedding", "SimplifiedLayerNormalization", "LayerNormalization", "RMSNormalization":
			value = n.Inputs[0]
		default:
			if !linear.Passes(n) {
				return nil
			}
			value = n.Inputs[0]
		}
	}
	return nil
}

// Configure fills in from the configuration what the graph leaves open of the
// past, and names what nobody says.
func (p *Ports) Configure(c folder.Config) error {
	for i := range p.Past {
		past := &p.Past[i]
		if number, width, ok := past.heads(); ok {
			over := func(n int64) int64 { // the other factor of all
				if n <= 0 || past.all == 0 || int64(past.all)%n != 0 {
					return 0
				}
				return int64(past.all) / n
			}
			said := 0 // width of a head
			if said = c.HeadWidth; said == 0 && c.Heads > 0 && c.Width%c.Heads == 0 {
				said = c.Width / c.Heads
			}
			heads, size := &past.Shape[number], &past.Shape[width]
			if *heads < 0 {
				*heads = positive(int64(c.KVHeads), over(*size), int64(c.Heads))
			}
			if *size < 0 {
				*size = positive(over(*heads), int64(said))
			}
		}
		for k, d := range past.Shape {
			if d < 0 && k != past.Rows && k != past.Length {
				return fmt.Errorf("%w: neither the graph nor the configuration says how large dimension %d of cache input %q is: add num_key_value_heads and head_dim to config.json", ErrGraph, k, past.In)
			}
		}
	}
	return nil
}

// Uncached says why a graph cannot go on behind what it gave back; "" if it can.
func (p *Ports) Uncached(encoded bool) (why string) {
	for _, past := range p.Past {
		switch {
		case past.State(): // it is one of all positions, padding among them
			return fmt.Sprintf("%q does not grow with the positions", past.In)
		case past.Out == "" && !encoded:
			return fmt.Sprintf("it has no output that extends %q", past.In)
		}
	}
	return ""
}

// takesLengths says whether a graph's attention takes the number of keys of
// each row, which says nothing of where among the cached ones they are, in place
// of a mask.
func takesLengths(m *onnx.Model) bool {
	found := false
	m.Graph.Visit(func(g *onnx.Graph) {
		for _, n := range g.Nodes {
			switch n.OpType {
			case "GroupQueryAttention", "SparseAttention", "PagedAttention", "DecoderMaskedMultiHeadAttention":
				found = true
			case "Attention": // nonpad_kv_seqlen, from opset 24
				found = found || n.Domain != msDomain && len(n.Inputs) > 6 && n.Inputs[6] != ""
			}
		}
	})
	return found
}

// pairPast finds the output that extends each cache input: by name, with
// "present" for "past_key_values" or "past".
func (p *Ports) pairPast(outputs []*onnx.ValueInfo) {
	have := map[string]bool{}
	for _, o := range outputs {
		have[o.Name] = true
	}
	for i := range p.Past {
		for _, name := range Presents(p.Past[i].In) {
			if have[name] {
				p.Past[i].Out = name
				break
			}
		}
	}
}

// Presents are the names that the output behind a cache input may have.
func Presents(in string) []string {
	return []string{
		strings.Replace(in, "past_key_values", "present", 1),
		strings.Replace(in, "past_key_values", "present_key_values", 1),
		strings.Replace(in, "past", "present", 1),
	}
}
