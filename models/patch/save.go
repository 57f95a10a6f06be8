package patch

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

// A saved patch is two files and, if it has routes, a folder:
//
//	PATH             safetensors: change.N.u [in, r] and change.N.v [r, out] of
//	                 a product, change.N.delta [in, out] of a whole matrix, [out]
//	                 of a bias, N counting from 0000 in order;
//	                 splice.N.NAME for the parameters of networks, likewise;
//	                 state.NAME for the state
//	PATH.json        patchFile: format, method, edits, model, list of changes and
//	                 of splices
//	PATH.wraps/N-KIND/   what route N saved
//
// Files and keys are called what version 1 called them when a weight was a change
// and a route a wrap. The JSON file is written last and holds the digest of PATH,
// so a patch with a JSON file is complete. A file with splices is of version 2, so that
// programs that know none do not leave them out.

const (
	patchFormat   = "editpipe-patch"
	patchVersion  = 1
	spliceVersion = 2 // of a patch with splices
)

// ErrFile is returned when a saved patch is damaged or incomplete.
var ErrFile = errors.New("patch file is damaged")

// Meta says what a patch was made for and with. It is stored beside the
// patch; Fits compares it with a model.
type Meta struct {
	Model         string            `json:"model"`          // name, for people
	ModelHash     string            `json:"model_hash"`     // models.LM.Hash
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
	Meta    Meta          `json:"made_for"`
	Weights []savedWeight `json:"changes"`
	Splices []savedSplice `json:"splices,omitempty"`
	Routes  []string      `json:"wraps,omitempty"` // kinds, innermost first
}

type savedWeight struct {
	Kind   string `json:"kind"` // low_rank, dense, bias
	Weight string `json:"weight"`
	In     int    `json:"in"` // 0 for a bias
	Out    int    `json:"out"`
	Rank   int    `json:"rank,omitempty"`
}

type savedSplice struct {
	Kind  string           `json:"kind"`
	Site  string           `json:"site"`
	Where string           `json:"where"`
	Shape map[string][]int `json:"params"` // dimensions by name
}

// RouteDecoder reads back what Route.Save wrote.
type RouteDecoder func(dir string) (Route, error)

// Sidecar is the JSON file beside the patch at path.
func Sidecar(path string) string { return path + ".json" }

func routeDir(path string, i int, kind string) string {
	return filepath.Join(path+".wraps", strconv.Itoa(i)+"-"+kind)
}

func weightKey(i int, part string) string { return fmt.Sprintf("change.%04d.%s", i, part) }

func spliceKey(i int, param string) string { return fmt.Sprintf("splice.%04d.%s", i, param) }

// Save writes the patch to path and beside it.
func (p *Patch) Save(path string, meta Meta) error {
	f := patchFile{Format: patchFormat, Version: patchVersion, Method: p.Method, Edits: p.Edits, Meta: meta, Weights: []savedWeight{}}
	if f.Edits == nil {
		f.Edits = []string{}
	}
	tensors := map[string]*tensor.Tensor{}
	for i, w := range p.Weights {
		if err := w.Check(); err != nil {
			return fmt.Errorf("models: saving patch %s: change %d: %w", path, i, err)
		}
		s := savedWeight{Kind: "dense", Weight: w.At.String()}
		s.In, s.Out = w.Size()
		names := []string{"delta"}
		switch {
		case w.Bias:
			s.Kind = "bias"
		case !w.Dense():
			s.Kind, s.Rank, names = "low_rank", w.Rank(), []string{"u", "v"}
		}
		for k, t := range w.Tensors() {
			tensors[weightKey(i, names[k])] = t
		}
		f.Weights = append(f.Weights, s)
	}
	for i, s := range p.Splices {
		saved := savedSplice{Kind: s.Kind, Site: s.At.String(), Where: s.Where.String(), Shape: map[string][]int{}}
		for name, t := range s.Params {
			if t == nil || !t.IsFloat() {
				return fmt.Errorf("models: saving patch %s: splice %d: parameter %q is no tensor of floats", path, i, name)
			}
			tensors[spliceKey(i, name)], saved.Shape[name] = t, t.Shape
		}
		f.Splices, f.Version = append(f.Splices, saved), spliceVersion
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
	for i, r := range p.Routes {
		dir := routeDir(path, i, r.Kind())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("models: saving patch %s: %w", path, err)
		}
		if err := r.Save(dir); err != nil {
			return fmt.Errorf("models: saving patch %s: route %s: %w", path, r.Kind(), err)
		}
		f.Routes = append(f.Routes, r.Kind())
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

// Load reads a patch that Save wrote. decoders holds one function per kind
// of route the patch may carry. It returns ErrFile when the files do not
// belong together; whether the patch suits a model is asked of models.LM.Fits.
func Load(path string, decoders map[string]RouteDecoder) (*Patch, Meta, error) {
	fail := func(err error) (*Patch, Meta, error) {
		return nil, Meta{}, fmt.Errorf("models: loading patch %s: %w", path, err)
	}
	data, err := os.ReadFile(Sidecar(path))
	if errors.Is(err, fs.ErrNotExist) {
		return fail(fmt.Errorf("%w: %s is missing; saving was interrupted or only one of the files was copied", ErrFile, filepath.Base(Sidecar(path))))
	}
	if err != nil {
		return fail(err)
	}
	var f patchFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fail(fmt.Errorf("%w: %s: %w", ErrFile, filepath.Base(Sidecar(path)), err))
	}
	if f.Format != patchFormat || f.Version != patchVersion && f.Version != spliceVersion {
		return fail(fmt.Errorf("%w: format %q version %d, this program reads %q versions %d and %d", ErrFile, f.Format, f.Version, patchFormat, patchVersion, spliceVersion))
	}
	sum, err := file.Hash(path)
	if err != nil {
		return fail(err)
	}
	if sum != f.SHA256 {
		return fail(fmt.Errorf("%w: the tensors' digest is not the one in the JSON file", ErrFile))
	}
	tensors, _, err := safetensors.Read(path)
	if err != nil {
		return fail(err)
	}
	p := &Patch{Method: f.Method, Edits: f.Edits}
	for i, s := range f.Weights {
		w, err := s.read(i, tensors)
		if err != nil {
			return fail(fmt.Errorf("%w: change %d: %w", ErrFile, i, err))
		}
		p.Weights = append(p.Weights, w)
	}
	for i, s := range f.Splices {
		splice, err := s.read(i, tensors)
		if err != nil {
			return fail(fmt.Errorf("%w: splice %d: %w", ErrFile, i, err))
		}
		p.Splices = append(p.Splices, splice)
	}
	for name, t := range tensors {
		if key, ok := strings.CutPrefix(name, "state."); ok {
			if p.State == nil {
				p.State = map[string]*tensor.Tensor{}
			}
			p.State[key] = t
		}
	}
	for i, kind := range f.Routes {
		decode := decoders[kind]
		if decode == nil {
			known := make([]string, 0, len(decoders))
			for k := range decoders {
				known = append(known, k)
			}
			sort.Strings(known)
			return fail(fmt.Errorf("route of unknown kind %q; known are %v", kind, known))
		}
		r, err := decode(routeDir(path, i, kind))
		if err != nil {
			return fail(fmt.Errorf("route %s: %w", kind, err))
		}
		p.Routes = append(p.Routes, r)
	}
	return p, f.Meta, nil
}

// read rebuilds one addition and checks it against its entry.
func (s savedWeight) read(i int, tensors map[string]*tensor.Tensor) (Weight, error) {
	at, err := arch.ParseWeightID(s.Weight)
	if err != nil {
		return Weight{}, err
	}
	take := func(part string, want ...int) *tensor.Tensor {
		t := tensors[weightKey(i, part)]
		switch {
		case err != nil:
		case t == nil:
			err = fmt.Errorf("tensor %s is missing", weightKey(i, part))
		case !slices.Equal(t.Shape, want):
			err = fmt.Errorf("tensor %s is %v, listed as %v", weightKey(i, part), t.Shape, want)
		}
		return t
	}
	w := Weight{At: at, Bias: s.Kind == "bias"}
	switch s.Kind {
	case "low_rank":
		w.U, w.V = take("u", s.In, s.Rank), take("v", s.Rank, s.Out)
	case "dense":
		w.Delta = take("delta", s.In, s.Out)
	case "bias":
		w.Delta = take("delta", s.Out)
	default:
		return Weight{}, fmt.Errorf("unknown kind %q", s.Kind)
	}
	return w, err
}

// read rebuilds one splice and checks it against its entry.
func (s savedSplice) read(i int, tensors map[string]*tensor.Tensor) (Splice, error) {
	at, err := arch.ParseSite(s.Site)
	if err != nil {
		return Splice{}, err
	}
	where, err := parseWhere(s.Where)
	if err != nil {
		return Splice{}, err
	}
	splice := Splice{At: at, Kind: s.Kind, Params: map[string]*tensor.Tensor{}, Where: where}
	for name, want := range s.Shape {
		t := tensors[spliceKey(i, name)]
		switch {
		case t == nil:
			return Splice{}, fmt.Errorf("tensor %s is missing", spliceKey(i, name))
		case !t.IsFloat() || !slices.Equal(t.Shape, want):
			return Splice{}, fmt.Errorf("tensor %s is %s %v, listed as floats %v", spliceKey(i, name), t.DType, t.Shape, want)
		}
		splice.Params[name] = t
	}
	return splice, nil
}
