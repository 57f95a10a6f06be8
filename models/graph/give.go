package graph

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/onnx"
)

// Purpose is what a graph gives back. It is one of [Logits], [States], [Carried],
// [Taps], [Sums], [Losses] and [LayerLosses], all comparable.
type Purpose interface {
	// before adds what must stand before the slots, which redirect every reader of
	// what they change.
	before(m *onnx.Model, g *arch.Graph) error
	// add adds outputs, in place of those that the graph had.
	add(m *onnx.Model, a *arch.Anatomy, g *arch.Graph) error
	// caches says whether the graph hands out keys and values.
	caches() bool
}

// Logits gives the logits of chosen positions, and keys and values where the
// graph has them.
type Logits struct{}

// Input and output of a graph that gives Logits.
const (
	LogitRows = "editpipe.rows"   // [P] rows of the flattened [B*T] positions whose logits are wanted
	LogitsOut = "editpipe.logits" // [P, V] float32
)

func (Logits) before(*onnx.Model, *arch.Graph) error { return nil }
func (Logits) caches() bool                          { return true }

// add replaces the logits by those of chosen rows, as float32. Where the
// head was recognised the rows are taken before it, so that the product with
// the vocabulary matrix has P rows, not B*T.
func (Logits) add(m *onnx.Model, a *arch.Anatomy, g *arch.Graph) error {
	b := m.Builder()
	rows := b.Input(LogitRows, onnx.Int64, symbolic("wanted"))
	vocab := int64(a.Info.Vocab)
	pick := func(b *onnx.Builder, value string, width int64) string {
		flat := b.Op("Reshape", []string{value, b.Int64s(-1, width)})
		return b.Op("Gather", []string{flat, rows}, onnx.AttrInt("axis", 0))
	}
	out := g.Ports.Logits
	if g.Head.X != "" {
		err := m.Splice(g.Head.X, func(b *onnx.Builder, x string) (string, error) {
			// Three dimensions again: nodes behind the head may count on them.
			return b.Op("Reshape", []string{pick(b, x, int64(g.Head.Width)), b.Int64s(1, -1, int64(g.Head.Width))}), nil
		})
		if err != nil {
			return fmt.Errorf("taking rows before the head: %w", err)
		}
		b = m.Builder()
		out = b.Op("Reshape", []string{out, b.Int64s(-1, vocab)})
	} else {
		out = pick(b, out, vocab)
	}
	if g.Ports.LogitsType != onnx.Float {
		out = b.Op("Cast", []string{out}, onnx.AttrInt("to", int64(onnx.Float)))
	}
	b.Output(out, LogitsOut, onnx.Float, []onnx.Dim{onnx.Symbolic("wanted"), {Value: vocab}})
	return nil
}

// States gives the states of an encoder, [B, S, width].
type States struct{}

// StatesOut is the output of a graph that gives States, as the model computes them.
const StatesOut = "editpipe.states"

func (States) before(*onnx.Model, *arch.Graph) error { return nil }
func (States) caches() bool                          { return false }

func (States) add(m *onnx.Model, _ *arch.Anatomy, g *arch.Graph) error {
	m.Builder().Output(g.Ports.States, StatesOut, g.Ports.StatesType, symbolic("batch", "positions", "width"))
	return nil
}

// Carried gives the keys and values that it takes, and computes nothing: they
// are then where the provider keeps results. It needs no slots.
type Carried struct{}

// CarriedOut names the output of a cache input that is carried.
func CarriedOut(cache string) string { return "editpipe.carried." + cache }

func (Carried) before(*onnx.Model, *arch.Graph) error { return nil }
func (Carried) caches() bool                          { return false }

func (Carried) add(m *onnx.Model, _ *arch.Anatomy, g *arch.Graph) error {
	m.Graph.Inputs = nil
	b := m.Builder()
	for _, c := range g.Ports.Past {
		dims := symbolic(make([]string, len(c.Shape))...)
		in := b.Input(c.In, c.DType, dims)
		b.Output(b.Op("Identity", []string{in}), CarriedOut(c.In), c.DType, dims)
	}
	return nil
}

// Taps gives the activations of chosen positions at every site that can be read,
// up to a layer.
type Taps struct {
	Top int // the highest layer that is read
}

// TapRows is the input of a graph that gives Taps: [Q] rows of the flattened
// [B*T] positions whose activations are wanted.
const TapRows = "editpipe.taps"

// Tap names the output of a site, [Q, width] float32.
func Tap(s arch.Site) string { return "editpipe.tap." + s.String() }

func (Taps) caches() bool                                      { return false }
func (Taps) add(*onnx.Model, *arch.Anatomy, *arch.Graph) error { return nil }

// before gives every readable site up to the layer an output with chosen rows, as
// float32.
func (t Taps) before(m *onnx.Model, g *arch.Graph) error {
	g.Reveal(m)
	b := m.Builder()
	rows := b.Input(TapRows, onnx.Int64, symbolic("tapped"))
	for _, f := range g.FFNs {
		for _, p := range arch.Points() {
			value, _ := f.Value(p)
			if value == "" || f.Layer > t.Top {
				continue
			}
			width := int64(f.Width(p))
			x := b.Op("Reshape", []string{value, b.Int64s(-1, width)})
			x = b.Op("Gather", []string{x, rows}, onnx.AttrInt("axis", 0))
			x = b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(onnx.Float)))
			b.Output(x, Tap(arch.Site{Side: f.Side, Layer: f.Layer, Point: p}), onnx.Float, []onnx.Dim{onnx.Symbolic("tapped"), {Value: width}})
		}
	}
	return nil
}

// Sums gives what it takes with the products x x' of the activations x at sites
// added, over chosen positions.
type Sums struct {
	at string // the sites, joined by spaces
}

// SumsAt is Sums at sites, all of which can be read.
func SumsAt(at ...arch.Site) Sums {
	names := make([]string, len(at))
	for i, s := range at {
		names[i] = s.String()
	}
	return Sums{strings.Join(names, " ")}
}

// SumRows is the input of a graph that gives Sums: [Q] rows of the flattened
// [B*T] positions that are tokens.
const SumRows = "editpipe.gram.rows"

// Sum names the input of the sums of a site so far, [width, width] float32.
func Sum(s arch.Site) string { return "editpipe.gram." + s.String() }

// NextSum names the output of the sums of a site with what was added.
func NextSum(s arch.Site) string { return Sum(s) + ".next" }

func (Sums) caches() bool                                      { return false }
func (Sums) add(*onnx.Model, *arch.Anatomy, *arch.Graph) error { return nil }

func (s Sums) before(m *onnx.Model, g *arch.Graph) error {
	g.Reveal(m)
	b := m.Builder()
	rows := b.Input(SumRows, onnx.Int64, symbolic("tokens"))
	at := strings.Fields(s.at)
	for _, f := range g.FFNs {
		for _, p := range arch.Points() {
			site := arch.Site{Side: f.Side, Layer: f.Layer, Point: p}
			if !slices.Contains(at, site.String()) {
				continue
			}
			value, why := f.Value(p)
			if value == "" {
				return fmt.Errorf("%w: %s: %s", arch.ErrSite, site, why)
			}
			n := int64(f.Width(p))
			square := []onnx.Dim{{Value: n}, {Value: n}}
			x := b.Op("Reshape", []string{value, b.Int64s(-1, n)})
			x = b.Op("Gather", []string{x, rows}, onnx.AttrInt("axis", 0))
			x = b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(onnx.Float)))
			so := b.Input(Sum(site), onnx.Float, square)
			b.Output(b.Op("Gemm", []string{x, x, so}, onnx.AttrInt("transA", 1)), NextSum(site), onnx.Float, square)
		}
	}
	return nil
}
