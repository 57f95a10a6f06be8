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
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/ports"
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
	tok     *token.Tokenizer
	hash    string

	mu        sync.Mutex
	closed    bool
	sessions  map[started]*session
	abandoned []abandoned
	trials    trials
}

// started names a session: a graph, with its share of the threads.
type started struct {
	graph.Spec
	lanes int
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
	if _, err := readTokenizer(&a.Info); err != nil {
		a.Info.TokenizerFault = err.Error()
	}
	a.Info.NoGradient = graph.NoGradient(a)
	return &a.Info, nil
}

// Open opens a model folder on a runtime. Sessions are built when they are
// first needed. The folder's tokenizer.json is read if there is one.
func Open(ctx context.Context, env *ort.Env, dir string, o Options) (*LM, error) {
	a, err := arch.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	a.Info.NoGradient = graph.NoGradient(a)
	lm := &LM{env: env, opts: o, anatomy: a, sessions: map[started]*session{}}
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
		lm.anatomy.Info.Name = lm.opts.Name
	}
	if lm.opts.Provider.Name == "" {
		lm.opts.Provider.Name = "cpu"
	}
	if lm.anatomy.Info.Vocab <= 0 {
		return fmt.Errorf("%w: the vocabulary size is neither in the graph nor in config.json", ports.ErrGraph)
	}
	if lm.anatomy.Encoder != nil && lm.anatomy.Config.DecoderStart == nil {
		return fmt.Errorf("config.json of an encoder-decoder model needs decoder_start_token_id")
	}
	var err error
	if lm.tok, err = readTokenizer(&lm.anatomy.Info); err != nil {
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

// Session returns the session of an instrumented graph, which is built when it is
// first asked for and kept for as long as the model is open. lanes is how many
// sessions are used side by side, each with its share of the threads; one that is
// used alone, 0 or 1, has them all.
func (lm *LM) Session(ctx context.Context, s graph.Spec, lanes int) (*ort.Session, error) {
	if s.Role == arch.Step && lm.anatomy.Step == lm.anatomy.Forward {
		s.Role = arch.Forward
	}
	return lm.session(ctx, started{s, max(lanes, 1)})
}

func (lm *LM) session(ctx context.Context, v started) (*ort.Session, error) {
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
		threads := lm.opts.Threads
		if v.lanes > 1 {
			threads = max(lm.Lanes()/v.lanes, 1)
		}
		run, err := lm.start(ctx, v.Spec, threads)
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

// Lanes is how many sessions are best used side by side, given enough rows: one per
// thread of the processor, since most kernels of a search are too short to be
// divided; other providers take one after another.
func (lm *LM) Lanes() int {
	if lm.opts.Provider.Name != "cpu" {
		return 1
	}
	if lm.opts.Threads > 0 {
		return lm.opts.Threads
	}
	return ort.DefaultThreads()
}

// OwnSession is Session for a caller that keeps the session to itself and closes
// it before the model.
func (lm *LM) OwnSession(ctx context.Context, s graph.Spec) (*ort.Session, error) {
	return lm.start(ctx, s, lm.opts.Threads)
}

// start builds a graph and opens a session of it.
func (lm *LM) start(ctx context.Context, s graph.Spec, threads int) (*ort.Session, error) {
	path := lm.anatomy.Graph(s.Role).Path
	m, err := graph.Build(lm.anatomy, s)
	if err != nil {
		return nil, fmt.Errorf("models: instrumenting %s: %w", path, err)
	}
	o := ort.Options{Provider: lm.opts.Provider, Threads: threads, NoMemoryPatterns: lm.opts.NoMemoryPatterns}
	if len(m.ExternalFiles()) > 0 {
		// Mapped weights are shared by all sessions as long as none repacks them.
		o.DisablePrepacking = true
		if m, o.ExternalDir, err = m.Located(); err != nil {
			return nil, fmt.Errorf("models: starting a session for %s: %w", path, err)
		}
	}
	data, err := m.Bytes()
	if err != nil {
		return nil, fmt.Errorf("models: serialising %s: %w", path, err)
	}
	run, err := lm.env.NewSession(ctx, data, o)
	if err != nil {
		return nil, fmt.Errorf("models: starting a session for %s: %w", path, err)
	}
	return run, nil
}

// Info says what the model is made of.
func (lm *LM) Info() *arch.Info { return &lm.anatomy.Info }

// Provider is what the model runs on.
func (lm *LM) Provider() ort.Provider { return lm.opts.Provider }

// Name is what results call the model.
func (lm *LM) Name() string { return lm.anatomy.Info.Name }

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
func (lm *LM) Context() int { return lm.anatomy.Info.Context }

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
		"provider=" + lm.opts.Provider.String(), "dtype=" + lm.anatomy.Info.DType, "tf32=" + tf32,
	}, ";")
}

// Anatomy is what the model's files are made of.
func (lm *LM) Anatomy() *arch.Anatomy { return lm.anatomy }

// Weight returns a copy of a weight as float32 [in, out], whatever the stored
// orientation and type.
func (lm *LM) Weight(id arch.WeightID) (*tensor.Tensor, error) {
	if err := lm.anatomy.Info.Editable(id); err != nil {
		return nil, err
	}
	g := lm.anatomy.Graph(roleOf(id))
	at := g.Weight(id)
	w, err := g.Stored(id, at.Initializer)
	if err != nil {
		return nil, err
	}
	if w, err = w.Convert(tensor.F32); err != nil {
		return nil, fmt.Errorf("models: reading %s: %w", id, err)
	}
	if at.Transposed {
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
	if err := lm.anatomy.Info.BiasEditable(id); err != nil {
		return nil, err
	}
	g := lm.anatomy.Graph(roleOf(id))
	b, err := g.Stored(id, g.Weight(id).Bias)
	if err != nil {
		return nil, err
	}
	if b, err = b.Convert(tensor.F32); err != nil {
		return nil, fmt.Errorf("models: reading the %s: %w", arch.Place{ID: id, Bias: true}, err)
	}
	return tensor.FromFloat32s(slices.Clone(b.Float32s()), b.Len()), nil
}

// roleOf is the graph that a weight is read from.
func roleOf(id arch.WeightID) arch.Role {
	if id.Side == arch.Encoder {
		return arch.Encode
	}
	return arch.Forward
}

// Fits checks that a saved patch was made for this model: same hash, same
// tokenizer, weights and sites that exist and have the shapes of what is added. It
// returns a *patch.MisfitError, arch.ErrNotEditable or graph.ErrSplice.
func (lm *LM) Fits(p *patch.Patch, meta patch.Meta) error {
	if meta.ModelHash != lm.hash {
		return &patch.MisfitError{What: "model hash", Want: meta.ModelHash, Have: lm.hash}
	}
	if meta.TokenizerHash != lm.TokenizerHash() {
		return &patch.MisfitError{What: "tokenizer hash", Want: meta.TokenizerHash, Have: lm.TokenizerHash()}
	}
	return lm.Accepts(p)
}

// Accepts checks all that a patch adds against the model: its weights, and the sites of
// its networks.
func (lm *LM) Accepts(p *patch.Patch) error {
	if p == nil {
		return nil
	}
	for _, w := range p.Weights {
		if err := w.Check(); err != nil {
			return err
		}
		if err := lm.anatomy.Info.Editable(w.At); err != nil {
			return err
		}
		to := lm.anatomy.Info.Weight(w.At)
		in, out := w.Size()
		if w.Bias {
			if err := lm.anatomy.Info.BiasEditable(w.At); err != nil {
				return err
			}
			if out != to.Out {
				return &patch.MisfitError{What: w.Place(), Want: fmt.Sprintf("[%d]", out), Have: fmt.Sprintf("[%d]", to.Out)}
			}
		} else if in != to.In || out != to.Out {
			return &patch.MisfitError{What: w.Place(), Want: fmt.Sprintf("[%d %d]", in, out), Have: fmt.Sprintf("[%d %d]", to.In, to.Out)}
		}
	}
	for _, s := range p.Splices {
		if err := lm.fits(s); err != nil {
			return err
		}
	}
	return nil
}
