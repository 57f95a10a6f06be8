package graph

import (
	"errors"
	"strings"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/models/arch"
	"editpipe/onnx"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSplit: no weight below the site is left in the half that moves, none above
// in the other.
func TestSplit(t *testing.T) {
	for _, r := range []arch.Role{arch.Forward, arch.Step} {
		dir := t.TempDir()
		must(t, tinylm.Write(dir, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast, Layers: 3}))
		a, err := arch.Open(dir)
		must(t, err)
		defer a.Close()
		losses := LossesAt(arch.Site{Layer: 1, Point: arch.FFNOut})
		halves := map[string]*onnx.Model{}
		for name, half := range map[string]Half{"standing": Standing, "moving": Moving} {
			m, err := Build(a, Spec{Role: r, Give: losses, Half: half})
			must(t, err)
			halves[name] = m
		}
		for half, in := range map[string]struct {
			has func(name string) bool
			not string
		}{
			"standing": {func(name string) bool { return !strings.Contains(name, ".h.2.") && !strings.Contains(name, "ln_f") }, ".h.2."},
			"moving":   {func(name string) bool { return !strings.Contains(name, ".h.0.") && !strings.Contains(name, ".h.1.") }, ".h.0. or .h.1."},
		} {
			g := halves[half].Graph
			named := 0
			for _, p := range g.Initializers {
				if strings.HasPrefix(p.Name, "transformer.") {
					named++
				}
				if !in.has(p.Name) {
					t.Errorf("role %d: the %s half has %s, of %s", r, half, p.Name, in.not)
				}
			}
			if named == 0 {
				t.Errorf("role %d: the %s half has no weights", r, half)
			}
		}
		m, err := Build(a, Spec{Role: r, Give: losses})
		must(t, err)
		p := a.Graph(r).Ports
		if _, _, err := split(m, append(losses.changing(), p.IDs, p.Mask, p.Positions)); r == arch.Forward && !errors.Is(err, ErrUndivided) {
			t.Errorf("where everything changes: %v", err)
		}
	}
}
