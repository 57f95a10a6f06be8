// Package arch reads the anatomy of an exported language model: its graphs,
// where in them the feed-forward weights of every layer are and where
// activations can be read, and what cannot be done with the model, and why.
//
// Weights are found by the shape of the graph around them, never by their
// names: exporters rename, transpose and merge parameters freely. A
// feed-forward block is a linear map into the residual stream whose input is
// an element-wise, non-linear function of one or two linear maps of one value.
// Attention never looks like that, because its output projection reads a
// product of two computed values.
//
// Nothing here needs the ONNX Runtime library.
package arch

import (
	"fmt"
	"strconv"
	"strings"
)

// Side is the half of an encoder-decoder model; decoder-only models have only
// the Decoder side.
type Side uint8

// The sides of a model.
const (
	Decoder Side = iota
	Encoder
)

func (s Side) String() string {
	if s == Encoder {
		return "encoder"
	}
	return "decoder"
}

// Part is one matrix of a feed-forward block.
type Part uint8

// The parts of a feed-forward block. FFNGate is the branch that goes through
// the activation in gated blocks; without a gate that branch is FFNUp.
const (
	FFNUp Part = iota
	FFNGate
	FFNDown
)

var partNames = [...]string{FFNUp: "ffn_up", FFNGate: "ffn_gate", FFNDown: "ffn_down"}

func (p Part) String() string {
	if int(p) < len(partNames) {
		return partNames[p]
	}
	return fmt.Sprintf("part(%d)", uint8(p))
}

// WeightID names a weight independently of any exporter's names.
type WeightID struct {
	Side  Side
	Layer int // from 0, in execution order
	Part  Part
}

// String gives the form that ParseWeightID reads, such as "decoder.3.ffn_down".
func (id WeightID) String() string {
	return id.Side.String() + "." + strconv.Itoa(id.Layer) + "." + id.Part.String()
}

// ParseWeightID reads the form that WeightID.String writes.
func ParseWeightID(s string) (WeightID, error) {
	bad := func() (WeightID, error) {
		return WeightID{}, fmt.Errorf("models: %q is not a weight id; write it as decoder.3.ffn_down", s)
	}
	f := strings.Split(s, ".")
	if len(f) != 3 {
		return bad()
	}
	var id WeightID
	switch f[0] {
	case "decoder":
	case "encoder":
		id.Side = Encoder
	default:
		return bad()
	}
	n, err := strconv.Atoi(f[1])
	if err != nil || n < 0 || strconv.Itoa(n) != f[1] {
		return bad()
	}
	id.Layer = n
	for p, name := range partNames {
		if name == f[2] {
			id.Part = Part(p)
			return id, nil
		}
	}
	return bad()
}

// Place is a weight of a graph, or its bias.
type Place struct {
	ID   WeightID
	Bias bool
}

// String is the weight's, "bias of " before it for a bias.
func (p Place) String() string {
	if p.Bias {
		return "bias of " + p.ID.String()
	}
	return p.ID.String()
}

// MarshalText writes the form of String, for JSON.
func (id WeightID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MarshalText writes the form of String, for JSON.
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Point is a place within a block where activations can be read.
type Point uint8

// The points of a block. B is the number of rows, T of positions.
const (
	FFNIn   Point = iota // input of the up-projection, after the norm: [B, T, width]
	FFNAct               // input of the down-projection: [B, T, ffn width]
	FFNOut               // output of the down-projection with its bias: [B, T, width]
	Hidden               // output of the block, the residual stream: [B, T, width]
	AttnOut              // output of the attention's projection with its bias: [B, T, width]
	FFNPre               // input of the activation function, bias included: [B, T, ffn width]
)

// Points lists all points.
func Points() []Point { return []Point{FFNIn, FFNAct, FFNOut, Hidden, AttnOut, FFNPre} }

var pointNames = [...]string{FFNIn: "ffn_in", FFNAct: "ffn_act", FFNOut: "ffn_out", Hidden: "hidden", AttnOut: "attn_out", FFNPre: "ffn_pre"}

func (p Point) String() string {
	if int(p) < len(pointNames) {
		return pointNames[p]
	}
	return fmt.Sprintf("point(%d)", uint8(p))
}

// MarshalText writes the form of String, for JSON.
func (p Point) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Site is a point of one block.
type Site struct {
	Side  Side
	Layer int
	Point Point
}

func (s Site) String() string {
	return s.Side.String() + "." + strconv.Itoa(s.Layer) + "." + s.Point.String()
}

// Weight is one editable, or not editable, matrix.
type Weight struct {
	ID          WeightID `json:"id"`
	Initializer string   `json:"initializer"` // name in the graph; "" when it is not an initializer
	In          int      `json:"in"`          // of y = x W, whatever the stored orientation
	Out         int      `json:"out"`
	Transposed  bool     `json:"transposed"` // stored as [Out, In]
	DType       string   `json:"dtype"`      // stored element type
	Compute     string   `json:"compute"`    // element type of the product; differs from DType behind a Cast
	Editable    bool     `json:"editable"`
	Why         string   `json:"why,omitempty"`  // reason when not Editable
	Bias        string   `json:"bias,omitempty"` // initializer added to the output; "" if none

	// Places in the graph, for instrumentation.
	Input  string `json:"-"` // value x that the matrix multiplies; [B, T, In] or [B*T, In]
	Output string `json:"-"` // value y before the bias unless the operation adds it itself
}

// Overridable says whether a run may be fed another value in the weight's place:
// a float32 one, or a float16 one where the runtime takes those (half, see
// ort.Env.OverridesFloat16). Behind a Cast the changed weight would be rounded
// before the product.
func (w *Weight) Overridable(half bool) bool {
	return w.Editable && w.Compute == w.DType && (w.DType == "float32" || half && w.DType == "float16")
}

// FFN is the feed-forward block of one layer.
type FFN struct {
	Side  Side    `json:"side"`
	Layer int     `json:"layer"`
	Down  Weight  `json:"down"`
	Up    Weight  `json:"up"`
	Gate  *Weight `json:"gate,omitempty"` // nil in blocks without a gate

	// Values behind the sites; "" where the graph does not hold the value,
	// with the reason in Missing.
	In        string `json:"-"`
	Pre       string `json:"-"`
	Act       string `json:"-"`
	Result    string `json:"-"`
	Hidden    string `json:"-"`
	Attention string `json:"-"`
	// Summand is the value that a fused operator adds to the residual stream where
	// Hidden is that operator's sum; "" elsewhere.
	Summand string `json:"-"`

	Missing map[Point]string `json:"missing,omitempty"`

	activation Activation
	inactive   string // why there is none, where FFNPre does not say it
}

// Shifted returns the graph value that is to be changed so that the value behind
// a point changes by as much, for all its readers. It is that value, but where a
// fused operator reads the residual sum itself: there it is a summand.
func (f *FFN) Shifted(p Point) string {
	if p == Hidden && f.Summand != "" {
		return f.Summand
	}
	value, _ := f.Value(p)
	return value
}

// Weight returns the block's matrix of a part, nil if it has none.
func (f *FFN) Weight(p Part) *Weight {
	switch p {
	case FFNDown:
		return &f.Down
	case FFNUp:
		return &f.Up
	case FFNGate:
		return f.Gate
	}
	return nil
}

// Value returns the graph value behind a point and, if there is none, the reason.
func (f *FFN) Value(p Point) (value, why string) {
	switch p {
	case FFNIn:
		value = f.In
	case FFNAct:
		value = f.Act
	case FFNOut:
		value = f.Result
	case Hidden:
		value = f.Hidden
	case AttnOut:
		value = f.Attention
	case FFNPre:
		value = f.Pre
	}
	if value == "" {
		why = f.Missing[p]
		if why == "" {
			why = "unknown point"
		}
	}
	return value, why
}
