package arch

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/onnx"
)

// Past is one key or value cache: an input with what earlier positions left
// behind, and the output that extends it.
type Past struct {
	In    string
	Out   string // "" where the graph does not give it back (cross-attention)
	First string // output of the graph without past that begins it; of encoder-decoders
	DType onnx.DataType
	// Shape of the input; -1 where it is symbolic. Axis Length grows by one
	// position per step, axis 0 is the row.
	Shape  []int64
	Length int
	Cross  bool // keys or values of the encoder: they do not grow
}

// Ports says how a graph is fed and read. Empty names mean that the graph has
// no such input or output.
type Ports struct {
	IDs           string // [B, T] token ids
	IDType        onnx.DataType
	Mask          string // [B, past+T], 1 for real positions
	MaskType      onnx.DataType
	Positions     string // [B, T]
	TokenTypes    string // [B, T], all 0
	CachePosition string // [T]
	EncoderStates string // [B, S, width]
	EncoderMask   string // [B, S]
	Past          []Past
	MaxRows       int // rows that the graph was exported for; 0 if any number

	Logits     string // [B, T, V]
	LogitsType onnx.DataType
	States     string // encoder: [B, S, width]
	StatesType onnx.DataType
	Vocab      int // last dimension of Logits, 0 if unknown
}

// portsOf classifies the inputs and outputs of a graph.
func portsOf(m *onnx.Model, encoder bool) (Ports, error) {
	var p Ports
	ix := m.Graph.Index()
	for _, in := range m.Graph.Inputs {
		if ix.Initializer(in.Name) != nil {
			continue // old files list their weights among the inputs
		}
		switch name := in.Name; {
		case name == "input_ids" || name == "decoder_input_ids":
			p.IDs, p.IDType = name, in.DType
			if len(in.Shape) == 2 {
				p.MaxRows = int(max(in.Shape[0].Value, 0))
				if n := in.Shape[1].Value; n > 1 {
					return p, fmt.Errorf("%w: it takes sequences of exactly %d tokens; export it with dynamic axes", ErrGraph, n)
				}
			}
		case name == "attention_mask" || name == "decoder_attention_mask":
			p.Mask, p.MaskType = name, in.DType
		case name == "position_ids":
			p.Positions = name
		case name == "token_type_ids":
			p.TokenTypes = name
		case name == "cache_position":
			p.CachePosition = name
		case name == "encoder_hidden_states" || name == "encoder_outputs":
			p.EncoderStates = name
		case name == "encoder_attention_mask":
			p.EncoderMask = name
		case strings.HasPrefix(name, "past_key_values") || strings.HasPrefix(name, "past_"):
			past, err := pastOf(in)
			if err != nil {
				return p, err
			}
			p.Past = append(p.Past, past)
		default:
			return p, fmt.Errorf("%w: unknown input %q; known are input_ids, attention_mask, position_ids, token_type_ids, cache_position, encoder_hidden_states, encoder_attention_mask and past_key_values.*: export the model with the task text-generation", ErrGraph, name)
		}
	}
	if p.IDs == "" {
		return p, fmt.Errorf("%w: no input_ids input", ErrGraph)
	}
	for _, t := range []onnx.DataType{p.IDType, p.MaskType} {
		if !slices.Contains([]onnx.DataType{onnx.Undefined, onnx.Int64, onnx.Int32, onnx.Bool, onnx.Float}, t) {
			return p, fmt.Errorf("%w: ids or mask of type %s", ErrGraph, t)
		}
	}
	if encoder {
		for _, out := range m.Graph.Outputs {
			if out.Name == "last_hidden_state" || len(m.Graph.Outputs) == 1 {
				p.States, p.StatesType = out.Name, out.DType
				return p, nil
			}
		}
		return p, fmt.Errorf("%w: encoder without a last_hidden_state output", ErrGraph)
	}
	for _, out := range m.Graph.Outputs {
		if out.Name == "logits" || (p.Logits == "" && out.Name == "lm_logits") {
			p.Logits, p.LogitsType = out.Name, out.DType
			if n := len(out.Shape); n > 0 && out.Shape[n-1].Value > 0 {
				p.Vocab = int(out.Shape[n-1].Value)
			}
		}
	}
	if p.Logits == "" {
		return p, fmt.Errorf("%w: no logits output; the graph must end in a language model head", ErrGraph)
	}
	p.pairPast(m.Graph.Outputs)
	return p, nil
}

// pastOf reads the geometry of one cache input.
func pastOf(in *onnx.ValueInfo) (Past, error) {
	p := Past{In: in.Name, DType: in.DType, Length: -1, Cross: strings.Contains(in.Name, ".encoder.")}
	for i, d := range in.Shape {
		v := d.Value
		if v < 0 && i > 0 {
			if p.Length >= 0 {
				return p, fmt.Errorf("%w: cache input %q has more than one growing dimension", ErrGraph, in.Name)
			}
			p.Length = i
		}
		p.Shape = append(p.Shape, v)
	}
	if p.Length < 0 {
		return p, fmt.Errorf("%w: cache input %q has no growing dimension", ErrGraph, in.Name)
	}
	return p, nil
}

// pairPast finds the output that extends each cache input: by name, with
// "present" for "past_key_values" or "past".
func (p *Ports) pairPast(outputs []*onnx.ValueInfo) {
	have := map[string]bool{}
	for _, o := range outputs {
		have[o.Name] = true
	}
	for i := range p.Past {
		for _, name := range presents(p.Past[i].In) {
			if have[name] {
				p.Past[i].Out = name
				break
			}
		}
	}
}

// presents are the names that the output behind a cache input may have.
func presents(in string) []string {
	return []string{
		strings.Replace(in, "past_key_values", "present", 1),
		strings.Replace(in, "past_key_values", "present_key_values", 1),
		strings.Replace(in, "past", "present", 1),
	}
}
