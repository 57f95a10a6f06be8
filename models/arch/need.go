package arch

import (
	"errors"
	"fmt"
)

var (
	// ErrNotEditable is returned when a weight does not exist or cannot be changed.
	ErrNotEditable = errors.New("weight is not editable")
	// ErrSite is returned when activations are wanted from a place the graph does not show.
	ErrSite = errors.New("site cannot be read")
	// ErrNoGradient is returned when a model cannot be differentiated: its form, its
	// number format or an operator on the way is not supported.
	ErrNoGradient = errors.New("model cannot be differentiated")
)

// Need is what a method asks of a model beside answers.
type Need struct {
	Edits     []WeightID // weights that it changes
	Sites     []Site     // places where it reads activations or shifts them
	Gradients bool       // losses are differentiated
}

// Lacks says why a model cannot give what is needed: nil, or the first fault,
// which wraps ErrNotEditable, ErrSite or ErrNoGradient. It takes no runtime.
func Lacks(i *Info, n Need) error {
	for _, id := range n.Edits {
		if err := i.Editable(id); err != nil {
			return err
		}
	}
	for _, s := range n.Sites {
		if _, _, err := i.Site(s); err != nil {
			return fmt.Errorf("models: %w", err)
		}
	}
	if n.Gradients {
		return i.Differentiable()
	}
	return nil
}

// Editable returns ErrNotEditable with a reason if a weight cannot be changed.
func (i *Info) Editable(id WeightID) error {
	switch w := i.Weight(id); {
	case w == nil:
		return fmt.Errorf("models: %w: %s: %s", ErrNotEditable, id, i.absent(id.Side, id.Layer, "weight"))
	case !w.Editable:
		return fmt.Errorf("models: %w: %s: %s", ErrNotEditable, id, w.Why)
	}
	return nil
}

// BiasEditable returns ErrNotEditable with a reason if a weight, or its bias,
// cannot be changed.
func (i *Info) BiasEditable(id WeightID) error {
	if err := i.Editable(id); err != nil {
		return err
	}
	why := ""
	if value, missing := i.FFN(id.Side, id.Layer).Value(FFNOut); value == "" {
		why = missing
	}
	switch {
	case id.Part != FFNDown:
		why = "only biases of down-projections can be changed"
	case i.Weight(id).Bias == "":
		why = "the model has none"
	}
	if why != "" {
		return fmt.Errorf("models: %w: %s: %s", ErrNotEditable, Place{ID: id, Bias: true}, why)
	}
	return nil
}

// Site returns the block of a site and the width of its value, or ErrSite with
// the reason why it cannot be read.
func (i *Info) Site(s Site) (f *FFN, width int, err error) {
	if f = i.FFN(s.Side, s.Layer); f == nil {
		return nil, 0, fmt.Errorf("%w: %s: %s", ErrSite, s, i.absent(s.Side, s.Layer, "layer"))
	}
	if value, why := f.Value(s.Point); value == "" {
		return nil, 0, fmt.Errorf("%w: %s: %s", ErrSite, s, why)
	}
	return f, f.Width(s.Point), nil
}

// Differentiable returns ErrNoGradient with the reason if losses cannot be
// differentiated.
func (i *Info) Differentiable() error {
	if i.NoGradient != "" {
		return fmt.Errorf("models: %w: %s", ErrNoGradient, i.NoGradient)
	}
	return nil
}

// absent says why a layer, or a part of it, is not there.
func (i *Info) absent(side Side, layer int, what string) string {
	layers := i.Layers
	if side == Encoder {
		layers = i.EncoderLayers
	}
	if layers > 0 && (layer < 0 || layer >= layers) {
		return fmt.Sprintf("the model has %d layers, 0 to %d", layers, layers-1)
	}
	return "the model has no such " + what
}

// Width is the last dimension of the value behind a point.
func (f *FFN) Width(p Point) int {
	if p == FFNAct || p == FFNPre {
		return f.Down.In
	}
	return f.Down.Out
}
