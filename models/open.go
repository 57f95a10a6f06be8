package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"editpipe/file"
	"editpipe/models/arch"
	"editpipe/models/ports"
	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/tensor"
	"editpipe/token"
)

// DefaultMemoryBudget is what one run may hold beside the weights when
// Options.MemoryBudget is 0.
const DefaultMemoryBudget = 1 << 30

// Budget is what one run may hold beside the weights, in bytes.
func (lm *LM) Budget() int64 { return lm.opts.MemoryBudget }

// scorerVersion changes when an answer to the same question would change.
const scorerVersion = "tf2"

// Options say how a model is opened. The zero value runs on the CPU.
type Options struct {
	Provider ort.Provider
	Threads  int // 0: one per physical core
	// MemoryBudget bounds the bytes of activations, logits and factors of one
	// run; 0 means DefaultMemoryBudget. It decides how many rows share a run,
	// never what they answer.
	MemoryBudget     int64
	NoMemoryPatterns bool   // see ort.Options
	Name             string // what results call the model; "" takes the folder's name
}

// LM is an opened language model. It is safe for concurrent use; runs of one
// session may overlap.
type LM struct {
	env     *ort.Env
	opts    Options
	anatomy *arch.Anatomy
	info    arch.Info
	tok     *token.Tokenizer
	text    texts // how the tokenizer frames a text
	hash    string

	mu        sync.Mutex
	closed    bool
	sessions  map[variant]*session
	abandoned []abandoned
	trial     trial
}

// session is one instrumented graph on the runtime; it is built by the first
// caller that needs it while the others wait.
type session struct {
	once sync.Once
	run  atomic.Pointer[ort.Session] // nil until built
	err  error
}

// Inspect reads a model folder, or one .onnx file with its configuration beside it
// or one folder up, without running anything. It works without a tokenizer.
func Inspect(dir string) (*arch.Info, error) {
	a, err := arch.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	defer a.Close()
	if _, _, err := readTokenizer(&a.Info); err != nil {
		a.Info.TokenizerFault = err.Error()
	}
	a.Info.NoGradient = noGradient(a)
	return &a.Info, nil
}

// Open opens a model folder on a runtime. Sessions are built when they are
// first needed. The folder's tokenizer.json is read if there is one.
func Open(ctx context.Context, env *ort.Env, dir string, o Options) (*LM, error) {
	a, err := arch.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	a.Info.NoGradient = noGradient(a)
	lm := &LM{env: env, opts: o, anatomy: a, info: a.Info, sessions: map[variant]*session{}}
	if err := lm.prepare(ctx); err != nil {
		a.Close()
		return nil, fmt.Errorf("models: opening %s: %w", dir, err)
	}
	return lm, nil
}

func (lm *LM) prepare(ctx context.Context) error {
	if lm.opts.MemoryBudget <= 0 {
		lm.opts.MemoryBudget = DefaultMemoryBudget
	}
	if lm.opts.Name != "" {
		lm.info.Name = lm.opts.Name
	}
	if lm.opts.Provider.Name == "" {
		lm.opts.Provider.Name = "cpu"
	}
	if lm.info.Vocab <= 0 {
		return fmt.Errorf("%w: the vocabulary size is neither in the graph nor in config.json", ports.ErrGraph)
	}
	if lm.anatomy.Encoder != nil && lm.anatomy.Config.DecoderStart == nil {
		return fmt.Errorf("config.json of an encoder-decoder model needs decoder_start_token_id")
	}
	var err error
	if lm.tok, lm.text, err = readTokenizer(&lm.info); err != nil {
		return err
	}
	lm.hash, err = lm.digest(ctx)
	return err
}

// digest hashes the graphs in use, their external data and the configuration.
func (lm *LM) digest(ctx context.Context) (string, error) {
	h := sha256.New()
	done := map[string]bool{}
	add := func(role, path string) error {
		if done[path] {
			return nil
		}
		done[path] = true
		if err := ctx.Err(); err != nil {
			return err
		}
		one, err := file.Hash(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %s\n", role, one)
		return nil
	}
	for _, path := range lm.anatomy.Config.Files {
		if err := add("config", path); err != nil {
			return "", err
		}
	}
	for i, g := range []*arch.Graph{lm.anatomy.Forward, lm.anatomy.Step, lm.anatomy.Encoder} {
		if g == nil {
			continue
		}
		role := [...]string{"forward", "step", "encoder"}[i]
		if err := add(role, g.Path); err != nil {
			return "", err
		}
		for _, ext := range g.Model.ExternalFiles() {
			if err := add(role+" data", filepath.Join(filepath.Dir(g.Path), ext)); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Close frees the sessions and releases the model's files.
func (lm *LM) Close() error {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	if lm.closed {
		return nil
	}
	lm.closed = true
	var errs []error
	for _, s := range lm.sessions {
		s.once.Do(func() { s.err = ErrClosed }) // one that is being built finishes first
		if run := s.run.Load(); run != nil {
			errs = append(errs, run.Close())
		}
	}
	errs = append(errs, lm.anatomy.Close())
	return errors.Join(errs...)
}

// session returns the runtime session of a variant, building it if need be.
func (lm *LM) session(ctx context.Context, v variant) (*ort.Session, error) {
	if v.role == step && lm.anatomy.Step == lm.anatomy.Forward {
		v.role = forward
	}
	lm.mu.Lock()
	if lm.closed {
		lm.mu.Unlock()
		return nil, fmt.Errorf("models: %w", ErrClosed)
	}
	s := lm.sessions[v]
	if s == nil {
		s = &session{}
		lm.sessions[v] = s
	}
	lm.mu.Unlock()
	s.once.Do(func() {
		run, err := lm.build(ctx, v)
		s.run.Store(run)
		s.err = err
	})
	if s.err != nil && ctx.Err() == nil {
		// A build cut short by its caller's context must not poison the others'.
		if errors.Is(s.err, context.Canceled) || errors.Is(s.err, context.DeadlineExceeded) {
			lm.mu.Lock()
			if lm.sessions[v] == s {
				delete(lm.sessions, v)
			}
			lm.mu.Unlock()
			return lm.session(ctx, v)
		}
	}
	return s.run.Load(), s.err
}

func (lm *LM) build(ctx context.Context, v variant) (*ort.Session, error) {
	g := lm.graph(v.role)
	m, err := lm.instrument(v)
	if err != nil {
		return nil, fmt.Errorf("models: instrumenting %s: %w", g.Path, err)
	}
	if v.half != whole {
		first, second, err := split(m, v.loss.changing())
		if err != nil {
			return nil, fmt.Errorf("models: splitting %s: %w", g.Path, err)
		}
		if m = first; v.half == moving {
			m = second
		}
	}
	return lm.startWith(ctx, m, g.Path, lm.threads(v))
}

// start opens a session of a graph that was made from the file at path.
func (lm *LM) start(ctx context.Context, m *onnx.Model, path string) (*ort.Session, error) {
	return lm.startWith(ctx, m, path, lm.opts.Threads)
}

// startWith is start with a number of threads.
func (lm *LM) startWith(ctx context.Context, m *onnx.Model, path string, threads int) (*ort.Session, error) {
	o := ort.Options{Provider: lm.opts.Provider, Threads: threads, NoMemoryPatterns: lm.opts.NoMemoryPatterns}
	if len(m.ExternalFiles()) > 0 {
		// Mapped weights are shared by all sessions as long as none repacks them.
		o.DisablePrepacking = true
		var err error
		if m, o.ExternalDir, err = m.Located(); err != nil {
			return nil, fmt.Errorf("models: starting a session for %s: %w", path, err)
		}
	}
	data, err := m.Bytes()
	if err != nil {
		return nil, fmt.Errorf("models: serialising %s: %w", path, err)
	}
	s, err := lm.env.NewSession(ctx, data, o)
	if err != nil {
		return nil, fmt.Errorf("models: starting a session for %s: %w", path, err)
	}
	return s, nil
}

// Info says what the model is made of.
func (lm *LM) Info() *arch.Info { return &lm.info }

// Name is what results call the model.
func (lm *LM) Name() string { return lm.info.Name }

// Hash is the SHA-256, in hex, over the graphs in use, their external data and
// config.json. Folder and file names do not enter.
func (lm *LM) Hash() string { return lm.hash }

// Tokenizer returns the folder's tokenizer, nil if it has none.
func (lm *LM) Tokenizer() *token.Tokenizer { return lm.tok }

// TokenizerHash is the tokenizer's hash, "" if the folder has none.
func (lm *LM) TokenizerHash() string {
	if lm.tok == nil {
		return ""
	}
	return lm.tok.Hash()
}

// Context is the most tokens the model can take in, 0 when unbounded.
func (lm *LM) Context() int { return lm.info.Context }

// EOS lists the tokens that end a generation, from the model's configuration.
func (lm *LM) EOS() []int64 { return lm.anatomy.Config.EOS }

// ProtocolID names everything that decides an answer beside the model, the
// question and the patch: version of the scorer, join rule, padding, provider
// with its options, number format and whether reduced-precision products
// (TF32) are allowed.
func (lm *LM) ProtocolID() string {
	tf32 := "off"
	switch {
	case lm.opts.Provider.Name != "cuda" && lm.opts.Provider.Name != "tensorrt":
		tf32 = "n/a"
	case lm.opts.Provider.Options["use_tf32"] == "1":
		tf32 = "on"
	}
	join := "space-prefix-checked"
	if lm.anatomy.Encoder != nil {
		join = "encoder-prompt"
	}
	return strings.Join([]string{
		"scorer=" + scorerVersion, "join=" + join, "padding=right",
		"provider=" + lm.opts.Provider.String(), "dtype=" + lm.info.DType, "tf32=" + tf32,
	}, ";")
}

// editable returns ErrNotEditable with a reason if a weight cannot be changed.
func (lm *LM) editable(id arch.WeightID) error {
	return Lacks(&lm.info, Need{Edits: []arch.WeightID{id}})
}

// biased returns ErrNotEditable with a reason if the bias of a weight cannot be
// changed, where the weight itself can.
func (lm *LM) biased(id arch.WeightID) error {
	w, why := lm.info.Weight(id), ""
	if value, missing := lm.info.FFN(id.Side, id.Layer).Value(arch.FFNOut); value == "" {
		why = missing
	}
	switch {
	case id.Part != arch.FFNDown:
		why = "only biases of down-projections can be changed"
	case w.Bias == "":
		why = "the model has none"
	}
	if why != "" {
		return fmt.Errorf("%w: %s: %s", ErrNotEditable, biasOf(id), why)
	}
	return nil
}

// weightIn is a weight's description within the graph of a role; names of
// initializers differ between the files of one model.
func (lm *LM) weightIn(r role, id arch.WeightID) *arch.Weight {
	for _, f := range lm.graph(r).FFNs {
		if f.Side == id.Side && f.Layer == id.Layer {
			return f.Weight(id.Part)
		}
	}
	return nil
}

// Weight returns a copy of a weight as float32 [in, out], whatever the stored
// orientation and type.
func (lm *LM) Weight(id arch.WeightID) (*tensor.Tensor, error) {
	if err := lm.editable(id); err != nil {
		return nil, err
	}
	r := forward
	if id.Side == arch.Encoder {
		r = encode
	}
	w, err := lm.stored(r, id, lm.weightIn(r, id).Initializer)
	if err != nil {
		return nil, err
	}
	if w, err = w.Convert(tensor.F32); err != nil {
		return nil, fmt.Errorf("models: reading %s: %w", id, err)
	}
	if lm.weightIn(r, id).Transposed {
		if w, err = w.Transpose2D(); err != nil {
			return nil, fmt.Errorf("models: reading %s: %w", id, err)
		}
		return w, nil
	}
	return w.Clone(), nil
}

// Bias returns a copy of the bias of a down-projection as float32 [out]. It
// returns ErrNotEditable where one cannot be changed.
func (lm *LM) Bias(id arch.WeightID) (*tensor.Tensor, error) {
	if err := lm.editable(id); err != nil {
		return nil, err
	}
	if err := lm.biased(id); err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	r := forward
	if id.Side == arch.Encoder {
		r = encode
	}
	b, err := lm.stored(r, id, lm.weightIn(r, id).Bias)
	if err != nil {
		return nil, err
	}
	if b, err = b.Convert(tensor.F32); err != nil {
		return nil, fmt.Errorf("models: reading the %s: %w", biasOf(id), err)
	}
	return tensor.FromFloat32s(slices.Clone(b.Float32s()), b.Len()), nil
}

// stored returns an initializer of a weight as the file of a role holds it.
func (lm *LM) stored(r role, id arch.WeightID, name string) (*tensor.Tensor, error) {
	g := lm.graph(r)
	for _, t := range g.Model.Graph.Initializers {
		if t.Name == name {
			v, err := t.Value()
			if err != nil {
				return nil, fmt.Errorf("models: reading %s from %s: %w", id, g.Path, err)
			}
			return v, nil
		}
	}
	return nil, fmt.Errorf("models: reading %s: %w: no initializer %q in %s", id, onnx.ErrUndefined, name, g.Path)
}

// Fits checks that a saved patch was made for this model: same hash, same
// tokenizer, weights that exist and have the shapes of what is added. It returns
// a *MisfitError or ErrNotEditable.
func (lm *LM) Fits(p *Patch, meta PatchMeta) error {
	if meta.ModelHash != lm.hash {
		return &MisfitError{What: "model hash", Want: meta.ModelHash, Have: lm.hash}
	}
	if meta.TokenizerHash != lm.TokenizerHash() {
		return &MisfitError{What: "tokenizer hash", Want: meta.TokenizerHash, Have: lm.TokenizerHash()}
	}
	return lm.accepts(p)
}

// accepts checks all that a patch adds against the model's weights.
func (lm *LM) accepts(p *Patch) error {
	if p == nil {
		return nil
	}
	for _, w := range p.Weights {
		if err := w.check(); err != nil {
			return err
		}
		if err := lm.editable(w.At); err != nil {
			return err
		}
		to := lm.info.Weight(w.At)
		in, out := w.Size()
		if w.Bias {
			if err := lm.biased(w.At); err != nil {
				return fmt.Errorf("models: %w", err)
			}
			if out != to.Out {
				return &MisfitError{What: w.place(), Want: fmt.Sprintf("[%d]", out), Have: fmt.Sprintf("[%d]", to.Out)}
			}
		} else if in != to.In || out != to.Out {
			return &MisfitError{What: w.place(), Want: fmt.Sprintf("[%d %d]", in, out), Have: fmt.Sprintf("[%d %d]", to.In, to.Out)}
		}
	}
	return nil
}
