package patch_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
)

// network is a splice of a kind that no program needs to know to keep it.
func network(r *rand.Rand, layer int) patch.Splice {
	return patch.Splice{
		At: arch.Site{Side: arch.Encoder, Layer: layer, Point: arch.FFNOut}, Kind: "any", Where: patch.FromTarget,
		Params: map[string]*tensor.Tensor{"keys": modeltest.Randn(r, 1, 3, 2), "radius": modeltest.Randn(r, 1, 2), "none": tensor.New(tensor.F32, 0, 4)},
	}
}

// TestSplicesOfPatch: joining, merging, size, norm and binding count splices.
func TestSplicesOfPatch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	low := &patch.Patch{Method: "a", Edits: []string{"e1"}, Weights: []patch.Weight{{At: modeltest.Down(1), U: modeltest.Randn(r, 1, 4, 2), V: modeltest.Randn(r, 1, 2, 3)}}}
	spliced := &patch.Patch{Method: "b", Edits: []string{"e2"}, Splices: []patch.Splice{network(r, 0), network(r, 1)}}
	if spliced.Binding() != patch.BindPerRow || spliced.Bytes() != 2*4*(6+2) {
		t.Errorf("binding %s, %d bytes", spliced.Binding(), spliced.Bytes())
	}
	if !math.IsNaN(spliced.DeltaNorm()) || math.IsNaN(low.DeltaNorm()) {
		t.Errorf("norms %g and %g", spliced.DeltaNorm(), low.DeltaNorm())
	}
	both := low.Then(spliced).Then(&patch.Patch{Splices: []patch.Splice{network(r, 0)}})
	if len(both.Splices) != 3 || len(both.Weights) != 1 || len(spliced.Splices) != 2 || both.Method != "b" {
		t.Errorf("joined: %d splices, %d weights", len(both.Splices), len(both.Weights))
	}
	merged, err := both.Merge()
	modeltest.Must(t, err)
	if len(merged.Splices) != 3 || merged.Binding() != patch.BindDense {
		t.Errorf("merged: %d splices, binding %s", len(merged.Splices), merged.Binding())
	}
	var radii []float32
	for s := range both.Spliced(both.Splices[0].At, "any") {
		radii = append(radii, s.Params["radius"].Float32s()...)
	}
	if want := slices.Concat(both.Splices[0].Params["radius"].Float32s(), both.Splices[2].Params["radius"].Float32s()); !slices.Equal(radii, want) {
		t.Errorf("at one place stand %v, want %v", radii, want)
	}
}

// TestSplicesSaved: splices come back as they were, in order, without their method;
// a file with some is not for programs that know none, and a file without is what it
// was.
func TestSplicesSaved(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 8))
	p := &patch.Patch{Method: "m", Edits: []string{"e"}, Splices: []patch.Splice{network(r, 3), network(r, 0)}}
	path := filepath.Join(t.TempDir(), "p")
	modeltest.Must(t, p.Save(path, patch.Meta{Model: "tiny"}))
	got, _, err := patch.Load(path, nil)
	modeltest.Must(t, err)
	if len(got.Splices) != len(p.Splices) || len(got.State) != 0 {
		t.Fatalf("loaded %+v", got)
	}
	for i, s := range p.Splices {
		l := got.Splices[i]
		if l.At != s.At || l.Kind != s.Kind || l.Where != s.Where || len(l.Params) != len(s.Params) {
			t.Errorf("splice %d came back as %+v", i, l)
		}
		for name, v := range s.Params {
			if l.Params[name] == nil || l.Params[name].Hash() != v.Hash() {
				t.Errorf("splice %d: parameter %s came back as %v", i, name, l.Params[name])
			}
		}
	}
	sidecar := func(path string) string {
		b, err := os.ReadFile(patch.Sidecar(path))
		modeltest.Must(t, err)
		return string(b)
	}
	if s := sidecar(path); !strings.Contains(s, `"version": 2`) {
		t.Errorf("a patch with splices is written as %s", s)
	}
	p.Splices = nil
	modeltest.Must(t, p.Save(path, patch.Meta{Model: "tiny"}))
	if s := sidecar(path); !strings.Contains(s, `"version": 1`) || strings.Contains(s, "splices") {
		t.Errorf("a patch without splices is written as %s", s)
	}
}

func TestDamagedSplices(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 8))
	p := &patch.Patch{Method: "m", Splices: []patch.Splice{network(r, 3)}}
	for name, c := range map[string][3]string{ // what is changed, to what, and what the error says
		"site":      {"encoder.3.ffn_out", "encoder.3.nowhere", "encoder.3.nowhere"},
		"positions": {"from_target", "sometimes", `"sometimes"; known are`},
		"parameter": {`"radius"`, `"reach"`, "splice.0000.reach is missing"},
		"shape":     {"        2\n", "        7\n", "splice.0000."},
	} {
		path := filepath.Join(t.TempDir(), "p")
		modeltest.Must(t, p.Save(path, patch.Meta{}))
		b, err := os.ReadFile(patch.Sidecar(path))
		modeltest.Must(t, err)
		if !strings.Contains(string(b), c[0]) {
			t.Fatalf("%s: %q is not in %s", name, c[0], b)
		}
		modeltest.Must(t, os.WriteFile(patch.Sidecar(path), []byte(strings.ReplaceAll(string(b), c[0], c[1])), 0o644))
		if _, _, err := patch.Load(path, nil); !errors.Is(err, patch.ErrFile) || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.Splices[0].Params["keys"] = nil
	if err := p.Save(filepath.Join(t.TempDir(), "p"), patch.Meta{}); err == nil || !strings.Contains(err.Error(), "keys") {
		t.Errorf("a missing parameter is saved: %v", err)
	}
}
