package graph

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/ports"
	"editpipe/onnx"
	"editpipe/tensor"
)

// ErrSplice is returned where a network cannot be put into a model.
var ErrSplice = errors.New("network cannot be put there")

// param is one parameter of a kind of network.
type param struct {
	Name string
	Dims []int // with perUnit for the number of units
}

// perUnit stands for the number of units in the dimensions of a parameter. It is one
// of them in each.
const perUnit = -1

// network is a kind of small network that a patch can put between the value at a site
// and its readers.
type network struct {
	At     arch.Point // of the sites where it stands, with the value y
	Reads  arch.Point // of the same block, with the value x
	Acts   bool       // it contains the block's own activation function
	Params func(in, out int) []param
	// Build makes the nodes and returns what takes the place of y. Parameters are
	// float32, each with an axis of rows or 1 before its dimensions; a vector of one
	// element a unit is [rows or 1, 1, units]. A unit whose parameters are all 0 must
	// change nothing: shorter networks of a run are padded with such.
	Build func(j *joint, in map[string]string) (string, error)
}

// nets is the table of the networks there are, by kind.
var nets = map[string]network{
	Neurons:     neurons(true, func(j *joint, x string) (string, error) { return j.act(x) }),
	NeuronsReLU: neurons(false, func(j *joint, x string) (string, error) { return j.Op("Relu", []string{x}), nil }),
}

// Place is a site with the kind of the networks that stand there.
type Place struct {
	At   arch.Site
	Kind string
}

// PlaceOf is where a splice stands.
func PlaceOf(s patch.Splice) Place { return Place{s.At, s.Kind} }

// In is the place in another layer.
func (p Place) In(layer int) Place {
	p.At.Layer = layer
	return p
}

func (p Place) String() string { return p.Kind + "@" + p.At.String() }

// Input names the input of a parameter at the place.
func (p Place) Input(param string) string {
	return "editpipe." + p.Kind + "." + param + "." + p.At.String()
}

// Spliceable says why a network cannot stand at a place of a model, nil if it can.
// It wraps ErrSplice.
func Spliceable(i *arch.Info, p Place) error {
	net, known := nets[p.Kind]
	if !known {
		return fmt.Errorf("%w: kind %q is unknown; known are %s", ErrSplice, p.Kind, strings.Join(slices.Sorted(maps.Keys(nets)), ", "))
	}
	if p.At.Point != net.At {
		return fmt.Errorf("%w: %s: its place is %s", ErrSplice, p, net.At)
	}
	f, _, err := i.Site(p.At)
	if err == nil {
		_, _, err = i.Site(arch.Site{Side: p.At.Side, Layer: p.At.Layer, Point: net.Reads})
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSplice, p, err)
	}
	if _, why := f.Activation(); net.Acts && why != "" {
		return fmt.Errorf("%w: %s: %s", ErrSplice, p, why)
	}
	for _, w := range []arch.Weight{f.Up, f.Down} {
		if _, err := typeNamed(w.Compute); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSplice, p, err)
		}
	}
	return nil
}

// UnitsOf counts the units of a splice in a model, or says what is wrong with its
// parameters.
func UnitsOf(i *arch.Info, s patch.Splice) (int, error) {
	p := PlaceOf(s)
	params, err := p.params(i.FFN(p.At.Side, p.At.Layer))
	if err != nil {
		return 0, err
	}
	units := perUnit
	for _, want := range params {
		t := s.Params[want.Name]
		if t == nil || !t.IsFloat() {
			return 0, fmt.Errorf("parameter %q of floats is missing", want.Name)
		}
		k := slices.Index(want.Dims, perUnit)
		if len(t.Shape) == len(want.Dims) && units == perUnit {
			units = t.Shape[k]
		}
		dims := slices.Clone(want.Dims)
		dims[k] = units
		if !slices.Equal(t.Shape, dims) {
			return 0, fmt.Errorf("parameter %q is %v, want %s", want.Name, t.Shape, strings.Replace(fmt.Sprint(dims), fmt.Sprint(perUnit), "units", 1))
		}
	}
	for name := range s.Params {
		if !slices.ContainsFunc(params, func(p param) bool { return p.Name == name }) {
			return 0, fmt.Errorf("parameter %q is not one of %s", name, p.Kind)
		}
	}
	return units, nil
}

// UnitBytes is the size of a unit at a place as it is fed.
func UnitBytes(i *arch.Info, p Place) int64 {
	params, err := p.params(i.FFN(p.At.Side, p.At.Layer))
	if err != nil {
		return 0
	}
	var n int64
	for _, q := range params {
		size := int64(4)
		for _, d := range q.Dims {
			if d != perUnit {
				size *= int64(d)
			}
		}
		n += size
	}
	return n
}

// params lists the parameters of the network in a block.
func (p Place) params(f *arch.FFN) ([]param, error) {
	net, known := nets[p.Kind]
	if !known || f == nil {
		return nil, fmt.Errorf("%w: %s", ErrSplice, p)
	}
	return net.Params(f.Width(net.Reads), f.Width(net.At)), nil
}

// Stack joins what the patches of rows have at a place into the parameters of one run,
// by name. The networks of a patch follow each other, and rows are padded with zeros
// to the largest; without any there is one row of one idle unit. (None would do on the
// CPU; other providers need not support empty tensors.)
func Stack(i *arch.Info, p Place, patches []*patch.Patch) (map[string]*tensor.Tensor, error) {
	params, err := p.params(i.FFN(p.At.Side, p.At.Layer))
	if err != nil {
		return nil, err
	}
	rows, most := make([][]patch.Splice, len(patches)), 0
	for b, row := range patches {
		units := 0
		for s := range row.Spliced(p.At, p.Kind) {
			n, err := UnitsOf(i, s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			rows[b], units = append(rows[b], s), units+n
		}
		most = max(most, units)
	}
	if most == 0 {
		rows, most = make([][]patch.Splice, 1), 1
	}
	stacked := map[string]*tensor.Tensor{}
	for _, want := range params {
		k := slices.Index(want.Dims, perUnit)
		outer, inner := product(want.Dims[:k]), product(want.Dims[k+1:])
		shape := slices.Concat([]int{len(rows)}, want.Dims)
		shape[1+k] = most
		if len(want.Dims) == 1 {
			shape = []int{len(rows), 1, most}
		}
		t := tensor.New(tensor.F32, shape...)
		v := t.Float32s()
		for b, row := range rows {
			at := 0
			for _, s := range row {
				from, n := s.Params[want.Name].Float32s(), s.Params[want.Name].Shape[k]
				for o := range outer {
					copy(v[((b*outer+o)*most+at)*inner:], from[o*n*inner:(o+1)*n*inner])
				}
				at += n
			}
		}
		stacked[want.Name] = t
	}
	return stacked, nil
}

func product(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}

// addPlace puts the network of a place into a graph, with parameters that are fed.
func addPlace(m *onnx.Model, g *arch.Graph, p Place) error {
	return splice(m, g, p, func(b *onnx.Builder, q param) string {
		dims := []onnx.Dim{onnx.Symbolic("rows_or_1")}
		if len(q.Dims) == 1 {
			dims = append(dims, onnx.Dim{Value: 1})
		}
		for _, d := range q.Dims {
			if d == perUnit {
				dims = append(dims, onnx.Symbolic(p.Kind+"_units"))
			} else {
				dims = append(dims, onnx.Dim{Value: int64(d)})
			}
		}
		return b.Input(p.Input(q.Name), onnx.Float, dims)
	})
}

// Bake puts a network into a graph for good, with the parameters of one patch
// as Stack makes them.
func Bake(m *onnx.Model, g *arch.Graph, p Place, stacked map[string]*tensor.Tensor) error {
	return splice(m, g, p, func(b *onnx.Builder, q param) string {
		return b.Initializer(b.Fresh(p.Input(q.Name)), stacked[q.Name])
	})
}

// splice puts the network of a place between the value at the site and its readers;
// give makes its parameters.
func splice(m *onnx.Model, g *arch.Graph, p Place, give func(*onnx.Builder, param) string) error {
	i := slices.IndexFunc(g.FFNs, func(f arch.FFN) bool { return f.Side == p.At.Side && f.Layer == p.At.Layer })
	if i < 0 {
		return fmt.Errorf("%w: %s: %s has no such layer", ErrSplice, p, g.Path)
	}
	f := &g.FFNs[i]
	params, err := p.params(f)
	if err != nil {
		return err
	}
	net := nets[p.Kind]
	y, why := f.Value(net.At)
	if why == "" {
		_, why = f.Value(net.Reads)
	}
	if why != "" {
		return fmt.Errorf("%w: %s: %s", ErrSplice, p, why)
	}
	return m.Splice(y, func(b *onnx.Builder, y string) (string, error) {
		j := &joint{Builder: b, Y: y, In: f.Width(net.Reads), Out: f.Width(net.At), ports: g.Ports, f: f}
		if j.X, err = reading(m, g, f, net.Reads); err != nil {
			return "", err
		}
		in := map[string]string{}
		for _, q := range params {
			in[q.Name] = give(b, q)
		}
		return net.Build(j, in)
	})
}

// reading is the value that a block reads at a point now, see inputNow.
func reading(m *onnx.Model, g *arch.Graph, f *arch.FFN, p arch.Point) (string, error) {
	w := map[arch.Point]arch.Weight{arch.FFNIn: f.Up, arch.FFNAct: f.Down}[p]
	x, err := inputNow(m, g, w)
	if err != nil {
		return "", fmt.Errorf("%w: nothing reads %s", ErrSplice, p)
	}
	return x, nil
}

// joint is where a network is built: between the value at a site and its readers.
type joint struct {
	*onnx.Builder
	X, Y    string // values as the graph has them, [B, T, In or Out] or [B*T, In or Out]
	In, Out int

	ports ports.Ports
	f     *arch.FFN
}

// rows is X as float32 [B, T, In], whatever the graph computes in.
func (j *joint) rows() (string, error) {
	x, err := wide(j.Builder, j.X, j.f.Up.Compute)
	if err != nil {
		return "", err
	}
	return byRow(j.Builder, j.ports, x, j.In), nil
}

// sum is Y and an addition, float32 of as many elements, in the shape and type of Y.
// The addition happens in float32.
func (j *joint) sum(addition string) (string, error) {
	return added(j.Builder, j.Y, addition, j.f.Down.Compute)
}

// act is the block's own activation function of a float32 value, in the type that
// the block computes it in.
func (j *joint) act(x string) (string, error) {
	a, why := j.f.Activation()
	if why != "" {
		return "", fmt.Errorf("%w: %s", ErrSplice, why)
	}
	x, err := narrow(j.Builder, x, j.f.Up.Compute)
	if err != nil {
		return "", err
	}
	return wide(j.Builder, a.Copy(j.Builder, x), j.f.Up.Compute)
}
