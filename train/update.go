package train

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/tensor"
)

// An Update is a step of Adam that is part of a graph; a [Descent] makes it time
// after time.
//
// Step numbers are not part of the graph. They enter Adam through 1 - Beta2^t,
// which float32 cannot hold at the first steps; the host computes the two scalars
// that follow from them and feeds those.
type Update struct {
	adam       Adam
	boxed      bool
	size, root string // graph inputs: Rate/(1 - Beta1^t) and sqrt(1 - Beta2^t)
	weights    map[string]slots
}

// slots are the names under which a weight's state enters and leaves the graph.
type slots struct {
	shape              []onnx.Dim
	mean, square       string // inputs
	nextWeight         string // outputs
	nextMean           string
	nextSquare         string
	origin, nextOrigin string // "" without a box
}

// AddAdam adds the update of weights to m. gradients maps each weight, a float32
// graph input or promoted initializer, to the value that holds its gradient, as
// package grad adds it. A positive bound keeps each weight in the box
// around where it started, as [Box] does; 0 stands for none. On error m is
// unchanged.
func AddAdam(m *onnx.Model, a Adam, bound float64, gradients map[string]string) (*Update, error) {
	if err := errors.Join(a.Check(), within("bound", bound, 0, math.MaxFloat32)); err != nil {
		return nil, fmt.Errorf("train: adding adam: %w", err)
	}
	x := m.Graph.Index()
	u := &Update{adam: a, boxed: bound > 0, weights: map[string]slots{}}
	names := slices.Sorted(maps.Keys(gradients))
	for _, w := range names {
		input, g := x.Input(w), gradients[w]
		switch {
		case input == nil:
			return nil, fmt.Errorf("train: adding adam: the graph has no input %q; promote the initializer first", w)
		case input.DType != onnx.Float:
			return nil, fmt.Errorf("train: adding adam: weight %q is %s, want float32", w, input.DType)
		case x.Producer(g) == nil:
			return nil, fmt.Errorf("train: adding adam: gradient %q of %q: %w", g, w, onnx.ErrUndefined)
		}
		s := slots{}
		if input.HasShape {
			s.shape = input.Shape
		}
		u.weights[w] = s
	}
	if len(names) == 0 {
		return nil, errors.New("train: adding adam: no weights")
	}
	b := m.Builder()
	b.Scope("adam")
	u.size = b.Input(b.Fresh("adam_step_size"), onnx.Float, nil)
	u.root = b.Input(b.Fresh("adam_correction"), onnx.Float, nil)
	for _, w := range names {
		s := u.weights[w]
		u.step(b, w, gradients[w], bound, &s)
		u.weights[w] = s
	}
	return u, nil
}

// step adds the update of one weight.
func (u *Update) step(b *onnx.Builder, w, g string, bound float64, s *slots) {
	b.Scope("adam/" + w)
	op := func(opType string, in ...string) string { return b.Op(opType, in) }
	number := func(v float64) string { return b.Scalar(float32(v)) }
	state := func(name string) string { return u.input(b, w+name, s.shape) }
	a := u.adam
	s.mean, s.square = state("_mean"), state("_square")

	from := w
	if a.Decay != 0 && a.Decoupled {
		from = op("Mul", w, number(1-a.Rate*a.Decay))
	} else if a.Decay != 0 {
		g = op("Add", g, op("Mul", w, number(a.Decay)))
	}
	mean := op("Add", s.mean, op("Mul", op("Sub", g, s.mean), number(1-a.Beta1)))
	square := op("Add", op("Mul", s.square, number(a.Beta2)), op("Mul", op("Mul", g, g), number(1-a.Beta2)))
	root := op("Add", op("Div", op("Sqrt", square), u.root), number(a.Epsilon))
	next := op("Sub", from, op("Mul", u.size, op("Div", mean, root)))
	if u.boxed {
		s.origin = state("_origin")
		// The start stays with the state by way of a copy that is kept once.
		s.nextOrigin = u.output(b, op("Identity", s.origin), s.shape)
		low, high := op("Sub", s.origin, number(bound)), op("Add", s.origin, number(bound))
		next = op("Min", op("Max", next, low), high)
	}
	s.nextWeight = u.output(b, next, s.shape)
	s.nextMean, s.nextSquare = u.output(b, mean, s.shape), u.output(b, square, s.shape)
}

// input adds a graph input of the shape of a weight, nil if that is not known.
func (u *Update) input(b *onnx.Builder, name string, shape []onnx.Dim) string {
	name = b.Input(b.Fresh(name), onnx.Float, shape)
	if shape == nil {
		list := b.Graph().Inputs
		list[len(list)-1].HasShape = false
	}
	return name
}

func (u *Update) output(b *onnx.Builder, value string, shape []onnx.Dim) string {
	b.Output(value, value, onnx.Float, shape)
	if shape == nil {
		list := b.Graph().Outputs
		list[len(list)-1].HasShape = false
	}
	return value
}

// State is what a [Descent] starts from and arrives at: all that is needed to go
// on later as if nothing had happened.
type State struct {
	Steps   int    // updates made
	Weights Values // by the names of their graph inputs
	// The moments m and v of [Adam]; nil stands for zeros, before the first update.
	Means, Squares Values
	// Origins are the centres of the boxes; nil stands for Weights. They are
	// ignored where there is no bound.
	Origins Values
}

// Begin starts a descent on a session of the graph. The tensors in from are read
// until the first update and must not be written to before.
func (u *Update) Begin(s *ort.Session, from State) (*Descent, error) {
	if from.Steps < 0 || (from.Steps == 0) != (from.Means == nil) || (from.Means == nil) != (from.Squares == nil) {
		return nil, fmt.Errorf("train: beginning a descent: moments and a positive number of steps (%d) go together", from.Steps)
	}
	d := &Descent{update: u, session: s, steps: from.Steps, start: map[string]*tensor.Tensor{}, held: map[string]*ort.Resident{}}
	for w, s := range u.weights {
		x := from.Weights[w]
		if x == nil || x.DType != tensor.F32 {
			return nil, fmt.Errorf("train: beginning a descent: no float32 value of %q", w)
		}
		parts := map[string]Values{w: from.Weights, s.mean: from.Means, s.square: from.Squares}
		if u.boxed {
			parts[s.origin] = from.Origins
			if from.Origins == nil {
				parts[s.origin] = from.Weights
			}
		}
		for input, values := range parts {
			v := values[w]
			if values == nil {
				v = tensor.New(tensor.F32, x.Shape...)
			}
			if v == nil || v.DType != tensor.F32 || !slices.Equal(v.Shape, x.Shape) {
				return nil, fmt.Errorf("train: beginning a descent: the state of %q lacks a part of shape %v (%s)", w, x.Shape, input)
			}
			d.start[input] = v
		}
	}
	return d, nil
}
