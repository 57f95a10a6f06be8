package models

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/file"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/onnx"
	"editpipe/tensor"
)

// ErrRouted is returned when a patch with routes is to be exported: other
// questions cannot be written into a model's weights.
var ErrRouted = errors.New("patch has routes")

// ErrMerged is returned when a patch with splices is to be exported and a file of the
// model holds the graph with past and the one without as branches of one.
var ErrMerged = errors.New("the file is a merged decoder")

// externalOver is the size in bytes from which weights of a model that had
// external data are external again; exporters use the same.
const externalOver = 1024

// companions are the endings of the small files that make a model folder
// complete: configuration and tokenizer. Checkpoints, which the patch does not
// change, are left behind.
var companions = []string{".json", ".txt", ".model", ".jinja", ".tiktoken"}

// Export writes a model folder whose graphs hold the patch: every graph of the
// model's folder, also those with past keys and values, in its stored
// orientation and number format, with the configuration and tokenizer files. A
// nil patch copies the model. dir must not exist, or be empty; it appears whole
// or not at all.
//
// The exported model answers as the patched one, up to the rounding of its
// number format. It returns ErrRouted for a patch with routes, ErrMerged for one
// with splices where a decoder is merged, and an error for a graph in the folder that
// holds other weights than the model's.
func (lm *LM) Export(ctx context.Context, p *patch.Patch, dir string) error {
	if err := lm.export(ctx, p, dir); err != nil {
		return fmt.Errorf("models: exporting to %s: %w", dir, err)
	}
	return nil
}

func (lm *LM) export(ctx context.Context, p *patch.Patch, dir string) error {
	if p != nil && len(p.Routes) > 0 {
		return fmt.Errorf("%w: %s changes what is asked and has no place in the weights; keep the patch, or export its weights alone", ErrRouted, p.Routes[0].Kind())
	}
	if err := lm.Accepts(p); err != nil {
		return err
	}
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%w: the folder is not empty; name a new one", fs.ErrExist)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".export-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, f := range graphFiles(lm.anatomy.Layout) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := lm.exportGraph(f, p, tmp); err != nil {
			return err
		}
	}
	if err := lm.exportCompanions(tmp); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // the empty one
		return err
	}
	return os.Rename(tmp, dir)
}

// exportGraph writes one graph with the patch's changes of its side.
func (lm *LM) exportGraph(f graphFile, p *patch.Patch, dir string) error {
	rel, err := filepath.Rel(lm.anatomy.Layout.Dir, f.path)
	if err != nil {
		return err
	}
	var places []arch.Place
	for _, at := range p.Matrices() {
		places = append(places, arch.Place{ID: at})
	}
	for _, at := range p.Biases() {
		places = append(places, arch.Place{ID: at, Bias: true})
	}
	var spliced []graph.Place
	for _, s := range p.SplicesOf(f.side) {
		// The block stays as it is, but must be the model's.
		down := arch.Place{ID: arch.WeightID{Side: s.At.Side, Layer: s.At.Layer, Part: arch.FFNDown}}
		if !slices.Contains(places, down) && lm.Info().Editable(down.ID) == nil {
			places = append(places, down)
		}
		if at := graph.PlaceOf(s); !slices.Contains(spliced, at) {
			spliced = append(spliced, at)
		}
	}
	places = slices.DeleteFunc(places, func(at arch.Place) bool { return at.ID.Side != f.side })
	m, err := rewritten(f, places, func(at arch.Place, w arch.Weight, stored *tensor.Tensor) (*tensor.Tensor, error) {
		if err := lm.same(at, w, stored); err != nil {
			return nil, err
		}
		if at.Bias {
			return p.ApplyBias(w, stored)
		}
		if !slices.Contains(p.Matrices(), at.ID) {
			return stored, nil
		}
		return p.Apply(w, stored)
	})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := lm.bake(m, f, p, spliced); err != nil {
		return fmt.Errorf("changing %s: %w", f.path, err)
	}
	path := filepath.Join(dir, rel)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	o := onnx.SaveOptions{}
	if len(m.ExternalFiles()) > 0 {
		o.ExternalOver = externalOver
	}
	return m.Save(path, o)
}

// bake puts the networks of a patch at places into a graph.
func (lm *LM) bake(m *onnx.Model, f graphFile, p *patch.Patch, places []graph.Place) error {
	if len(places) == 0 {
		return nil
	}
	forms, err := arch.Branches(m)
	if err != nil {
		return err
	}
	if len(forms) > 1 {
		return fmt.Errorf("%w; export the model as two files, or take this one away", ErrMerged)
	}
	g, err := arch.Analyse(f.path, m, f.side)
	if err != nil {
		return err
	}
	slices.SortFunc(places, func(a, b graph.Place) int { return strings.Compare(a.Kind, b.Kind) })
	for _, at := range slices.Backward(places) { // as Build has them
		stacked, err := graph.Stack(lm.Info(), at, []*patch.Patch{p})
		if err == nil {
			err = graph.Bake(m, g, at, stacked)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// same checks that a graph's weight or bias is the model's, whatever the
// orientation.
func (lm *LM) same(at arch.Place, w arch.Weight, stored *tensor.Tensor) error {
	read := lm.Weight
	if at.Bias {
		read = lm.Bias
	}
	want, err := read(w.ID)
	if err != nil {
		return err
	}
	have, err := stored.Convert(tensor.F32)
	switch {
	case err != nil:
	case at.Bias:
		have = tensor.FromFloat32s(have.Float32s(), have.Len())
	case w.Transposed:
		have, err = have.Transpose2D()
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", at, err)
	}
	if !slices.Equal(have.Shape, want.Shape) || !slices.Equal(have.Float32s(), want.Float32s()) {
		return fmt.Errorf("%s is not the one the model was opened with: the folder mixes graphs of different checkpoints or number formats; remove one of them", at)
	}
	return nil
}

// exportCompanions copies configuration and tokenizer files.
func (lm *LM) exportCompanions(dir string) error {
	entries, err := os.ReadDir(lm.anatomy.Layout.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !file.IsRegular(filepath.Join(lm.anatomy.Layout.Dir, name)) || !slices.Contains(companions, filepath.Ext(name)) || strings.HasSuffix(name, ".index.json") {
			continue
		}
		if err := file.Copy(filepath.Join(dir, name), filepath.Join(lm.anatomy.Layout.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}
