//go:build nodetests

package grad_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// NodeTests names the variable that holds folders of ONNX's own node tests: a
// checkout of onnx/onnx (of a commit that still has their data), the folder of
// Debian's package libonnx-testdata, or several, separated as in PATH.
const NodeTests = "ONNX_TESTS"

// nodeFolders are the folders with one test each.
func nodeFolders(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, root := range filepath.SplitList(os.Getenv(NodeTests)) {
		before := len(all)
		for _, inner := range []string{"onnx/backend/test/data/node", "data/node", "."} {
			found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(inner), "test_*", "model.onnx"))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, found...)
		}
		if len(all) == before {
			t.Fatalf("%s: no node tests in %s (recent commits of onnx/onnx have dropped them)", NodeTests, root)
		}
	}
	if len(all) == 0 {
		t.Skipf("skipped: %s names no folder of node tests", NodeTests)
	}
	for i, f := range all {
		all[i] = filepath.Dir(f)
	}
	return all
}

// sampled elements of each input are compared: the inputs of convolutions have
// thousands.
const sampled = 8

// cornerStep is for float64 results whose slope has a corner, such as that of
// Softsign at 0: there differences are off by about the step.
const cornerStep = 1e-8

// steps32 are tried in turn in float32: long ones where the result hardly changes
// and rounding hides it, short ones where it bends.
var steps32 = []float64{step32, 0.1, 0.3, 1e-3}

// otherResult is said of tests for which the runtime computes something else than
// ONNX expects; its gradients would be something else, too.
const otherResult = "the runtime's result is not ONNX's"

const (
	// sameResult is how far, relative to its size or to 1, the runtime's float32 result
	// may be from that of ONNX, which was made by another program: the relative bound
	// of ONNX's own runner, far above rounding and far below another result.
	sameResult = 1e-3
	// sameKernel is the same between float32 and float64 of one runtime, where
	// rounding of 6e-8 grows along sums of some thousand terms.
	sameKernel = 1e-4
)

// count counts by result and, for what was not compared, by reason.
type count struct {
	all, right int
	other      map[string]int
}

func (c *count) add(result string) {
	c.all++
	if result == "" {
		c.right++
		return
	}
	if c.other == nil {
		c.other = map[string]int{}
	}
	c.other[result]++
}

func (c *count) report(t *testing.T, what string) {
	t.Logf("%s: %d tried, %d right", what, c.all, c.right)
	for _, k := range slices.Sorted(maps.Keys(c.other)) {
		t.Logf("  %5d %s", c.other[k], k)
	}
}

// tensorFile reads one TensorProto.
func tensorFile(path string) (*tensor.Tensor, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	named := protowire.AppendString(protowire.AppendTag(slices.Clip(data), 8, protowire.BytesType), "t")
	graph := protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), named)
	model := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 8)
	model = protowire.AppendBytes(protowire.AppendTag(model, 7, protowire.BytesType), graph)
	m, err := onnx.Parse(model, "")
	if err != nil {
		return nil, err
	}
	return m.Graph.Initializers[0].Value()
}

// nodeTest is one of the tests: a model, what is fed to it and what comes out.
type nodeTest struct {
	dir      string
	narrow   bool // the runtime has no float64 for it
	m        *onnx.Model
	original []byte
	in, out  feeds
}

// TestNodes runs ONNX's own node tests.
func TestNodes(t *testing.T) {
	folders := nodeFolders(t)
	e := orttest.Open(t)
	t.Logf("ONNX Runtime %s, %d tests", e.Version(), len(folders))
	var files, runs, gradients count
	perOp := map[string]*count{}
	for _, dir := range folders {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					t.Fatalf("panic: %v", r)
				}
			}()
			n := &nodeTest{dir: dir}
			files.add(n.parse(t))
			if n.m == nil {
				return
			}
			result := n.run(t, e)
			runs.add(result)
			if result != "" {
				if result == otherResult {
					t.Log(name + ": " + result)
				}
				return
			}
			op := n.m.Graph.Nodes[0].OpType
			if len(n.m.Graph.Nodes) > 1 {
				op = "(several nodes)"
			}
			if perOp[op] == nil {
				perOp[op] = &count{}
			}
			var inputs []string
			for _, v := range n.m.Graph.Inputs {
				if x := n.in[v.Name]; x != nil && (x.DType == tensor.F32 || x.DType == tensor.F64) && x.Len() > 0 {
					inputs = append(inputs, v.Name)
				}
			}
			try := func(mode string, inputs ...string) (result string) {
				t.Run(mode+"/"+strings.Join(inputs, ","), func(t *testing.T) {
					result = n.gradient(t, e, mode, inputs)
					if t.Failed() {
						result = "wrong"
					}
				})
				return result
			}
			for _, mode := range []string{"known", "unranked", "untyped"} {
				// All at once where that can be had: of several inputs one may have
				// no gradient.
				together := try(mode, inputs...)
				for _, v := range inputs {
					result := together
					if result != "" && len(inputs) > 1 {
						result = try(mode, v)
					}
					gradients.add(result)
					perOp[op].add(result)
				}
			}
		})
	}
	files.report(t, "parsed, written, parsed again")
	runs.report(t, "run before and after")
	gradients.report(t, "gradients")
	for _, op := range slices.Sorted(maps.Keys(perOp)) {
		if c := perOp[op]; c.right > 0 || c.other["wrong"] > 0 {
			t.Logf("%-22s %3d of %3d right %v", op, c.right, c.all, c.other)
		}
	}
}

// parse reads the model, writes it, reads that and writes it again.
func (n *nodeTest) parse(t *testing.T) string {
	var err error
	if n.original, err = os.ReadFile(filepath.Join(n.dir, "model.onnx")); err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Parse(n.original, n.dir)
	if errors.Is(err, onnx.ErrVersion) {
		return "refused: a later version"
	}
	if err != nil {
		t.Error(err)
		return "wrong: " + err.Error()
	}
	first, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again, err := onnx.Parse(first, n.dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("written twice, the model differs")
		return "wrong"
	}
	n.m = again
	return ""
}

// run runs both forms of the model and compares their results to the bit.
func (n *nodeTest) run(t *testing.T, e *ort.Env) string {
	written, err := n.m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	open := func(data []byte) (*ort.Session, error) {
		return e.NewSession(t.Context(), data, ort.Options{Threads: 1, ExternalDir: n.dir})
	}
	a, errA := open(n.original)
	if errA == nil {
		defer a.Close()
	}
	b, errB := open(written)
	if errB == nil {
		defer b.Close()
	}
	if (errA == nil) != (errB == nil) {
		t.Errorf("before: %v, after: %v", errA, errB)
		return "wrong: loads only one of both"
	}
	if errA != nil {
		return "the runtime does not load it"
	}
	n.in = feeds{}
	for i, v := range a.Inputs() {
		if v.Unsupported != "" {
			return "not a tensor of our types"
		}
		x, err := tensorFile(filepath.Join(n.dir, "test_data_set_0", fmt.Sprintf("input_%d.pb", i)))
		if errors.Is(err, os.ErrNotExist) {
			return "no data"
		}
		if err != nil {
			return "not a tensor of our types"
		}
		n.in[v.Name] = x
	}
	n.out = feeds{}
	want := feeds{}
	for i, v := range a.Outputs() {
		if v.Unsupported != "" {
			return "not a tensor of our types"
		}
		n.out[v.Name] = nil
		if x, err := tensorFile(filepath.Join(n.dir, "test_data_set_0", fmt.Sprintf("output_%d.pb", i))); err == nil {
			want[v.Name] = x
		}
	}
	other := maps.Clone(n.out)
	errA, errB = a.Run(t.Context(), n.in, n.out), b.Run(t.Context(), n.in, other)
	if (errA == nil) != (errB == nil) {
		t.Errorf("before: %v, after: %v", errA, errB)
		return "wrong: runs only one of both"
	}
	if errA != nil {
		return "the runtime does not run it"
	}
	for name, y := range n.out {
		if z := other[name]; z.DType != y.DType || !slices.Equal(z.Shape, y.Shape) || !bytes.Equal(z.Data, y.Data) {
			twice := maps.Clone(n.out)
			if err := a.Run(t.Context(), n.in, twice); err != nil || !bytes.Equal(twice[name].Data, y.Data) {
				return "random"
			}
			t.Errorf("output %s differs", name)
			return "wrong: the results differ"
		}
	}
	for name, y := range n.out {
		w := want[name]
		if w == nil || w.DType != y.DType || !slices.Equal(w.Shape, y.Shape) || (y.DType != tensor.F32 && y.DType != tensor.F64) {
			continue
		}
		// A runtime that does not compute what ONNX says has other gradients,
		// too.
		if !near(floats(y), floats(w), sameResult) {
			return otherResult
		}
	}
	return ""
}

// gradient compares the gradients of the floating point outputs with respect to
// some inputs: in float64 where the runtime has kernels for it.
func (n *nodeTest) gradient(t *testing.T, e *ort.Env, mode string, inputs []string) string {
	if len(inputs) == 0 {
		return "no floating point input"
	}
	for _, dt := range []tensor.DType{tensor.F64, tensor.F32} {
		m := n.m.Clone()
		in := maps.Clone(n.in)
		for _, list := range [][]*onnx.ValueInfo{m.Graph.Inputs, m.Graph.Outputs} {
			for _, v := range list {
				if dt == tensor.F64 && v.DType == onnx.Float {
					v.DType = onnx.Double
				}
			}
		}
		for name, x := range in {
			switch {
			case dt == tensor.F64 && x.DType == tensor.F32:
				wide := tensor.New(tensor.F64, x.Shape...)
				for i, v := range floats(x) {
					set(wide, i, v)
				}
				in[name] = wide
			case slices.Contains(inputs, name):
				in[name] = &tensor.Tensor{DType: x.DType, Shape: x.Shape, Data: slices.Clone(x.Data)}
			}
		}
		m.Graph.ValueInfos = nil
		var outs []string
		for _, v := range m.Graph.Outputs {
			if y := n.out[v.Name]; y.DType == tensor.F32 || y.DType == tensor.F64 {
				outs = append(outs, v.Name)
			}
		}
		m.Graph.Outputs = nil // with their types
		d := &differences{m: m, in: in, wrt: inputs, outs: outs, step: step64, tolerance: tolerance64, others: []float64{cornerStep}, sample: sampled, kinks: true}
		switch {
		case dt == tensor.F32:
			d.step, d.tolerance, d.others = steps32[0], tolerance32, steps32[1:]
		case slices.ContainsFunc(m.Graph.Nodes, narrows):
			d.tolerance, d.others = tolerance32, steps32
		}
		if len(outs) == 0 {
			return "no floating point output"
		}
		switch mode {
		case "unranked", "untyped":
			for _, v := range m.Graph.Inputs {
				v.HasShape, v.Shape = false, nil
			}
		}
		if mode == "untyped" {
			if m.Opset("") < 11 {
				return "refused: " + grad.ErrOpset.Error()
			}
			d.wrt, d.feed = nil, map[string]string{}
			for _, v := range inputs {
				hidden := "hidden " + v
				hide(m, v, hidden)
				d.wrt = append(d.wrt, hidden)
				d.feed[hidden] = v
			}
		}
		err := d.differentiable()
		if err != nil && strings.Contains(err.Error(), "its output") {
			d.outs = outs[:1] // statistics that norms can return have no gradient
			err = d.differentiable()
		}
		if err == nil {
			if dt == tensor.F64 && !n.wide(t, e, d) {
				continue
			}
			err = d.compare(t, e)
		}
		var refused *grad.UnsupportedError
		switch {
		case err == nil:
			return ""
		case dt == tensor.F64 && errors.As(err, &noKernelError{}):
			continue
		case errors.As(err, &refused):
			why := refused.Why
			if why == "" {
				return "refused: no rule for " + refused.Op
			}
			return "refused: " + strings.Join(strings.Fields(unquoted(why)), " ")
		case errors.Is(err, grad.ErrIndependent):
			return "independent"
		case errors.Is(err, grad.ErrOpset):
			return "refused: " + grad.ErrOpset.Error()
		case strings.Contains(err.Error(), "is not known"):
			return "refused: type not known"
		}
		t.Error(err)
		return "wrong"
	}
	t.Error("the runtime loads neither form")
	return "wrong"
}

// differentiable tries without running anything.
func (d *differences) differentiable() error {
	m := d.m.Clone()
	seeds := map[string]string{}
	for _, o := range d.outs {
		seeds[o] = d.wrt[0]
	}
	_, err := grad.GradientsFrom(m, seeds, d.wrt...)
	return err
}

// unquoted leaves names out of a reason.
func unquoted(s string) string {
	parts := strings.Split(s, `"`)
	for i := 1; i < len(parts); i += 2 {
		parts[i] = "..."
	}
	return strings.Join(parts, "")
}

// hide passes an input through a sequence, of which the facts know nothing.
func hide(m *onnx.Model, input, hidden string) {
	for _, n := range m.Graph.Nodes {
		for i, v := range n.Inputs {
			if v == input {
				n.Inputs[i] = hidden
			}
		}
	}
	zero := onnx.NewTensor("", tensor.FromInt64s([]int64{0}))
	m.Graph.Nodes = append([]*onnx.Node{
		{OpType: "Constant", Outputs: []string{hidden + "/at"}, Attrs: []*onnx.Attribute{onnx.AttrTensor("value", zero)}},
		{OpType: "SequenceConstruct", Inputs: []string{input}, Outputs: []string{hidden + "/list"}},
		{OpType: "SequenceAt", Inputs: []string{hidden + "/list", hidden + "/at"}, Outputs: []string{hidden}},
	}, m.Graph.Nodes...)
}

// wide says whether the runtime computes the same in float64.
func (n *nodeTest) wide(t *testing.T, e *ort.Env, d *differences) bool {
	if n.narrow {
		return false
	}
	n.narrow = true
	m := d.m.Clone()
	for _, o := range d.outs {
		m.Graph.Outputs = append(m.Graph.Outputs, &onnx.ValueInfo{Name: o})
	}
	data, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.NewSession(t.Context(), data, ort.Options{Threads: 1})
	if err != nil {
		return false
	}
	defer s.Close()
	out := feeds{}
	for _, o := range d.outs {
		out[o] = nil
	}
	if s.Run(t.Context(), d.in, out) != nil {
		return false
	}
	// Where there is no kernel the runtime may put the function that defines an
	// operator in its place, which does not always do what the kernel does.
	for o, y := range out {
		if !near(floats(y), floats(n.out[o]), sameKernel) {
			return false
		}
	}
	n.narrow = false
	return true
}

// narrows says that a node rounds to float32 whatever the model computes in.
func narrows(n *onnx.Node) bool {
	return n.OpType == "Cast" && onnx.DataType(n.Int("to", 0)) == onnx.Float
}

// near says that no element is further off than a part of its size, or of 1.
func near(a, b []float64, part float64) bool {
	for i := range a {
		if math.Abs(a[i]-b[i]) > part*(1+math.Abs(b[i])) || math.IsNaN(a[i]) != math.IsNaN(b[i]) {
			return false
		}
	}
	return true
}
