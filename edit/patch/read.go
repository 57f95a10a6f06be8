package patch

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
	"editpipe/tensor/npz"
	"editpipe/tensor/safetensors"
)

// read gives the changes in a file, in the order of tensor names; a patch that
// patch.Patch.Save wrote is read as it is.
func read(path string, lm *models.LM, layout string) ([]patch.Weight, error) {
	if _, err := os.Stat(path + ".json"); err == nil {
		p, meta, err := patch.Load(path, nil)
		if err != nil {
			return nil, err
		}
		return p.Weights, lm.Fits(p, meta)
	}
	var tensors map[string]*tensor.Tensor
	var err error
	if filepath.Ext(path) == ".npz" {
		tensors, err = npz.Read(path)
	} else {
		tensors, _, err = safetensors.Read(path)
	}
	if err != nil {
		return nil, err
	}
	if len(tensors) == 0 {
		return nil, fmt.Errorf("%s: no tensors in it", path)
	}
	changes, err := resolve(tensors, lm.Info(), layout)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return changes, nil
}

// The parts of a change, as endings of tensor names. A name without an ending
// is a delta.
const (
	endU     = ".U"
	endV     = ".V"
	endDelta = ".delta"
)

// resolve turns named tensors into changes of the model's weights.
func resolve(tensors map[string]*tensor.Tensor, info *arch.Info, layout string) ([]patch.Weight, error) {
	weights := map[string]target{}
	for _, f := range info.FFNs {
		for _, part := range []arch.Part{arch.FFNUp, arch.FFNGate, arch.FFNDown} {
			w := f.Weight(part)
			if w == nil {
				continue // the family has no such part
			}
			weights[w.ID.String()] = target{*w, true}
			if w.Initializer != "" {
				weights[w.Initializer] = target{*w, false}
			}
		}
	}
	var changes []patch.Weight
	seen := map[arch.WeightID]string{}
	for _, key := range slices.Sorted(maps.Keys(tensors)) {
		if base, isV := strings.CutSuffix(key, endV); isV && tensors[base+endU] != nil {
			continue // taken together with U
		}
		base, lowRank := strings.CutSuffix(key, endU)
		if !lowRank {
			base = strings.TrimSuffix(key, endDelta)
		}
		t, ok := weights[base]
		if !ok {
			return nil, fmt.Errorf("tensor %q names no weight of the model; it has %s", key, known(weights))
		}
		if other, twice := seen[t.ID]; twice {
			return nil, fmt.Errorf("tensors %q and %q change the same weight %s", other, key, t.ID)
		}
		seen[t.ID] = key
		if !t.Editable {
			return nil, fmt.Errorf("tensor %q: weight %s cannot be edited: %s", key, t.ID, t.Why)
		}
		c, err := t.change(tensors, key, base, lowRank, layout)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", key, err)
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// target is a weight and how a file named it.
type target struct {
	arch.Weight
	byID bool // by its id, so that its layout is in x out
}

func (t target) change(tensors map[string]*tensor.Tensor, key, base string, lowRank bool, layout string) (patch.Weight, error) {
	if !lowRank {
		d, err := matrix(tensors[key])
		if err != nil {
			return patch.Weight{}, err
		}
		turned, err := t.turned(d.Shape[0], d.Shape[1], layout)
		if err != nil {
			return patch.Weight{}, err
		}
		if turned {
			if d, err = d.Transpose2D(); err != nil {
				return patch.Weight{}, err
			}
		}
		return patch.Weight{At: t.ID, Delta: d}, nil
	}
	if tensors[base+endV] == nil {
		return patch.Weight{}, fmt.Errorf("%q is missing", base+endV)
	}
	u, err := matrix(tensors[key])
	if err != nil {
		return patch.Weight{}, err
	}
	v, err := matrix(tensors[base+endV])
	if err != nil {
		return patch.Weight{}, fmt.Errorf("%q: %w", base+endV, err)
	}
	if u.Shape[1] != v.Shape[0] {
		return patch.Weight{}, fmt.Errorf("the factors U %v and V %v have no product", u.Shape, v.Shape)
	}
	turned, err := t.turned(u.Shape[0], v.Shape[1], layout)
	if err != nil {
		return patch.Weight{}, err
	}
	if turned { // (U V)^T = V^T U^T
		vt, err := v.Transpose2D()
		if err != nil {
			return patch.Weight{}, err
		}
		ut, err := u.Transpose2D()
		if err != nil {
			return patch.Weight{}, err
		}
		u, v = vt, ut
	}
	return patch.Weight{At: t.ID, U: u, V: v}, nil
}

// turned says whether a rows x cols change lies as out x in.
func (t target) turned(rows, cols int, layout string) (bool, error) {
	straight, across := rows == t.In && cols == t.Out, rows == t.Out && cols == t.In
	switch {
	case t.byID || layout == InOut:
		across = false
	case layout == OutIn:
		straight = false
	case straight && across:
		return false, fmt.Errorf("the change is square (%d x %d), so its layout cannot be told: pass --set patch.layout=%s or %s", rows, cols, InOut, OutIn)
	}
	if !straight && !across {
		return false, fmt.Errorf("the change is %d x %d, but weight %s has %d inputs and %d outputs", rows, cols, t.ID, t.In, t.Out)
	}
	return across, nil
}

// matrix checks that t is a finite matrix of floats and gives it in float32.
func matrix(t *tensor.Tensor) (*tensor.Tensor, error) {
	if !t.IsFloat() || len(t.Shape) != 2 {
		return nil, fmt.Errorf("want a matrix of floats, got %s %v", t.DType, t.Shape)
	}
	f, err := t.Convert(tensor.F32)
	if err != nil {
		return nil, err
	}
	if !f.Finite() {
		return nil, fmt.Errorf("it holds NaN or infinite numbers")
	}
	return f, nil
}

// known lists the model's weights for a message.
func known(weights map[string]target) string {
	var names []string
	for name, t := range weights {
		if t.byID {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
