package patch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
)

func gauss(r *rand.Rand, shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.F32, shape...)
	v := t.Float32s()
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return t
}

func TestThenKeepsOrderAndBinding(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	low := &patch.Patch{Method: "a", Edits: []string{"e1"}, Weights: []patch.Weight{{At: modeltest.Down(1), U: gauss(r, 4, 2), V: gauss(r, 2, 3)}},
		State: map[string]*tensor.Tensor{"x": gauss(r, 1), "y": gauss(r, 1)}}
	dense := &patch.Patch{Method: "b", Edits: []string{"e2", "e3"}, Weights: []patch.Weight{{At: modeltest.Down(0), Delta: gauss(r, 4, 3)}},
		State: map[string]*tensor.Tensor{"x": gauss(r, 2)}}
	var none *patch.Patch
	if none.Binding() != patch.BindNone || (&patch.Patch{}).Binding() != patch.BindNone || low.Binding() != patch.BindPerRow || dense.Binding() != patch.BindDense {
		t.Error("binding of the parts")
	}
	both := low.Then(dense)
	if both.Binding() != patch.BindDense || !slices.Equal(both.Edits, []string{"e1", "e2", "e3"}) || both.Method != "b" {
		t.Errorf("joined: %v %v %v", both.Binding(), both.Edits, both.Method)
	}
	if both.State["x"] != dense.State["x"] || both.State["y"] != low.State["y"] {
		t.Error("state of the later patch must win, other state stay")
	}
	if len(low.Weights) != 1 || len(low.State) != 2 {
		t.Error("Then changed its receiver")
	}
	if q := none.Then(low); len(q.Weights) != 1 || q.Method != "a" {
		t.Error("a nil patch is the empty one")
	}
	if q := low.Then(nil); len(q.Weights) != 1 || q.Method != "a" {
		t.Error("an empty patch changes nothing")
	}
	if got, want := both.Bytes(), int64(4*(8+6+12+2+1)); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}

func TestMergeAndNorm(t *testing.T) {
	const in, out = 9, 7
	r := rand.New(rand.NewPCG(2, 2))
	p := &patch.Patch{Weights: []patch.Weight{
		{At: modeltest.Down(0), U: gauss(r, in, 2), V: gauss(r, 2, out)},
		{At: modeltest.Down(1), U: gauss(r, in, 1), V: gauss(r, 1, out)},
		{At: modeltest.Down(0), U: gauss(r, in, 3), V: gauss(r, 3, out)},
	}}
	// The sum of products, entry by entry in float64.
	want := map[arch.WeightID][]float64{}
	var square float64
	for _, l := range p.Weights {
		if want[l.At] == nil {
			want[l.At] = make([]float64, in*out)
		}
		k := l.U.Shape[1]
		for i := range in {
			for j := range out {
				for q := range k {
					want[l.At][i*out+j] += float64(l.U.Float32s()[i*k+q]) * float64(l.V.Float32s()[q*out+j])
				}
			}
		}
	}
	for _, d := range want {
		for _, x := range d {
			square += x * x
		}
	}
	m, err := p.Merge()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Weights) != 2 || m.Binding() != patch.BindDense {
		t.Fatalf("%d changes", len(m.Weights))
	}
	for _, d := range m.Weights {
		for i, x := range d.Delta.Float32s() {
			if math.Abs(float64(x)-want[d.At][i]) > modeltest.HostTolerance {
				t.Fatalf("%s: entry %d is %g, want %g", d.At, i, x, want[d.At][i])
			}
		}
	}
	for name, q := range map[string]*patch.Patch{"factors": p, "merged": m, "half merged": {Weights: append(slices.Clone(m.Weights[:1]), p.Weights[1])}} {
		if got := q.DeltaNorm(); math.Abs(got-math.Sqrt(square)) > modeltest.HostTolerance*math.Sqrt(square) {
			t.Errorf("norm by %s %g, want %g", name, got, math.Sqrt(square))
		}
	}
	if (&patch.Patch{}).DeltaNorm() != 0 {
		t.Error("norm of nothing")
	}
}

func TestSaveAndLoad(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	p := &patch.Patch{
		Method: "rome", Edits: []string{"e1", "e2"},
		Weights: []patch.Weight{
			{At: modeltest.Down(3), U: gauss(r, 6, 2), V: gauss(r, 2, 4)},
			{At: arch.WeightID{Side: arch.Encoder, Layer: 1, Part: arch.FFNGate}, Delta: gauss(r, 4, 6)},
		},
		Routes: []patch.Route{modeltest.Suffix{Text: "inner"}, modeltest.Suffix{Text: "outer"}},
		State:  map[string]*tensor.Tensor{"keys.0": gauss(r, 3, 5)},
	}
	meta := patch.Meta{Model: "tiny", ModelHash: "abc", TokenizerHash: "def", Config: map[string]string{"layer": "3"}, Prompts: []string{"The capital of X is"}}
	path := filepath.Join(t.TempDir(), "patch.safetensors")
	for range 2 { // writing over an older patch leaves nothing of it
		if err := p.Save(path, meta); err != nil {
			t.Fatal(err)
		}
	}
	got, gotMeta, err := patch.Load(path, modeltest.SuffixDecoder)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := jsonOf(t, gotMeta), jsonOf(t, meta); a != b {
		t.Errorf("meta %s, want %s", a, b)
	}
	if got.Method != p.Method || !slices.Equal(got.Edits, p.Edits) || len(got.Weights) != 2 || len(got.Routes) != 2 {
		t.Fatalf("loaded %+v", got)
	}
	u, want := got.Weights[0], p.Weights[0]
	if u.At != want.At || u.U.Hash() != want.U.Hash() || u.V.Hash() != want.V.Hash() {
		t.Error("the low-rank change came back different")
	}
	if d, want := got.Weights[1], p.Weights[1]; d.At != want.At || d.Delta.Hash() != want.Delta.Hash() {
		t.Error("the dense change came back different")
	}
	if got.Routes[0].(modeltest.Suffix).Text != "inner" || got.Routes[1].(modeltest.Suffix).Text != "outer" {
		t.Error("routes changed places")
	}
	if got.State["keys.0"] == nil || got.State["keys.0"].Hash() != p.State["keys.0"].Hash() {
		t.Error("state lost")
	}
	for _, f := range []string{path, patch.Sidecar(path)} {
		st, err := os.Stat(f)
		if err != nil || st.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", filepath.Base(f), st.Mode(), err)
		}
	}
}

// A patch that cannot be completed is none: no JSON file, and no draft of one.
func TestSaveThatFailsLeavesNoDraft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "patch.safetensors")
	modeltest.Must(t, os.MkdirAll(filepath.Join(patch.Sidecar(path), "in its place"), 0o755))
	p := &patch.Patch{Weights: []patch.Weight{{At: modeltest.Down(0), Delta: gauss(rand.New(rand.NewPCG(6, 6)), 2, 2)}}}
	if err := p.Save(path, patch.Meta{}); err == nil || !strings.Contains(err.Error(), patch.Sidecar(path)) {
		t.Errorf("saved over a folder: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	modeltest.Must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// TestOldPatchFile reads what the program wrote when a weight was a change of one
// of three types and a route a wrap, and writes the same again, byte for byte, so
// that such a program reads what is written now.
func TestOldPatchFile(t *testing.T) {
	old := filepath.Join("testdata", "first.safetensors")
	const kind = "ike.context"
	p, meta, err := patch.Load(old, map[string]patch.RouteDecoder{kind: func(dir string) (patch.Route, error) {
		b, err := os.ReadFile(filepath.Join(dir, "context.json"))
		return kept{kind, "context.json", b}, err
	}})
	modeltest.Must(t, err)
	product, matrix, bias := p.Weights[0], p.Weights[1], p.Weights[2]
	if product.At != modeltest.Down(3) || product.Dense() || product.Bias || !slices.Equal(product.U.Shape, []int{6, 2}) || !slices.Equal(product.V.Shape, []int{2, 4}) {
		t.Errorf("the product is %+v", product)
	}
	if gate := (arch.WeightID{Side: arch.Encoder, Layer: 1, Part: arch.FFNGate}); matrix.At != gate || !matrix.Dense() || !slices.Equal(matrix.Delta.Shape, []int{4, 6}) {
		t.Errorf("the matrix is %+v", matrix)
	}
	if bias.At != modeltest.Down(3) || !bias.Bias || bias.Dense() || !slices.Equal(bias.Delta.Shape, []int{4}) {
		t.Errorf("the bias is %+v", bias)
	}
	if len(p.Weights) != 3 || p.Method != "rome" || !slices.Equal(p.Edits, []string{"e1", "e2"}) || p.State["keys.0"] == nil {
		t.Errorf("loaded %+v", p)
	}
	if want := (patch.Meta{Model: "tiny", ModelHash: "abc", TokenizerHash: "def", Config: map[string]string{"layer": "3"}, Prompts: []string{"Ada works as a"}}); jsonOf(t, meta) != jsonOf(t, want) {
		t.Errorf("made for %s", jsonOf(t, meta))
	}
	again := filepath.Join(t.TempDir(), "first.safetensors")
	modeltest.Must(t, p.Save(again, meta))
	for _, tail := range []string{"", ".json", ".wraps/0-ike.context/context.json"} {
		want, err := os.ReadFile(old + tail)
		modeltest.Must(t, err)
		got, err := os.ReadFile(again + tail)
		modeltest.Must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: written as %q, was %q", filepath.Base(old+tail), got, want)
		}
	}
}

// kept is a route that is one file.
type kept struct {
	kind, name string
	data       []byte
}

func (k kept) Kind() string          { return k.kind }
func (k kept) Save(dir string) error { return os.WriteFile(filepath.Join(dir, k.name), k.data, 0o644) }
func (k kept) Route(context.Context, patch.Reader, []ask.Query) ([]patch.Way, error) {
	return nil, errors.New("not asked here")
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLoadRefusesDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	p := &patch.Patch{Method: "m", Weights: []patch.Weight{{At: modeltest.Down(0), U: gauss(r, 3, 1), V: gauss(r, 1, 3)}}, Routes: []patch.Route{modeltest.Suffix{Text: "x"}}}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string)
		says   string
		is     error
	}{
		{"missing JSON", func(t *testing.T, path string) { modeltest.Must(t, os.Remove(patch.Sidecar(path))) }, "missing", patch.ErrFile},
		{"missing tensors", func(t *testing.T, path string) { modeltest.Must(t, os.Remove(path)) }, "no such file", os.ErrNotExist},
		{"changed tensors", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			modeltest.Must(t, err)
			b[len(b)-1] ^= 1
			modeltest.Must(t, os.WriteFile(path, b, 0o644))
		}, "digest", patch.ErrFile},
		{"not JSON", func(t *testing.T, path string) {
			modeltest.Must(t, os.WriteFile(patch.Sidecar(path), []byte("{"), 0o644))
		}, "json", patch.ErrFile},
		{"other version", func(t *testing.T, path string) { replace(t, path, `"version": 1`, `"version": 9`) }, "version 9", patch.ErrFile},
		{"other rank", func(t *testing.T, path string) { replace(t, path, `"rank": 1`, `"rank": 2`) }, "change.0000.u", patch.ErrFile},
		{"other weight", func(t *testing.T, path string) { replace(t, path, "decoder.0.ffn_down", "decoder.0.wo") }, "decoder.0.wo", patch.ErrFile},
		{"unknown route", func(t *testing.T, path string) { replace(t, path, `"suffix"`, `"serac"`) }, "known are [suffix]", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p")
			modeltest.Must(t, p.Save(path, patch.Meta{}))
			c.damage(t, path)
			_, _, err := patch.Load(path, modeltest.SuffixDecoder)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %q", err, c.says)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
		})
	}
}

func replace(t *testing.T, path, from, to string) {
	t.Helper()
	b, err := os.ReadFile(patch.Sidecar(path))
	modeltest.Must(t, err)
	if !strings.Contains(string(b), from) {
		t.Fatalf("%q is not in the file", from)
	}
	modeltest.Must(t, os.WriteFile(patch.Sidecar(path), []byte(strings.Replace(string(b), from, to, 1)), 0o644))
}

func TestSaveRefusesMalformedWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for name, c := range map[string]patch.Weight{
		"factors of different rank": {At: modeltest.Down(0), U: gauss(r, 3, 2), V: gauss(r, 1, 3)},
		"no factor":                 {At: modeltest.Down(0), U: gauss(r, 3, 2)},
		"a vector":                  {At: modeltest.Down(0), Delta: gauss(r, 3)},
		"factors and a sum":         {At: modeltest.Down(0), U: gauss(r, 3, 1), V: gauss(r, 1, 3), Delta: gauss(r, 3, 3)},
		"a bias of factors":         {At: modeltest.Down(0), Bias: true, U: gauss(r, 3, 1), V: gauss(r, 1, 3)},
		"integers":                  {At: modeltest.Down(0), Delta: tensor.New(tensor.I64, 2, 2)},
	} {
		var misfit *patch.MisfitError
		if err := (&patch.Patch{Weights: []patch.Weight{c}}).Save(filepath.Join(t.TempDir(), "p"), patch.Meta{}); !errors.As(err, &misfit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
