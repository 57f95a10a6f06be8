package models

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/models/ports"
	"editpipe/onnx"
)

// Names of the inputs and outputs that instrumentation adds.
const (
	rowsInput    = "editpipe.rows"   // [P] rows of the flattened [B*T] positions whose logits are wanted
	logitsOutput = "editpipe.logits" // [P, V] float32
	tapsInput    = "editpipe.taps"   // [Q] rows whose activations are wanted
	statesOutput = "editpipe.states" // encoder states as the graph gives them
)

func slotU(id arch.WeightID) string { return "editpipe.u." + id.String() }
func slotV(id arch.WeightID) string { return "editpipe.v." + id.String() }
func tapOf(s arch.Site) string      { return "editpipe.tap." + s.String() }

func slotBias(id arch.WeightID) string { return "editpipe.bias." + id.String() }

// role says which of a model's graphs is meant.
type role uint8

const (
	forward role = iota // decoder over whole sequences
	step                // decoder with past keys and values
	encode              // encoder
)

// slotSet says which weights of a graph have low-rank slots.
type slotSet uint8

const (
	noSlots   slotSet = iota // where weights are replaced instead
	downSlots                // down-projections, what most methods edit
	allSlots                 // up and gate as well
)

// variant names one instrumented graph. Equal variants share a session.
type variant struct {
	role  role
	slots slotSet
	// replaced are the ids of the weights that are inputs, joined by spaces.
	// They have no slots.
	replaced string
	biases   bool           // biases have slots
	taps     bool           // in place of the logits, every site has an output
	top      int            // with taps: the highest layer that has them
	loss     differentiated // in place of the logits; see Losses
	every    layerShifts    // likewise; see LayerShifts
	half     half           // of a graph with a loss; see split
	carries  bool           // hands keys and values on, and computes nothing; see heldRun.carry
	beside   int            // sessions that share the threads; 0 if none does
}

// threads is how many a session of the variant has, as in Options.
func (lm *LM) threads(v variant) int {
	if v.beside == 0 {
		return lm.opts.Threads
	}
	return max(lm.Side()/v.beside, 1)
}

// replaces says whether a weight is an input.
func (v variant) replaces(id arch.WeightID) bool {
	return slices.Contains(strings.Fields(v.replaced), id.String())
}

// graph returns the opened graph that plays a role.
func (lm *LM) graph(r role) *arch.Graph {
	switch r {
	case step:
		return lm.anatomy.Step
	case encode:
		return lm.anatomy.Encoder
	}
	return lm.anatomy.Forward
}

// side is the half of the model that a role computes.
func (r role) side() arch.Side {
	if r == encode {
		return arch.Encoder
	}
	return arch.Decoder
}

// slotted lists the weights that have slots in a variant, in order of layers.
func (lm *LM) slotted(v variant) []arch.Weight {
	if v.slots == noSlots {
		return nil
	}
	parts := []arch.Part{arch.FFNDown}
	if v.slots == allSlots {
		parts = []arch.Part{arch.FFNDown, arch.FFNUp, arch.FFNGate}
	}
	var ws []arch.Weight
	for _, f := range lm.graph(v.role).FFNs {
		for _, p := range parts {
			// The graph knows the places, Info whether the weight may be edited:
			// a layer count that does not add up is noticed only there.
			if w := f.Weight(p); w != nil && lm.editable(w.ID) == nil && !v.replaces(w.ID) {
				ws = append(ws, *w)
			}
		}
	}
	return ws
}

// biasSlots lists the blocks whose down-projection's bias has a slot in a
// variant, in order of layers.
func (lm *LM) biasSlots(v variant) []arch.FFN {
	var list []arch.FFN
	for _, f := range lm.graph(v.role).FFNs {
		if v.biases && lm.editable(f.Down.ID) == nil && lm.biased(f.Down.ID) == nil {
			list = append(list, f)
		}
	}
	return list
}

// replaced lists the weights that are inputs of a variant.
func (lm *LM) replaced(v variant) []arch.Weight {
	var ws []arch.Weight
	for _, f := range lm.graph(v.role).FFNs {
		for _, p := range []arch.Part{arch.FFNDown, arch.FFNUp, arch.FFNGate} {
			if w := f.Weight(p); w != nil && v.replaces(w.ID) {
				ws = append(ws, *w)
			}
		}
	}
	return ws
}

// instrument builds the graph of a variant.
func (lm *LM) instrument(v variant) (*onnx.Model, error) {
	g := lm.graph(v.role)
	if v.carries {
		return lm.carrier(g)
	}
	m := g.Model.Clone()
	// Only the caches stay outputs; what else is wanted is added below.
	keep := map[string]bool{}
	for _, p := range lm.caches(v.role) {
		keep[p.out] = !v.loss.on() && !v.every.on && !v.taps
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
	if v.taps {
		addTaps(m, g, v.top) // before the slots, which redirect every reader of what they change
	}
	if v.loss.on() {
		if err := addShifts(m, g, v.loss.sites()); err != nil { // before the slots, likewise
			return nil, err
		}
	}
	if v.every.on {
		if err := v.every.addShifts(m, g); err != nil { // likewise
			return nil, err
		}
	}
	for _, w := range lm.slotted(v) {
		if err := addSlot(m, g.Ports, w); err != nil {
			return nil, fmt.Errorf("adding a slot at %s: %w", w.ID, err)
		}
	}
	for _, f := range lm.biasSlots(v) {
		if err := addBiasSlot(m, g.Ports, f); err != nil {
			return nil, fmt.Errorf("adding a slot at the %s: %w", biasOf(f.Down.ID), err)
		}
	}
	for _, w := range lm.replaced(v) {
		if err := m.Promote(w.Initializer); err != nil {
			return nil, fmt.Errorf("making %s an input: %w", w.ID, err)
		}
	}
	if v.role == encode {
		m.Builder().Output(g.Ports.States, statesOutput, g.Ports.StatesType, symbolic("batch", "positions", "width"))
	} else if v.loss.on() {
		if err := lm.addLoss(m, g, v.loss.n); err != nil {
			return nil, err
		}
	} else if v.every.on {
		if err := v.every.addGradients(m, g); err != nil {
			return nil, err
		}
	} else if !v.taps {
		if err := lm.addRows(m, g); err != nil {
			return nil, err
		}
	}
	m.Prune()
	if err := m.Check(); err != nil {
		return nil, err
	}
	return m, nil
}

// carrier is a graph that hands keys and values on.
func (lm *LM) carrier(g *arch.Graph) (*onnx.Model, error) {
	m := onnx.New(g.Model.IRVersion, g.Model.Opset(""))
	b := m.Builder()
	for _, c := range lm.caches(step) {
		dims := make([]onnx.Dim, len(c.Shape))
		for i := range dims {
			dims[i] = onnx.Symbolic("")
		}
		in := b.Input(c.In, c.DType, dims)
		b.Output(b.Op("Identity", []string{in}), c.out, c.DType, dims)
	}
	return m, m.Check()
}

// cache is an input of keys or values of the graph with past, and the output that
// it goes on from.
type cache struct {
	ports.Past
	out string
}

// caches lists the keys and values that a graph hands out. Where the graph
// without past begins what the other goes on with, both do; what it computes
// of the encoder it hands out once.
func (lm *LM) caches(r role) []cache {
	g := lm.graph(r)
	if r == encode || lm.anatomy.Step == nil {
		return nil
	}
	var list []cache
	for _, p := range lm.anatomy.Step.Ports.Past {
		switch {
		case lm.anatomy.Encoder == nil && g == lm.anatomy.Step, r == step && !p.Cross:
			list = append(list, cache{p, p.Out})
		case lm.anatomy.Encoder != nil && r == forward:
			list = append(list, cache{p, p.First})
		}
	}
	return list
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
func addSlot(m *onnx.Model, ports ports.Ports, w arch.Weight) error {
	return m.Splice(w.Output, func(b *onnx.Builder, y string) (string, error) {
		u := b.Input(slotU(w.ID), onnx.Float, []onnx.Dim{onnx.Symbolic("rows_or_1"), {Value: int64(w.In)}, onnx.Symbolic("rank")})
		v := b.Input(slotV(w.ID), onnx.Float, []onnx.Dim{onnx.Symbolic("rows_or_1"), onnx.Symbolic("rank"), {Value: int64(w.Out)}})
		x := w.Input
		if w.Compute != "float32" {
			x = b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(onnx.Float)))
		}
		rows := b.Op("Gather", []string{b.Op("Shape", []string{ports.IDs}), b.Int64s(0)}, onnx.AttrInt("axis", 0))
		shape := b.Op("Concat", []string{rows, b.Int64s(-1, int64(w.In))}, onnx.AttrInt("axis", 0))
		x = b.Op("Reshape", []string{x, shape})
		delta := b.Op("MatMul", []string{b.Op("MatMul", []string{x, u}), v})
		delta = b.Op("Reshape", []string{delta, b.Op("Shape", []string{y})})
		if w.Compute == "float32" {
			return b.Op("Add", []string{y, delta}), nil
		}
		to, err := typeNamed(w.Compute)
		if err != nil {
			return "", err
		}
		wide := b.Op("Cast", []string{y}, onnx.AttrInt("to", int64(onnx.Float)))
		return b.Op("Cast", []string{b.Op("Add", []string{wide, delta})}, onnx.AttrInt("to", int64(to))), nil
	})
}

// addBiasSlot makes the value behind a down-projection and its bias read a
// further bias, of each row.
func addBiasSlot(m *onnx.Model, ports ports.Ports, f arch.FFN) error {
	w := f.Down
	value, _ := f.Value(arch.FFNOut)
	return m.Splice(value, func(b *onnx.Builder, y string) (string, error) {
		bias := b.Input(slotBias(w.ID), onnx.Float, []onnx.Dim{onnx.Symbolic("rows_or_1"), {Value: 1}, {Value: int64(w.Out)}})
		rows := b.Op("Gather", []string{b.Op("Shape", []string{ports.IDs}), b.Int64s(0)}, onnx.AttrInt("axis", 0))
		shape := b.Op("Concat", []string{rows, b.Int64s(-1, int64(w.Out))}, onnx.AttrInt("axis", 0))
		x := b.Op("Reshape", []string{y, shape})
		to := onnx.Float
		if w.Compute != "float32" {
			var err error
			if to, err = typeNamed(w.Compute); err != nil {
				return "", err
			}
			x = b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(onnx.Float)))
		}
		x = b.Op("Add", []string{x, bias})
		if to != onnx.Float {
			x = b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(to)))
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

// addRows replaces the logits by those of chosen rows, as float32. Where the
// head was recognised the rows are taken before it, so that the product with
// the vocabulary matrix has P rows, not B*T.
func (lm *LM) addRows(m *onnx.Model, g *arch.Graph) error {
	b := m.Builder()
	rows := b.Input(rowsInput, onnx.Int64, symbolic("wanted"))
	vocab := int64(lm.info.Vocab)
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
	b.Output(out, logitsOutput, onnx.Float, []onnx.Dim{onnx.Symbolic("wanted"), {Value: vocab}})
	return nil
}

// addTaps gives every readable site up to a layer an output with chosen rows, as
// float32.
func addTaps(m *onnx.Model, g *arch.Graph, top int) {
	g.Reveal(m)
	b := m.Builder()
	rows := b.Input(tapsInput, onnx.Int64, symbolic("tapped"))
	for _, f := range g.FFNs {
		for _, p := range arch.Points() {
			value, _ := f.Value(p)
			if value == "" || f.Layer > top {
				continue
			}
			width := int64(siteWidth(&f, p))
			t := b.Op("Reshape", []string{value, b.Int64s(-1, width)})
			t = b.Op("Gather", []string{t, rows}, onnx.AttrInt("axis", 0))
			t = b.Op("Cast", []string{t}, onnx.AttrInt("to", int64(onnx.Float)))
			b.Output(t, tapOf(arch.Site{Side: f.Side, Layer: f.Layer, Point: p}), onnx.Float, []onnx.Dim{onnx.Symbolic("tapped"), {Value: width}})
		}
	}
}

// siteWidth is the last dimension of the value behind a point.
func siteWidth(f *arch.FFN, p arch.Point) int {
	if p == arch.FFNAct || p == arch.FFNPre {
		return f.Down.In
	}
	return f.Down.Out
}
