// Package ports finds the ports of a language model's graph: the inputs and
// outputs that it declares (ids, masks, positions, the keys and values of
// earlier positions, logits, states of an encoder). It recognises them by the
// names that exporters give them, and says how many positions they take.
package ports

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"editpipe/models/linear"
	"editpipe/onnx"
)

// ErrGraph is returned when a graph does not look like a language model's:
// inputs that nobody knows how to feed, or no logits.
var ErrGraph = errors.New("not a graph of a language model")

// Ports says how a graph is fed and read. Empty names mean that the graph has
// no such input or output.
type Ports struct {
	IDs           string // [B, T] token ids
	Mask          string // [B, past+T], 1 for real positions
	Positions     string // [B, T]
	TokenTypes    string // [B, T], all 0
	CachePosition string // [T]
	KeepLogits    string // of how many last positions logits are computed, 0 for all: a number or [1]
	KeepRank      int    // of KeepLogits
	EncoderStates string // [B, S, width]
	EncoderMask   string // [B, S]
	Past          []Past
	Lengths       bool // attention takes the number of keys of each row in place of the mask
	MaxRows       int  // rows that the graph was exported for; 0 if any number

	Logits     string // [B, T, V]
	LogitsType onnx.DataType
	States     string // encoder: [B, S, width]
	StatesType onnx.DataType
	Vocab      int // last dimension of Logits, 0 if unknown

	types map[string]onnx.DataType
}

// Type is the declared element type of an input.
func (p *Ports) Type(input string) onnx.DataType { return p.types[input] }

// Element types that ids and positions can be fed in, and those that hold no more
// than a mask.
var (
	numeric = []onnx.DataType{onnx.Undefined, onnx.Int64, onnx.Int32, onnx.Float}
	flags   = []onnx.DataType{onnx.Bool, onnx.Int8, onnx.Uint8}
)

// Of classifies the inputs and outputs of a graph, and fills in what the declared
// shapes of the past leave open from what the graph says elsewhere. The error wraps
// ErrGraph.
func Of(m *onnx.Model, maps *linear.Graph, encoder bool) (Ports, error) {
	p, err := declared(m, encoder)
	if err != nil {
		return Ports{}, err
	}
	graph{maps}.settle(&p)
	return p, nil
}

// declared classifies the inputs and outputs of a graph as the file declares them.
func declared(m *onnx.Model, encoder bool) (Ports, error) {
	p := Ports{Lengths: takesLengths(m), types: map[string]onnx.DataType{}}
	ix := m.Graph.Index()
	for _, in := range m.Graph.Inputs {
		if ix.Initializer(in.Name) != nil {
			continue // old files list their weights among the inputs
		}
		p.types[in.Name] = in.DType
		numbers := true
		switch name := in.Name; {
		case name == "input_ids" || name == "decoder_input_ids":
			p.IDs = name
			if len(in.Shape) == 2 {
				if n := in.Shape[1].Value; n > 1 {
					return p, fmt.Errorf("%w: it takes sequences of exactly %d tokens; export it with dynamic axes", ErrGraph, n)
				}
			}
		case name == "attention_mask" || name == "decoder_attention_mask":
			p.Mask = name
		case name == "position_ids":
			p.Positions = name
		case name == "token_type_ids":
			p.TokenTypes = name
		case name == "cache_position":
			p.CachePosition = name
		case name == "num_logits_to_keep" || name == "logits_to_keep":
			p.KeepLogits, p.KeepRank = name, len(in.Shape)
		case name == "encoder_hidden_states" || name == "encoder_outputs":
			p.EncoderStates, numbers = name, false
		case name == "encoder_attention_mask":
			p.EncoderMask = name
		case strings.HasPrefix(name, "past_key_values") || strings.HasPrefix(name, "past_"):
			past, err := pastOf(in)
			if err != nil {
				return p, err
			}
			p.Past, numbers = append(p.Past, past), false
			p.limit(past.Shape[past.Rows])
		default:
			return p, fmt.Errorf("%w: unknown input %q; known are input_ids, attention_mask, position_ids, token_type_ids, cache_position, num_logits_to_keep, encoder_hidden_states, encoder_attention_mask and past_key_values.*: export the model with the task text-generation", ErrGraph, name)
		}
		mask := in.Name == p.Mask || in.Name == p.EncoderMask || in.Name == p.TokenTypes
		if numbers && !slices.Contains(numeric, in.DType) && !(mask && slices.Contains(flags, in.DType)) {
			return p, fmt.Errorf("%w: input %q is of type %s", ErrGraph, in.Name, in.DType)
		}
		if numbers && len(in.Shape) == 2 {
			p.limit(in.Shape[0].Value)
		}
	}
	if p.IDs == "" {
		return p, fmt.Errorf("%w: no input_ids input", ErrGraph)
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

// limit takes note of the number of rows that an input was exported for.
func (p *Ports) limit(rows int64) {
	if rows > 0 {
		p.MaxRows = int(rows)
	}
}
