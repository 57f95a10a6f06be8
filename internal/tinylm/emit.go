package tinylm

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"editpipe/onnx"
	"editpipe/tensor"
)

const (
	layerNormEpsilon = 1e-5
	rmsNormEpsilon   = 1e-6
	ropeTheta        = 10000.0
)

// emitter writes one graph the way PyTorch's exporter does.
type emitter struct {
	Config
	a       anatomy
	p       *parameters
	m       *onnx.Model
	b       *onnx.Builder
	home    *onnx.Builder     // where matrices go: the outer graph of a merged decoder, else b
	path    string            // the scope
	folded  map[string]string // parameter -> anonymous name
	outputs map[string]string // value -> graph output
}

func newEmitter(c Config, p *parameters) *emitter {
	m := onnx.New(c.ir(), c.Opset)
	m.Graph.Name = "main_graph"
	b := m.Builder()
	a := c.anatomy()
	if c.Exporter == Dynamo { // it traces newer code, in which all families compute one mask
		a.flatIDs, a.triangle, a.wide = false, false, false
	}
	return &emitter{Config: c, a: a, p: p, m: m, b: b, home: b, folded: map[string]string{}, outputs: map[string]string{}}
}

// op appends a node. Arguments are value names and attributes.
func (e *emitter) op(opType string, args ...any) string {
	return e.ops(opType, 1, args...)[0]
}

func (e *emitter) ops(opType string, outputs int, args ...any) []string {
	return e.opsOf("", opType, outputs, args...)
}

// opsOf is ops for an operator of another domain.
func (e *emitter) opsOf(domain, opType string, outputs int, args ...any) []string {
	var inputs []string
	var attrs []*onnx.Attribute
	for _, a := range args {
		switch a := a.(type) {
		case string:
			inputs = append(inputs, a)
		case *onnx.Attribute:
			attrs = append(attrs, a)
		default:
			panic(fmt.Sprintf("tinylm: argument %T of %s", a, opType))
		}
	}
	return e.b.OpN(opType, domain, inputs, outputs, attrs...)
}

// constant is a Constant node: the exporter writes small constants as nodes
// and keeps initializers for parameters.
func (e *emitter) constant(t *tensor.Tensor) string {
	return e.op("Constant", onnx.AttrTensor("value", onnx.NewTensor("", t)))
}

func (e *emitter) ints(v ...int64) string { return e.constant(tensor.FromInt64s(v, len(v))) }
func (e *emitter) int(v int64) string     { return e.constant(tensor.FromInt64s([]int64{v})) }

// float is a scalar of the model's own type.
func (e *emitter) float(v float64) string { return e.constant(e.cast(float32s(v))) }

// float32 is a scalar of type float32 in any model.
func (e *emitter) float32(v float64) string { return e.constant(float32s(v)) }

func float32s(v float64) *tensor.Tensor { return tensor.FromFloat32s([]float32{float32(v)}) }

// cast rounds a float32 tensor to the model's type.
func (e *emitter) cast(t *tensor.Tensor) *tensor.Tensor {
	if !e.Float16 {
		return t
	}
	h, err := t.Convert(tensor.F16)
	if err != nil {
		panic(err) // float32 always converts
	}
	return h
}

// lowest is the most negative number of the model's type, which stands for
// "masked".
func (e *emitter) lowest() float64 {
	if e.Float16 {
		return -65504
	}
	return -math.MaxFloat32
}

func (e *emitter) to(x string, dt onnx.DataType) string {
	return e.op("Cast", x, onnx.AttrInt("to", int64(dt)))
}

// scope sets the prefix of the names that follow.
func (e *emitter) scope(prefix string) {
	e.path = prefix
	e.b.Scope(prefix)
}

// within runs f with names below another prefix.
func (e *emitter) within(prefix string, f func() string) string {
	before := e.path
	defer func() { e.scope(before) }()
	e.scope(prefix)
	return f()
}

// Shapes.

func (e *emitter) dim(x string, i int64) string {
	return e.op("Gather", e.op("Shape", x), e.int(i), onnx.AttrInt("axis", 0))
}

func (e *emitter) unsqueeze(x string, axis int64) string { return e.op("Unsqueeze", x, e.ints(axis)) }

// shape concatenates dimensions: strings are scalar values of the graph,
// numbers are constants.
func (e *emitter) shape(dims ...any) string {
	var parts []any
	for _, d := range dims {
		switch d := d.(type) {
		case string:
			parts = append(parts, e.unsqueeze(d, 0))
		case int:
			parts = append(parts, e.ints(int64(d)))
		}
	}
	return e.op("Concat", append(parts, onnx.AttrInt("axis", 0))...)
}

func (e *emitter) reshape(x string, dims ...any) string { return e.op("Reshape", x, e.shape(dims...)) }

func (e *emitter) transpose(x string, perm ...int64) string {
	return e.op("Transpose", x, onnx.AttrInts("perm", perm...))
}

func (e *emitter) slice(x string, from, to string, axis int64) string {
	return e.op("Slice", x, from, to, e.ints(axis), e.ints(1))
}

func (e *emitter) concat(axis int64, parts ...any) string {
	return e.op("Concat", append(parts, onnx.AttrInt("axis", axis))...)
}

func (e *emitter) mean(x string) string {
	if e.Opset >= 18 { // axes became an input
		return e.op("ReduceMean", x, e.ints(-1), onnx.AttrInt("keepdims", 1))
	}
	return e.op("ReduceMean", x, onnx.AttrInts("axes", -1), onnx.AttrInt("keepdims", 1))
}

// Parameters.

// initializer adds a parameter under name, once. Vectors live in the graph
// that uses them, matrices in the outermost one, as merging decoders does.
func (e *emitter) initializer(name string, t *tensor.Tensor) string {
	b := e.b
	if len(t.Shape) > 1 {
		b = e.home
	}
	for _, have := range b.Graph().Initializers {
		if have.Name == name {
			return name
		}
	}
	return b.Initializer(name, e.cast(t))
}

// shared returns the name under which a parameter is read: its own, or an
// Identity of the one it was merged with.
func (e *emitter) shared(name, stored string, t *tensor.Tensor, storedAs func(string) string) string {
	source, merged := e.p.alias[name]
	if !merged {
		return e.initializer(stored, t)
	}
	n := &onnx.Node{
		Name: e.b.Fresh("Identity"), OpType: "Identity",
		Inputs: []string{storedAs(source)}, Outputs: []string{e.b.Fresh(stored)},
	}
	g := e.b.Graph()
	g.Nodes = append(g.Nodes, n)
	return n.Outputs[0]
}

// linear is a torch Linear: y = x Wt + b with W of shape [out, in]. Constant
// folding transposes W and forgets its name.
func (e *emitter) linear(scope, x, name string, in, out int, bias bool) string {
	return e.within(scope, func() string {
		y := e.project(x, name+".weight", e.p.matrix(name+".weight", in, out, in))
		if bias {
			b := e.initializer(name+".bias", e.p.bias(name+".bias", out))
			if e.Exporter == Dynamo {
				return e.op("Add", y, b)
			}
			y = e.op("Add", b, y)
		}
		return y
	})
}

// gemm is a Linear with a bias of rows, [rows, in], which is exported with W as
// it is stored.
func (e *emitter) gemm(scope, x, name string, in, out int) string {
	return e.within(scope, func() string {
		w := e.shared(name+".weight", name+".weight", e.p.matrix(name+".weight", in, out, in), func(source string) string { return source })
		b := e.initializer(name+".bias", e.p.bias(name+".bias", out))
		return e.op("Gemm", x, w, b, onnx.AttrFloat("alpha", 1), onnx.AttrFloat("beta", 1), onnx.AttrInt("transB", 1))
	})
}

// project multiplies by the transpose of a parameter.
func (e *emitter) project(x, name string, w *tensor.Tensor) string {
	if e.NamedWeights {
		stored := e.shared(name, name, w, func(source string) string { return source })
		return e.op("MatMul", x, e.transpose(stored, 1, 0))
	}
	folded, err := w.Transpose2D()
	if err != nil {
		panic(err) // every linear weight has two dimensions
	}
	stored := e.anonymous(name)
	return e.op("MatMul", x, e.shared(name, stored, folded, e.anonymous))
}

// anonymous is the name that constant folding gives to a transposed weight: a
// number that follows the order of the graph.
func (e *emitter) anonymous(name string) string {
	if e.folded[name] == "" {
		e.folded[name] = fmt.Sprintf("onnx::MatMul_%d", 500+len(e.folded))
	}
	return e.folded[name]
}

// conv1D is GPT-2's Conv1D: y = x W + b with W of shape [in, out], on rows.
func (e *emitter) conv1D(scope, x, name string, in, out int) string {
	return e.within(scope, func() string {
		batch, length := e.dim(x, 0), e.dim(x, 1)
		rows := e.reshape(x, -1, in)
		w := e.shared(name+".weight", name+".weight", e.p.matrix(name+".weight", in, in, out), func(source string) string { return source })
		b := e.initializer(name+".bias", e.p.bias(name+".bias", out))
		y := e.op("Gemm", rows, w, b, onnx.AttrFloat("alpha", 1), onnx.AttrFloat("beta", 1))
		return e.reshape(y, batch, length, out)
	})
}

// Normalisation and activations.

// norm is the family's norm. It returns the normalised value and the one that
// the residual branch continues from.
func (e *emitter) norm(scope, x, name string) (y, residual string) {
	if e.a.kind == layerNormal {
		return e.layerNorm(scope, x, name), x
	}
	return e.rmsNorm(scope, x, name)
}

func (e *emitter) layerNorm(scope, x, name string) string {
	return e.within(scope, func() string {
		w := e.initializer(name+".weight", e.p.gain(name+".weight", e.Width))
		b := e.initializer(name+".bias", e.p.bias(name+".bias", e.Width))
		if e.LayerNormOp {
			return e.op("LayerNormalization", x, w, b, onnx.AttrInt("axis", -1), onnx.AttrFloat("epsilon", layerNormEpsilon))
		}
		centred := e.op("Sub", x, e.mean(x))
		if e.Float16 { // the exporter squares and divides in float32
			centred = e.to(centred, onnx.Float)
		}
		variance := e.mean(e.op("Pow", centred, e.float32(2)))
		scaled := e.op("Div", centred, e.op("Sqrt", e.op("Add", variance, e.float32(layerNormEpsilon))))
		if e.Float16 {
			scaled = e.to(scaled, onnx.Float16)
		}
		return e.op("Add", e.op("Mul", scaled, w), b)
	})
}

// rmsNorm returns the normalised value and the one that the residual branch
// continues from: the cast to float32 that the norm starts with is exported
// even where it changes nothing, and everything downstream then reads it.
func (e *emitter) rmsNorm(scope, x, name string) (y, residual string) {
	residual = x
	y = e.within(scope, func() string {
		w := e.initializer(name+".weight", e.rmsGain(name))
		if e.a.kind == rmsNormalPlusOne {
			w = e.op("Add", w, e.float(1))
		}
		if e.Exporter == Dynamo {
			return e.rmsNormalization(x, w)
		}
		f := e.to(x, onnx.Float)
		if !e.Float16 {
			residual = f
		}
		square := e.mean(e.op("Pow", f, e.float32(2)))
		root := e.op("Sqrt", e.op("Add", square, e.float32(rmsNormEpsilon)))
		scaled := e.op("Mul", f, e.op("Div", e.float32(1), root))
		return e.op("Mul", w, e.to(scaled, e.dtype()))
	})
	return y, residual
}

// rmsGain is the gain of an RMSNorm: as wide as the model, or as a head where
// it belongs to queries or keys.
func (e *emitter) rmsGain(name string) *tensor.Tensor {
	width := e.Width
	if strings.HasSuffix(name, e.a.qNorm) && e.a.qNorm != "" || strings.HasSuffix(name, e.a.kNorm) && e.a.kNorm != "" {
		width = e.HeadWidth
	}
	if e.a.kind == rmsNormalPlusOne {
		return e.p.bias(name+".weight", width)
	}
	return e.p.gain(name+".weight", width)
}

// activation is the family's activation function.
func (e *emitter) activation(scope, x string) string {
	switch e.a.act {
	case "relu":
		return e.within(scope, func() string { return e.op("Relu", x) })
	case "silu":
		return e.within(scope, func() string { return e.op("Mul", x, e.op("Sigmoid", x)) })
	case "gelu":
		return e.exactGelu(scope, x)
	}
	return e.gelu(scope, x)
}

// tanhGelu says whether config.json calls the tanh approximation of GELU so.
func tanhGelu(act string) bool { return act == "gelu_new" || act == "gelu_pytorch_tanh" }

// exactGelu is x times the normal distribution function.
func (e *emitter) exactGelu(scope, x string) string {
	return e.within(scope, func() string {
		if e.GeluOp {
			return e.op("Gelu", x, onnx.AttrString("approximate", "none"))
		}
		share := e.op("Add", e.op("Erf", e.op("Div", x, e.float(math.Sqrt2))), e.float(1))
		return e.op("Mul", e.op("Mul", x, share), e.float(0.5))
	})
}

// gelu is the tanh approximation.
func (e *emitter) gelu(scope, x string) string {
	return e.within(scope, func() string {
		if e.GeluOp {
			return e.op("Gelu", x, onnx.AttrString("approximate", "tanh"))
		}
		half := e.op("Mul", x, e.float(0.5))
		cube := e.op("Mul", e.op("Pow", x, e.float(3)), e.float(0.044715))
		inner := e.op("Mul", e.op("Add", x, cube), e.float(math.Sqrt(2/math.Pi)))
		return e.op("Mul", half, e.op("Add", e.op("Tanh", inner), e.float(1)))
	})
}

// maskBias turns an attention mask [batch, keys] into [batch, 1, 1, keys]: 0
// where it is 1 and the lowest number where it is 0.
func (e *emitter) maskBias(mask string) string {
	wide := e.unsqueeze(e.unsqueeze(mask, 1), 2)
	hidden := e.op("Sub", e.float(1), e.to(wide, e.dtype()))
	return e.op("Mul", hidden, e.float(e.lowest()))
}

// Outputs.

// output makes value a graph output called name; the node that computes it
// gets the name itself, as the exporter does it. logits come first.
func (e *emitter) output(value, name string, shape ...onnx.Dim) {
	e.outputs[value] = name
	g := e.b.Graph()
	at := len(g.Outputs)
	if name == "logits" {
		at = 0
	}
	g.Outputs = slices.Insert(g.Outputs, at, onnx.NewValueInfo(name, e.dtype(), shape))
}

// finish gives the outputs their names.
func (e *emitter) finish() *onnx.Model {
	for _, n := range e.b.Graph().Nodes {
		for _, list := range [][]string{n.Inputs, n.Outputs} {
			for i, v := range list {
				if name, ok := e.outputs[v]; ok {
					list[i] = name
				}
			}
		}
	}
	return e.m
}

// anonymise replaces names by what an exporter without scopes writes: nodes
// are numbered by operator, values and folded weights are plain numbers.
func anonymise(g *onnx.Graph) {
	to := map[string]string{}
	rename := func(v *string) {
		if name, ok := to[*v]; ok {
			*v = name
		}
	}
	fixed := map[string]bool{}
	for _, v := range slices.Concat(g.Inputs, g.Outputs) {
		fixed[v.Name] = true
	}
	next := 100
	number := func(name string) {
		if name != "" && !fixed[name] {
			to[name] = strconv.Itoa(next)
			next++
		}
	}
	for i, n := range g.Nodes {
		n.Name = fmt.Sprintf("%s_%d", n.OpType, i)
		for _, o := range n.Outputs {
			number(o)
		}
	}
	for _, t := range g.Initializers {
		if strings.HasPrefix(t.Name, "onnx::") {
			number(t.Name)
		}
		rename(&t.Name)
	}
	for _, n := range g.Nodes {
		for i := range n.Inputs {
			rename(&n.Inputs[i])
		}
		for i := range n.Outputs {
			rename(&n.Outputs[i])
		}
	}
}

// slashed is a module's name as a scope.
func slashed(module string) string { return strings.ReplaceAll(module, ".", "/") }
