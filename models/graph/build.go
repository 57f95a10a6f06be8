package graph

import (
	"fmt"
	"slices"

	"editpipe/models/arch"
	"editpipe/models/ports"
	"editpipe/onnx"
)

// SlotU names the input of the left factors at a weight, [B or 1, in, rank].
func SlotU(id arch.WeightID) string { return "editpipe.u." + id.String() }

// SlotV names the input of the right factors at a weight, [B or 1, rank, out].
func SlotV(id arch.WeightID) string { return "editpipe.v." + id.String() }

// SlotBias names the input of what is added to the bias of a down-projection,
// [B or 1, 1, out].
func SlotBias(id arch.WeightID) string { return "editpipe.bias." + id.String() }

// Build makes the graph that s names. The result shares the weights of the
// model's own.
func Build(a *arch.Anatomy, s Spec) (*onnx.Model, error) {
	g := a.Graph(s.Role)
	m := g.Model.Clone()
	// Only the caches stay outputs; what else is wanted is added below.
	keep := map[string]bool{}
	for _, c := range a.Caches(s.Role) {
		keep[c.Present] = s.Give.caches()
	}
	m.Graph.Outputs = slices.DeleteFunc(m.Graph.Outputs, func(o *onnx.ValueInfo) bool { return !keep[o.Name] })
	// Exporters give unequal dimensions one name, such as the lengths of the
	// decoder's and the encoder's keys, and the runtime would take them for equal.
	for i, o := range m.Graph.Outputs {
		if !o.HasShape {
			continue
		}
		dims := slices.Clone(o.Shape)
		for k := range dims {
			dims[k].Param = ""
		}
		m.Graph.Outputs[i] = onnx.NewValueInfo(o.Name, o.DType, dims)
	}
	if err := s.Give.before(m, g); err != nil {
		return nil, err
	}
	// What is put behind a value later stands nearer to it: changes of weights come
	// first, then networks in order, then shifts.
	for _, p := range slices.Backward(s.Spliced(a)) {
		if err := addPlace(m, g, p); err != nil {
			return nil, fmt.Errorf("adding a network: %w", err)
		}
	}
	for _, w := range s.Slotted(a) {
		if err := addSlot(m, g, w); err != nil {
			return nil, fmt.Errorf("adding a slot at %s: %w", w.ID, err)
		}
	}
	for _, f := range s.Biased(a) {
		if err := addBiasSlot(m, g.Ports, f); err != nil {
			return nil, fmt.Errorf("adding a slot at the %s: %w", arch.Place{ID: f.Down.ID, Bias: true}, err)
		}
	}
	for _, w := range s.Replaced(a) {
		if err := m.Promote(w.Initializer); err != nil {
			return nil, fmt.Errorf("making %s an input: %w", w.ID, err)
		}
	}
	if err := s.Give.add(m, a, g); err != nil {
		return nil, err
	}
	m.Prune()
	if err := m.Check(); err != nil {
		return nil, err
	}
	if s.Half == Whole {
		return m, nil
	}
	l, divisible := s.Give.(Losses)
	if !divisible {
		return nil, fmt.Errorf("%w: only graphs of losses are", ErrUndivided)
	}
	first, second, err := split(m, l.changing())
	if err != nil {
		return nil, fmt.Errorf("splitting: %w", err)
	}
	if s.Half == Moving {
		return second, nil
	}
	return first, nil
}

func symbolic(names ...string) []onnx.Dim {
	d := make([]onnx.Dim, len(names))
	for i, n := range names {
		d[i] = onnx.Symbolic(n)
	}
	return d
}

// addSlot makes the linear map of a weight compute y + (x U) V.
//
// Some exports multiply [B, T, in], others [B*T, in] (Gemm takes matrices
// only). Factors belong to rows, so x is given the shape [B, -1, in] and the
// product is brought back to the shape of y; reshaping moves no data. The
// addition happens in float32 whatever the model computes in.
func addSlot(m *onnx.Model, g *arch.Graph, w arch.Weight) error {
	input, err := inputNow(m, g, w)
	if err != nil {
		return err
	}
	return m.Splice(w.Output, func(b *onnx.Builder, y string) (string, error) {
		u := b.Input(SlotU(w.ID), onnx.Float, []onnx.Dim{onnx.Symbolic("rows_or_1"), {Value: int64(w.In)}, onnx.Symbolic("rank")})
		v := b.Input(SlotV(w.ID), onnx.Float, []onnx.Dim{onnx.Symbolic("rows_or_1"), onnx.Symbolic("rank"), {Value: int64(w.Out)}})
		x, err := wide(b, input, w.Compute)
		if err != nil {
			return "", err
		}
		x = byRow(b, g.Ports, x, w.In)
		return added(b, y, b.Op("MatMul", []string{b.Op("MatMul", []string{x, u}), v}), w.Compute)
	})
}

// inputNow is the value that the linear map of a weight reads now: a shift may stand
// between the map and the value that the model's own graph gives it.
func inputNow(m *onnx.Model, g *arch.Graph, w arch.Weight) (string, error) {
	was, now := g.Model.Graph.Index().Producer(w.Output), m.Graph.Index().Producer(w.Output)
	if was == nil || now == nil {
		return "", fmt.Errorf("no node gives %s, the output of %s", w.Output, w.ID)
	}
	return now.Inputs[slices.Index(was.Inputs, w.Input)], nil
}

// wide is a value that a graph computes in a type, as float32.
func wide(b *onnx.Builder, x, compute string) (string, error) {
	if compute == "float32" {
		return x, nil
	}
	if _, err := typeNamed(compute); err != nil {
		return "", err
	}
	return b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(onnx.Float))), nil
}

// narrow is a float32 value in the type that a graph computes in.
func narrow(b *onnx.Builder, x, compute string) (string, error) {
	if compute == "float32" {
		return x, nil
	}
	to, err := typeNamed(compute)
	if err != nil {
		return "", err
	}
	return b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(to))), nil
}

// byRow gives a value [B, T, width] or [B*T, width] three axes.
func byRow(b *onnx.Builder, p ports.Ports, x string, width int) string {
	rows := b.Op("Gather", []string{b.Op("Shape", []string{p.IDs}), b.Int64s(0)}, onnx.AttrInt("axis", 0))
	shape := b.Op("Concat", []string{rows, b.Int64s(-1, int64(width))}, onnx.AttrInt("axis", 0))
	return b.Op("Reshape", []string{x, shape})
}

// added is y, which a graph computes in a type, and a float32 addition of as many
// elements.
func added(b *onnx.Builder, y, delta, compute string) (string, error) {
	delta = b.Op("Reshape", []string{delta, b.Op("Shape", []string{y})})
	y, err := wide(b, y, compute)
	if err != nil {
		return "", err
	}
	return narrow(b, b.Op("Add", []string{y, delta}), compute)
}

// addBiasSlot makes the value behind a down-projection and its bias read a
// further bias, of each row.
func addBiasSlot(m *onnx.Model, p ports.Ports, f arch.FFN) error {
	w := f.Down
	value, _ := f.Value(arch.FFNOut)
	return m.Splice(value, func(b *onnx.Builder, y string) (string, error) {
		bias := b.Input(SlotBias(w.ID), onnx.Float, []onnx.Dim{onnx.Symbolic("rows_or_1"), {Value: 1}, {Value: int64(w.Out)}})
		x, err := wide(b, byRow(b, p, y, w.Out), w.Compute)
		if err != nil {
			return "", err
		}
		if x, err = narrow(b, b.Op("Add", []string{x, bias}), w.Compute); err != nil {
			return "", err
		}
		return b.Op("Reshape", []string{x, b.Op("Shape", []string{y})}), nil
	})
}

func typeNamed(name string) (onnx.DataType, error) {
	for _, t := range []onnx.DataType{onnx.Float, onnx.Float16, onnx.BFloat16, onnx.Double} {
		if t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("products in %s are not supported", name)
}
