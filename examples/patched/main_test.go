package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// TestRun saves a change of a weight, as edit --save does, and has the program
// ask with it; a patch of another model is refused.
func TestRun(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	for name, seed := range map[string]uint64{"model": 1, "other": 2} {
		if err := tinylm.Write(filepath.Join(dir, name), tinylm.Config{Family: tinylm.GPT2, Width: 8, FFN: 16, Seed: seed}); err != nil {
			t.Fatal(err)
		}
	}
	env := orttest.Open(t)
	lm, err := models.Open(ctx, env, filepath.Join(dir, "model"), models.Options{})
	if err != nil {
		t.Fatal(err)
	}
	u, v := tensor.New(tensor.F32, 16, 1), tensor.New(tensor.F32, 1, 8)
	u.Float32s()[3], v.Float32s()[2] = 40, 1
	p := &patch.Patch{Method: "patch", Weights: []patch.Weight{{At: arch.WeightID{Layer: 1, Part: arch.FFNDown}, U: u, V: v}}}
	path := filepath.Join(dir, "edit.safetensors")
	if err := p.Save(path, patch.Meta{ModelHash: lm.Hash(), TokenizerHash: lm.TokenizerHash()}); err != nil {
		t.Fatal(err)
	}
	if err := lm.Close(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(ctx, &out, env, filepath.Join(dir, "model"), path, "The town", []string{"of", "by"}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("printed\n%s", out.String())
	}
	for _, line := range lines[1:] {
		if f := strings.Fields(line); len(f) != 3 || f[1] == f[2] {
			t.Errorf("the patch changed nothing: %q", line)
		}
	}
	var misfit *patch.MisfitError
	if err := run(ctx, &out, env, filepath.Join(dir, "other"), path, "The town", []string{"of"}); !errors.As(err, &misfit) {
		t.Errorf("a patch of another model: %v", err)
	}
}
