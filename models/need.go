package models

import (
	"fmt"
	"strings"

	"editpipe/models/arch"
	"editpipe/onnx/grad"
)

// Need is what a method asks of a model beside answers.
type Need struct {
	Edits     []arch.WeightID // weights that it changes
	Sites     []arch.Site     // places where it reads activations or shifts them
	Gradients bool            // losses are differentiated, as by LM.Losses
}

// Lacks says why a model cannot give what is needed: nil, or the first fault,
// which wraps ErrNotEditable, ErrSite or ErrNoGradient. It takes no runtime.
func Lacks(info *arch.Info, n Need) error {
	for _, id := range n.Edits {
		w := info.Weight(id)
		switch {
		case w == nil:
			return fmt.Errorf("models: %w: %s: %s", ErrNotEditable, id, absent(info, id.Side, id.Layer, "weight"))
		case !w.Editable:
			return fmt.Errorf("models: %w: %s: %s", ErrNotEditable, id, w.Why)
		}
	}
	for _, s := range n.Sites {
		f := info.FFN(s.Side, s.Layer)
		if f == nil {
			return fmt.Errorf("models: %w: %s: %s", ErrSite, s, absent(info, s.Side, s.Layer, "layer"))
		}
		if value, why := f.Value(s.Point); value == "" {
			return fmt.Errorf("models: %w: %s: %s", ErrSite, s, why)
		}
	}
	if n.Gradients && info.NoGradient != "" {
		return fmt.Errorf("models: %w: %s", ErrNoGradient, info.NoGradient)
	}
	return nil
}

// absent says why a layer, or a part of it, is not there.
func absent(info *arch.Info, side arch.Side, layer int, what string) string {
	layers := info.Layers
	if side == arch.Encoder {
		layers = info.EncoderLayers
	}
	if layers > 0 && (layer < 0 || layer >= layers) {
		return fmt.Sprintf("the model has %d layers, 0 to %d", layers, layers-1)
	}
	return "the model has no such " + what
}

// noGradient says why losses cannot be differentiated, "" if they can: by trying,
// from the first block on, through which all paths of later ones lead.
func noGradient(a *arch.Anatomy) string {
	switch {
	case a.Encoder != nil:
		return "it has an encoder"
	case a.Info.DType != "float32":
		return fmt.Sprintf("it is %s, want float32", a.Info.DType)
	case len(a.Info.FFNs) == 0:
		return "no feed-forward block of a known form was found"
	}
	f := &a.Info.FFNs[0]
	for _, p := range []arch.Point{arch.FFNOut, arch.FFNAct, arch.Hidden} {
		if value, _ := f.Value(p); value == "" {
			continue
		}
		m := a.Forward.Model.Clone()
		err := addShifts(m, a.Forward, []arch.Site{{Side: f.Side, Layer: f.Layer, Point: p}})
		var h *grad.Head
		if err == nil {
			h, err = addHead(m, a.Forward)
		}
		if err == nil {
			if _, err = grad.Gradients(m, h.Loss, shiftInput); err == nil {
				return ""
			}
		}
		return strings.TrimPrefix(err.Error(), ErrNoGradient.Error()+": ")
	}
	_, why := f.Value(arch.FFNOut)
	return why
}
