package graph

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/onnx"
	"editpipe/onnx/grad"
)

// Names of the inputs and outputs of a graph that gives [Losses] or
// [LayerLosses]. The inputs are those that grad.AddHead chooses in a graph that does
// not use them itself. P is the number of terms.
const (
	LossPositions = "loss_positions" // [P, 2] row and position of each term
	LossTargets   = "loss_targets"   // [P] token ids
	LossWeights   = "loss_weights"   // [P, 4] of the four losses, see grad.Head
	LossReference = "loss_reference" // [P or 1, V] log-probabilities

	LossTerms    = "editpipe.loss_terms" // [P, 4] the four losses, without their weights
	LossLogProb  = "editpipe.log_prob"   // [P] of the targets
	LossBest     = "editpipe.best"       // [P] of the most probable tokens
	LossLogProbs = "editpipe.log_probs"  // [P, V]
)

// Shift names the input of shifts: of site k of Losses, of layer k of LayerLosses,
// [N, width].
func Shift(k int) string { return numbered("editpipe.shift", k) }

// ShiftPlaces names the input of the rows and positions of shifts, [N, 2]: number
// 0 for all sites of Losses, of layer k of LayerLosses.
func ShiftPlaces(k int) string { return numbered("editpipe.shift_at", k) }

// ShiftGradient names the output of d Loss / d Shift, [N, width], by number of
// Shift.
func ShiftGradient(k int) string { return numbered("editpipe.shift_gradient", k) }

func numbered(name string, k int) string {
	if k == 0 {
		return name
	}
	return fmt.Sprintf("%s_%d", name, k)
}

// MostSites is how many sites can be shifted together.
const MostSites = 2

// Losses gives losses and their gradients with respect to shifts of the values at
// sites. LossTerms, LossLogProb, LossBest and LossLogProbs are its outputs beside
// the gradients.
type Losses struct {
	n  int // of sites
	at [MostSites]arch.Site
}

// LossesAt is Losses at one to MostSites sites.
func LossesAt(at ...arch.Site) Losses {
	l := Losses{n: len(at)}
	copy(l.at[:], at)
	return l
}

// Sites lists the sites.
func (l Losses) Sites() []arch.Site { return l.at[:l.n] }

func (Losses) caches() bool { return false }

// changing lists the inputs that shifts and losses come in by.
func (l Losses) changing() []string {
	list := []string{ShiftPlaces(0), LossPositions, LossTargets, LossWeights, LossReference}
	for k := range l.n {
		list = append(list, Shift(k))
	}
	return list
}

// before makes the values of sites read shifts.
func (l Losses) before(m *onnx.Model, g *arch.Graph) error {
	for k, s := range l.Sites() {
		for _, f := range g.FFNs {
			if f.Side == s.Side && f.Layer == s.Layer {
				if err := grad.AddDeltaAlong(m, f.Shifted(s.Point), g.Ports.IDs, Shift(k), ShiftPlaces(0)); err != nil {
					return fmt.Errorf("%w: %w", arch.ErrNoGradient, err)
				}
			}
		}
	}
	return nil
}

// add puts a loss in the place of the logits, with its gradient.
func (l Losses) add(m *onnx.Model, a *arch.Anatomy, g *arch.Graph) error {
	h, err := addHead(m, g)
	if err != nil {
		return err
	}
	var shifts []string
	for k := range l.n {
		shifts = append(shifts, Shift(k))
	}
	d, err := grad.Gradients(m, h.Loss, shifts...)
	if err != nil {
		return fmt.Errorf("%w: %w", arch.ErrNoGradient, err)
	}
	b := m.Builder()
	terms, vocab := onnx.Symbolic("terms"), onnx.Dim{Value: int64(a.Info.Vocab)}
	for k, name := range d {
		b.Output(name, ShiftGradient(k), onnx.Float, symbolic("shifts", numbered("shift_width", k)))
	}
	b.Output(h.Terms, LossTerms, onnx.Float, []onnx.Dim{terms, {Value: 4}})
	b.Output(h.LogProb, LossLogProb, onnx.Float, []onnx.Dim{terms})
	b.Output(highest(b, m.Opset(""), h.LogProbs), LossBest, onnx.Float, []onnx.Dim{terms})
	b.Output(h.LogProbs, LossLogProbs, onnx.Float, []onnx.Dim{terms, vocab})
	return nil
}

// LayerLosses gives losses and their gradients with respect to a shift of the value
// at a point of every layer. LossTerms is its output beside the gradients.
type LayerLosses struct {
	Point arch.Point
}

func (LayerLosses) caches() bool { return false }

// before makes the value at the point read a shift in every layer.
func (l LayerLosses) before(m *onnx.Model, g *arch.Graph) error {
	for _, f := range g.FFNs {
		if err := grad.AddDeltaAlong(m, f.Shifted(l.Point), g.Ports.IDs, Shift(f.Layer), ShiftPlaces(f.Layer)); err != nil {
			return fmt.Errorf("%w: %w", arch.ErrNoGradient, err)
		}
	}
	return nil
}

// add puts a loss in the place of the logits, with its gradients.
func (l LayerLosses) add(m *onnx.Model, _ *arch.Anatomy, g *arch.Graph) error {
	h, err := addHead(m, g)
	if err != nil {
		return err
	}
	var shifts []string
	for _, f := range g.FFNs {
		shifts = append(shifts, Shift(f.Layer))
	}
	d, err := grad.Gradients(m, h.Loss, shifts...)
	if err != nil {
		return fmt.Errorf("%w: %w", arch.ErrNoGradient, err)
	}
	b := m.Builder()
	for k, f := range g.FFNs {
		b.Output(d[k], ShiftGradient(f.Layer), onnx.Float, symbolic(numbered("shifts", f.Layer), numbered("shift_width", f.Layer)))
	}
	b.Output(h.Terms, LossTerms, onnx.Float, []onnx.Dim{onnx.Symbolic("terms"), {Value: 4}})
	return nil
}

// addHead puts a loss in the place of the logits.
func addHead(m *onnx.Model, g *arch.Graph) (*grad.Head, error) {
	h, err := grad.AddHead(m, g.Ports.Logits, g.Head.X)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", arch.ErrNoGradient, err)
	}
	if names := []string{h.Positions, h.Targets, h.Weights, h.Reference}; !slices.Equal(names, []string{LossPositions, LossTargets, LossWeights, LossReference}) {
		return nil, fmt.Errorf("%w: it has values of the names that the loss needs; the loss got %v", arch.ErrNoGradient, names)
	}
	return h, nil
}

// highest is the largest element of every row. From opset 18 on the axes of the
// operation are an input.
func highest(b *onnx.Builder, opset int64, value string) string {
	keep := onnx.AttrInt("keepdims", 0)
	if opset >= 18 {
		return b.Op("ReduceMax", []string{value, b.Int64s(-1)}, keep)
	}
	return b.Op("ReduceMax", []string{value}, keep, onnx.AttrInts("axes", -1))
}

// NoGradient says why losses cannot be differentiated, "" if they can: by trying,
// from the first block on, through which all paths of later ones lead.
func NoGradient(a *arch.Anatomy) string {
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
		err := LossesAt(arch.Site{Side: f.Side, Layer: f.Layer, Point: p}).before(m, a.Forward)
		var h *grad.Head
		if err == nil {
			h, err = addHead(m, a.Forward)
		}
		if err == nil {
			if _, err = grad.Gradients(m, h.Loss, Shift(0)); err == nil {
				return ""
			}
		}
		return strings.TrimPrefix(err.Error(), arch.ErrNoGradient.Error()+": ")
	}
	_, why := f.Value(arch.FFNOut)
	return why
}
