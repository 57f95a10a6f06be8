package arch

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"editpipe/lfs"
	"editpipe/models/folder"
	"editpipe/models/ports"
	"editpipe/onnx"
)

// Info is what can be said about a model without running it.
type Info struct {
	Dir            string   `json:"dir"`
	Name           string   `json:"name"`
	Family         string   `json:"family"` // model_type of config.json
	Arch           string   `json:"arch"`   // decoder, encoder-decoder; with the feed-forward kind
	EncoderDecoder bool     `json:"encoder_decoder"`
	Layers         int      `json:"layers"` // of the decoder
	EncoderLayers  int      `json:"encoder_layers,omitempty"`
	Width          int      `json:"width"`
	FFNWidth       int      `json:"ffn_width"`
	Vocab          int      `json:"vocab"`
	Context        int      `json:"context"`                // most positions; 0 when unbounded
	ContextFrom    string   `json:"context_from,omitempty"` // what bounds the positions
	DType          string   `json:"dtype"`                  // of the weights
	Files          []string `json:"files"`                  // graphs in use
	Others         string   `json:"others,omitempty"`       // the same graph in other number formats, not in use
	Tokenizer      bool     `json:"tokenizer"`
	TokenizerFile  string   `json:"tokenizer_file,omitempty"`
	TokenizerFault string   `json:"tokenizer_fault,omitempty"` // why it cannot be used; "" if it can
	Warnings       []string `json:"warnings,omitempty"`        // what is odd and does no harm by itself
	Opset          int64    `json:"opset"`
	IR             int64    `json:"ir"`
	FFNs           []FFN    `json:"ffns"` // decoder first
	Scoring        string   `json:"scoring"`
	Generation     string   `json:"generation"`
	Dense          string   `json:"dense"`    // how dense patches are applied
	Refusals       []string `json:"refusals"` // what cannot be done, and why
	// NoGradient says why losses cannot be differentiated; "" if they can, and
	// until package models has looked.
	NoGradient string `json:"no_gradient,omitempty"`
}

// Weight returns the description of a weight, nil if the model has no such.
func (i *Info) Weight(id WeightID) *Weight {
	for k := range i.FFNs {
		if f := &i.FFNs[k]; f.Side == id.Side && f.Layer == id.Layer {
			return f.Weight(id.Part)
		}
	}
	return nil
}

// FFN returns the block of a layer, nil if the model has no such.
func (i *Info) FFN(side Side, layer int) *FFN {
	for k := range i.FFNs {
		if f := &i.FFNs[k]; f.Side == side && f.Layer == layer {
			return f
		}
	}
	return nil
}

// Anatomy is an opened model folder: its graphs and what was found in them.
type Anatomy struct {
	Layout  folder.Layout
	Config  folder.Config
	Forward *Graph // decoder over whole sequences
	Step    *Graph // decoder with past keys and values; may be Forward, nil if none
	Encoder *Graph // nil for decoder-only models
	Info    Info

	opened []*onnx.Model
}

// Close releases the files of the graphs. Weights read from them become invalid.
func (a *Anatomy) Close() error {
	var errs []error
	for _, m := range a.opened {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// Open reads the graphs of a model folder, or of one .onnx file, and looks for
// the parts. The configuration is config.json or genai_config.json, beside the
// graphs or one folder up.
func Open(path string) (*Anatomy, error) {
	layout, config, err := folder.Read(path)
	if err != nil {
		return nil, err
	}
	a := &Anatomy{Layout: layout, Config: config}
	if err := a.graphs(); err != nil {
		a.Close()
		return nil, err
	}
	a.describe()
	return a, nil
}

func (a *Anatomy) graphs() error {
	var err error
	open := func(path string, side Side, past bool) (g *Graph) {
		if err == nil {
			if g, err = open(path, side, past); err == nil {
				a.opened = append(a.opened, g.Model)
			}
		}
		return g
	}
	if a.Forward = open(a.Layout.Forward, Decoder, false); err != nil {
		return err
	}
	switch {
	case a.Forward.merged:
		a.Layout.Step = a.Layout.Forward
		a.Step = open(a.Layout.Step, Decoder, true)
	case len(a.Forward.Ports.Past) > 0 && a.Layout.Encoder == "":
		a.Step, a.Layout.Step = a.Forward, a.Layout.Forward
	case a.Layout.Step != "":
		a.Step = open(a.Layout.Step, Decoder, true)
	}
	if a.Layout.Encoder != "" {
		a.Encoder = open(a.Layout.Encoder, Encoder, false)
	}
	for _, g := range []*Graph{a.Forward, a.Step} {
		if g != nil && err == nil {
			if err = g.Ports.Configure(a.Config); err != nil {
				err = fmt.Errorf("%s: %w", g.Path, err)
			}
		}
	}
	return err
}

// branchInput chooses between the two forms of a merged decoder.
const branchInput = "use_cache_branch"

// open reads and analyses one graph. Of a merged decoder it takes the branch
// with or without past keys and values.
func open(path string, side Side, past bool) (*Graph, error) {
	m, err := onnx.Open(path)
	switch {
	case errors.Is(err, onnx.ErrExternal), errors.Is(err, lfs.ErrPointer):
		return nil, fmt.Errorf("opening %s: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("opening %s: %w: the file is damaged or incomplete; export or copy it again", path, err)
	}
	merged := m.Graph.Index().Input(branchInput) != nil
	if merged {
		if err := m.SelectBranch(branchInput, past); err != nil {
			return nil, errors.Join(fmt.Errorf("choosing a branch of %s: %w", path, err), m.Close())
		}
	}
	g, err := Analyse(path, m, side)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	g.merged = merged
	return g, nil
}

// Branches returns the graphs that a file holds, as they run: copies of a merged
// decoder with either branch, of others the model itself.
func Branches(m *onnx.Model) ([]*onnx.Model, error) {
	if m.Graph.Index().Input(branchInput) == nil {
		return []*onnx.Model{m}, nil
	}
	var forms []*onnx.Model
	for _, past := range []bool{false, true} {
		c := m.Clone()
		if err := c.SelectBranch(branchInput, past); err != nil {
			return nil, err
		}
		forms = append(forms, c)
	}
	return forms, nil
}

// describe fills Info.
func (a *Anatomy) describe() {
	c, f := a.Config, a.Forward
	i := &a.Info
	*i = Info{
		Dir: a.Layout.Dir, Name: a.Layout.Name, Family: c.ModelType, EncoderDecoder: a.Encoder != nil,
		Layers: c.Layers, Width: c.Width, FFNWidth: c.FFNWidth, Vocab: c.Vocab,
		Opset: f.Model.Opset(""), IR: f.Model.IRVersion, Tokenizer: a.Layout.Tokenizer != "", TokenizerFile: a.Layout.Tokenizer,
		Others: a.Layout.Others,
	}
	if f.Ports.Vocab > 0 {
		i.Vocab = f.Ports.Vocab
	}
	a.context()
	i.FFNs = append(i.FFNs, f.FFNs...)
	a.checkLayers(Decoder, f.FFNs, c.Layers)
	if i.Layers == 0 {
		i.Layers = len(f.FFNs)
	}
	if a.Encoder != nil {
		i.EncoderLayers = c.EncoderLayers
		i.FFNs = append(i.FFNs, a.Encoder.FFNs...)
		a.checkLayers(Encoder, a.Encoder.FFNs, c.EncoderLayers)
	}
	if a.Step != nil && a.Step != a.Forward {
		if len(a.Step.FFNs) != len(f.FFNs) {
			a.refuse("%s shows %d feed-forward blocks where %s shows %d: generation through patches runs without the cache", filepath.Base(a.Step.Path), len(a.Step.FFNs), filepath.Base(f.Path), len(f.FFNs))
			a.dropStep()
		} else if why := a.firstCaches(); a.Encoder != nil && why != "" {
			a.refuse("%s: generation runs without the cache", why)
			a.dropStep()
		}
	}
	if a.Step != nil {
		if why := a.Step.Ports.Uncached(a.Encoder != nil); why != "" {
			a.refuse("%s: %s: generation runs without the cache", filepath.Base(a.Step.Path), why)
			a.dropStep()
		}
	}
	for _, p := range []string{a.Layout.Forward, a.Layout.Step, a.Layout.Encoder} {
		if p == "" {
			continue
		}
		rel, err := filepath.Rel(a.Layout.Dir, p)
		if err != nil {
			rel = p
		}
		if len(i.Files) == 0 || i.Files[len(i.Files)-1] != rel {
			i.Files = append(i.Files, rel)
		}
	}
	kind := "decoder"
	if a.Encoder != nil {
		kind = "encoder-decoder"
	}
	if len(i.FFNs) > 0 {
		d := i.FFNs[0]
		i.DType = d.Down.DType
		i.Width, i.FFNWidth = d.Down.Out, d.Down.In
		if d.Gate != nil {
			kind += ", gated feed-forward"
		} else {
			kind += ", plain feed-forward"
		}
	}
	if i.DType == "" {
		i.DType = f.Ports.LogitsType.String()
	}
	i.Arch = kind
	for k := range i.FFNs {
		for _, p := range []Part{FFNDown, FFNUp, FFNGate} {
			if w := i.FFNs[k].Weight(p); w != nil && !w.Editable {
				a.refuse("%s: %s", w.ID, w.Why)
			}
		}
	}
	a.modes()
}

// context sets the most positions a model can take in, and where the number
// comes from: the configuration's or that of the shortest table of positions,
// whichever is smaller.
func (a *Anatomy) context() {
	i, c := &a.Info, a.Config.Context
	if i.Context = c; c > 0 {
		i.ContextFrom = a.Config.Main()
	}
	for _, g := range []*Graph{a.Forward, a.Step} {
		if g == nil || g.positions.Rows == 0 || i.Context > 0 && g.positions.Rows >= i.Context {
			continue
		}
		i.Context = g.positions.Rows
		i.ContextFrom = fmt.Sprintf("rows of %s", g.positions.Name)
		if c > 0 {
			i.ContextFrom += fmt.Sprintf("; %s says %d", a.Config.Main(), c)
		}
	}
}

// firstCaches finds, for every cache of a decoder that reads an encoder, the
// output of the graph without past that begins it: that graph alone knows the
// encoder's keys and values. It says what is missing.
func (a *Anatomy) firstCaches() (why string) {
	have := map[string]bool{}
	for _, o := range a.Forward.Model.Graph.Outputs {
		have[o.Name] = true
	}
	for i := range a.Step.Ports.Past {
		p := &a.Step.Ports.Past[i]
		for _, name := range ports.Presents(p.In) {
			if have[name] {
				p.First = name
				break
			}
		}
		if p.First == "" {
			return fmt.Sprintf("%s has no output that begins %q of %s", filepath.Base(a.Forward.Path), p.In, filepath.Base(a.Step.Path))
		}
		if p.Out == "" && !p.Cross {
			return fmt.Sprintf("%s has no output that extends %q", filepath.Base(a.Step.Path), p.In)
		}
	}
	return ""
}

// dropStep does without the graph that takes past keys and values.
func (a *Anatomy) dropStep() {
	a.Step, a.Layout.Step = nil, ""
}

// checkLayers compares the blocks found with the configuration's count. Where
// they differ the numbers cannot be trusted, so nothing is editable.
func (a *Anatomy) checkLayers(side Side, found []FFN, want int) {
	if want == 0 || len(found) == want {
		return
	}
	why := fmt.Sprintf("%s counts %d %s layers, the graph shows %d feed-forward blocks of a known form", a.Config.Main(), want, side, len(found))
	if op := a.Forward.experts(); op != "" && side == Decoder {
		why += fmt.Sprintf(" and mixtures of experts (%s), which cannot be changed", op)
	}
	a.refuse("%s", why)
	for k := range a.Info.FFNs {
		f := &a.Info.FFNs[k]
		if f.Side != side {
			continue
		}
		for _, p := range []Part{FFNDown, FFNUp, FFNGate} {
			if w := f.Weight(p); w != nil {
				w.refuse(why)
			}
		}
	}
}

// experts is the operator of a graph's mixtures of experts, "" if it has none.
func (g *Graph) experts() string {
	for _, n := range g.Model.Graph.Nodes {
		if n.OpType == "MoE" || n.OpType == "QMoE" {
			return n.OpType
		}
	}
	return ""
}

func (a *Anatomy) refuse(format string, args ...any) {
	a.Info.Refusals = append(a.Info.Refusals, fmt.Sprintf(format, args...))
}

// modes says how scoring and generation will run.
func (a *Anatomy) modes() {
	p := a.Forward.Ports
	score := []string{filepath.Base(a.Forward.Path)}
	if len(p.Past) > 0 {
		score = append(score, "with an empty past")
	}
	if a.Forward.Head.X == "" {
		score = append(score, "head not recognised: logits of all positions are computed")
	} else {
		score = append(score, "logits of target positions only")
	}
	a.Info.Scoring = strings.Join(score, ", ")
	replaced, half, added := 0, 0, 0
	for _, f := range a.Info.FFNs {
		for _, p := range []Part{FFNDown, FFNUp, FFNGate} {
			switch w := f.Weight(p); {
			case w == nil || !w.Editable:
			case w.Overridable(false):
				replaced++
			case w.Overridable(true):
				half++
			default:
				added++
			}
		}
	}
	var dense []string
	for _, kind := range []struct {
		weights int
		how     string
	}{
		{replaced, "replaced for a run"},
		{half, "float16, replaced for a run by ONNX Runtime 1.30 or later and changed through added products before"},
		{added, "of other types, changed through added products"},
	} {
		if kind.weights > 0 {
			dense = append(dense, fmt.Sprintf("%d weights %s", kind.weights, kind.how))
		}
	}
	a.Info.Dense = strings.Join(dense, "; ")
	switch {
	case a.Encoder != nil && a.Step != nil:
		a.Info.Generation = "encoder once, " + filepath.Base(a.Step.Path) + ", cached keys and values"
	case a.Encoder != nil:
		a.Info.Generation = "encoder once, decoder re-run for every token (no graph with past keys and values)"
	case a.Step != nil && a.Step.Ports.Lengths:
		a.Info.Generation = filepath.Base(a.Step.Path) + ", cached keys and values, prompts of one length together: attention takes lengths in place of a mask"
	case a.Step != nil:
		a.Info.Generation = filepath.Base(a.Step.Path) + ", cached keys and values"
	default:
		a.Info.Generation = filepath.Base(a.Forward.Path) + ", whole sequence re-run for every token (no graph with past keys and values)"
	}
}
