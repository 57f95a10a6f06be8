package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"editpipe/file"
	"editpipe/models/arch"
	"editpipe/tensor"
	"editpipe/tensor/safetensors"
)

// A saved patch is two files and, if it has wraps, a folder:
//
//	PATH             safetensors: change.N.u [in, r] and change.N.v [r, out] of
//	                 a low-rank change, change.N.delta [in, out] of a dense one,
//	                 [out] of a bias, N counting from 0000 in order;
//	                 state.NAME for the state
//	PATH.json        patchFile: format, method, edits, model, list of changes
//	PATH.wraps/N-KIND/   what wrap N saved
//
// The JSON file is written last and holds the digest of PATH, so a patch with
// a JSON file is complete.

const (
	patchFormat  = "editpipe-patch"
	patchVersion = 1
)

// PatchMeta says what a patch was made for and with. It is stored beside the
// patch; Fits compares it with a model.
type PatchMeta struct {
	Model         string            `json:"model"`          // name, for people
	ModelHash     string            `json:"model_hash"`     // LM.Hash
	TokenizerHash string            `json:"tokenizer_hash"` // "" if made without one
	Config        map[string]string `json:"config,omitempty"`
	Prompts       []string          `json:"prompts,omitempty"` // of the edits, for people
}

// patchFile is the JSON file.
type patchFile struct {
	Format  string        `json:"format"`
	Version int           `json:"version"`
	SHA256  string        `json:"sha256"` // of the safetensors file
	Method  string        `json:"method"`
	Edits   []string      `json:"edits"`
	Meta    PatchMeta     `json:"made_for"`
	Changes []savedChange `json:"changes"`
	Wraps   []string      `json:"wraps,omitempty"` // kinds, innermost first
}

type savedChange struct {
	Kind   string `json:"kind"` // low_rank, dense, bias
	Weight string `json:"weight"`
	In     int    `json:"in"` // 0 for a bias
	Out    int    `json:"out"`
	Rank   int    `json:"rank,omitempty"`
}

// WrapDecoder reads back what Wrap.Save wrote.
type WrapDecoder func(dir string) (Wrap, error)

// Sidecar is the JSON file beside the patch at path.
func Sidecar(path string) string { return path + ".json" }

func wrapDir(path string, i int, kind string) string {
	return filepath.Join(path+".wraps", strconv.Itoa(i)+"-"+kind)
}

func changeKey(i int, part string) string { return fmt.Sprintf("change.%04d.%s", i, part) }

// Save writes the patch to path and beside it.
func (p *Patch) Save(path string, meta PatchMeta) error {
	f := patchFile{Format: patchFormat, Version: patchVersion, Method: p.Method, Edits: p.Edits, Meta: meta, Changes: []savedChange{}}
	if f.Edits == nil {
		f.Edits = []string{}
	}
	tensors := map[string]*tensor.Tensor{}
	for i, c := range p.Changes {
		if err := wellFormed(c); err != nil {
			return fmt.Errorf("models: saving patch %s: change %d: %w", path, i, err)
		}
		s := savedChange{Weight: c.change().String()}
		switch c := c.(type) {
		case LowRank:
			s.Kind, s.In, s.Rank, s.Out = "low_rank", c.U.Shape[0], c.U.Shape[1], c.V.Shape[1]
			tensors[changeKey(i, "u")], tensors[changeKey(i, "v")] = c.U, c.V
		case Dense:
			s.Kind, s.In, s.Out = "dense", c.Delta.Shape[0], c.Delta.Shape[1]
			tensors[changeKey(i, "delta")] = c.Delta
		case Bias:
			s.Kind, s.Out = "bias", c.Delta.Shape[0]
			tensors[changeKey(i, "delta")] = c.Delta
		}
		f.Changes = append(f.Changes, s)
	}
	for name, t := range p.State {
		tensors["state."+name] = t
	}
	if err := safetensors.Write(path, tensors, map[string]string{"format": patchFormat, "method": p.Method}); err != nil {
		return fmt.Errorf("models: saving patch %s: %w", path, err)
	}
	if err := os.RemoveAll(path + ".wraps"); err != nil {
		return fmt.Errorf("models: saving patch %s: %w", path, err)
	}
	for i, w := range p.Wraps {
		dir := wrapDir(path, i, w.Kind())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("models: saving patch %s: %w", path, err)
		}
		if err := w.Save(dir); err != nil {
			return fmt.Errorf("models: saving patch %s: wrap %s: %w", path, w.Kind(), err)
		}
		f.Wraps = append(f.Wraps, w.Kind())
	}
	var err error
	if f.SHA256, err = file.Hash(path); err != nil {
		return fmt.Errorf("models: saving patch %s: %w", path, err)
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("models: saving patch %s: %w", path, err)
	}
	if err := file.Write(Sidecar(path), append(data, '\n')); err != nil {
		return fmt.Errorf("models: saving patch %s: %w", path, err)
	}
	return nil
}

// LoadPatch reads a patch that Save wrote. decoders holds one function per kind
// of wrap the patch may carry. It returns ErrPatchFile when the files do not
// belong together; whether the patch suits a model is asked of LM.Fits.
func LoadPatch(path string, decoders map[string]WrapDecoder) (*Patch, PatchMeta, error) {
	fail := func(err error) (*Patch, PatchMeta, error) {
		return nil, PatchMeta{}, fmt.Errorf("models: loading patch %s: %w", path, err)
	}
	data, err := os.ReadFile(Sidecar(path))
	if errors.Is(err, fs.ErrNotExist) {
		return fail(fmt.Errorf("%w: %s is missing; saving was interrupted or only one of the files was copied", ErrPatchFile, filepath.Base(Sidecar(path))))
	}
	if err != nil {
		return fail(err)
	}
	var f patchFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fail(fmt.Errorf("%w: %s: %w", ErrPatchFile, filepath.Base(Sidecar(path)), err))
	}
	if f.Format != patchFormat || f.Version != patchVersion {
		return fail(fmt.Errorf("%w: format %q version %d, this program reads %q version %d", ErrPatchFile, f.Format, f.Version, patchFormat, patchVersion))
	}
	sum, err := file.Hash(path)
	if err != nil {
		return fail(err)
	}
	if sum != f.SHA256 {
		return fail(fmt.Errorf("%w: the tensors' digest is not the one in the JSON file", ErrPatchFile))
	}
	tensors, _, err := safetensors.Read(path)
	if err != nil {
		return fail(err)
	}
	p := &Patch{Method: f.Method, Edits: f.Edits}
	for i, s := range f.Changes {
		c, err := s.read(i, tensors)
		if err != nil {
			return fail(fmt.Errorf("%w: change %d: %w", ErrPatchFile, i, err))
		}
		p.Changes = append(p.Changes, c)
	}
	for name, t := range tensors {
		if key, ok := strings.CutPrefix(name, "state."); ok {
			if p.State == nil {
				p.State = map[string]*tensor.Tensor{}
			}
			p.State[key] = t
		}
	}
	for i, kind := range f.Wraps {
		decode := decoders[kind]
		if decode == nil {
			known := make([]string, 0, len(decoders))
			for k := range decoders {
				known = append(known, k)
			}
			sort.Strings(known)
			return fail(fmt.Errorf("wrap of unknown kind %q; known are %v", kind, known))
		}
		w, err := decode(wrapDir(path, i, kind))
		if err != nil {
			return fail(fmt.Errorf("wrap %s: %w", kind, err))
		}
		p.Wraps = append(p.Wraps, w)
	}
	return p, f.Meta, nil
}

// read rebuilds one change and checks it against its entry.
func (s savedChange) read(i int, tensors map[string]*tensor.Tensor) (Change, error) {
	at, err := arch.ParseWeightID(s.Weight)
	if err != nil {
		return nil, err
	}
	take := func(part string, want ...int) (*tensor.Tensor, error) {
		t := tensors[changeKey(i, part)]
		if t == nil {
			return nil, fmt.Errorf("tensor %s is missing", changeKey(i, part))
		}
		if !slices.Equal(t.Shape, want) {
			return nil, fmt.Errorf("tensor %s is %v, listed as %v", changeKey(i, part), t.Shape, want)
		}
		return t, nil
	}
	switch s.Kind {
	case "low_rank":
		u, err := take("u", s.In, s.Rank)
		if err != nil {
			return nil, err
		}
		v, err := take("v", s.Rank, s.Out)
		if err != nil {
			return nil, err
		}
		return LowRank{At: at, U: u, V: v}, nil
	case "dense":
		d, err := take("delta", s.In, s.Out)
		if err != nil {
			return nil, err
		}
		return Dense{At: at, Delta: d}, nil
	case "bias":
		d, err := take("delta", s.Out)
		if err != nil {
			return nil, err
		}
		return Bias{At: at, Delta: d}, nil
	}
	return nil, fmt.Errorf("unknown kind %q", s.Kind)
}

// wellFormed checks that the shapes of one change agree with each other.
func wellFormed(c Change) error {
	misfit := func(want, have any) error {
		return &MisfitError{What: c.change().String(), Want: fmt.Sprint(want), Have: fmt.Sprint(have)}
	}
	switch c := c.(type) {
	case LowRank:
		if c.U == nil || c.V == nil || len(c.U.Shape) != 2 || len(c.V.Shape) != 2 || !c.U.IsFloat() || !c.V.IsFloat() {
			return misfit("factors U [in, r] and V [r, out] of floats", "something else")
		}
		if c.U.Shape[1] != c.V.Shape[0] {
			return misfit(fmt.Sprintf("U %v", c.U.Shape), fmt.Sprintf("V %v", c.V.Shape))
		}
	case Dense:
		if c.Delta == nil || len(c.Delta.Shape) != 2 || !c.Delta.IsFloat() {
			return misfit("a matrix [in, out] of floats", "something else")
		}
	case Bias:
		if c.Delta == nil || len(c.Delta.Shape) != 1 || !c.Delta.IsFloat() {
			return &MisfitError{What: biasOf(c.At), Want: "a vector [out] of floats", Have: "something else"}
		}
	}
	return nil
}
