package ort

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	onnx "github.com/yalue/onnxruntime_go"

	"editpipe/tensor"
)

// A Level says how far the runtime rewrites the graph before it runs.
type Level uint8

// The levels, from everything (the default) to nothing.
const (
	OptimizeAll Level = iota
	OptimizeExtended
	OptimizeBasic
	OptimizeNone
)

func (l Level) runtime() (onnx.GraphOptimizationLevel, error) {
	switch l {
	case OptimizeAll:
		return onnx.GraphOptimizationLevelEnableAll, nil
	case OptimizeExtended:
		return onnx.GraphOptimizationLevelEnableExtended, nil
	case OptimizeBasic:
		return onnx.GraphOptimizationLevelEnableBasic, nil
	case OptimizeNone:
		return onnx.GraphOptimizationLevelDisableAll, nil
	}
	return 0, fmt.Errorf("ort: unknown optimisation level %d", l)
}

// Options configure a session. The zero value runs on the CPU.
type Options struct {
	Provider Provider // zero: the CPU
	// Threads one Run may use; 0: DefaultThreads.
	Threads int
	// Spin lets idle threads busy-wait for work: faster on a machine of one's
	// own, slower for everybody on a shared one.
	Spin bool
	// DisablePrepacking keeps weights as they are in the file: with ExternalDir
	// they stay mapped and shared between sessions and processes.
	DisablePrepacking bool
	// NoMemoryPatterns allocates each value when it is computed. Otherwise the
	// runtime keeps, for every shape of inputs seen, a plan for one block that
	// holds all values, and the block.
	NoMemoryPatterns bool
	// ExternalDir is the folder external weights are relative to.
	ExternalDir string
	// Deterministic asks kernels that have a choice for the reproducible one.
	Deterministic bool
	// NoFallback refuses a model of which the runtime places any node on the
	// CPU. Without it the provider must still take at least one node, and
	// Elsewhere lists the others.
	NoFallback bool
	Optimize   Level
}

// A Value describes an input, output or overridable initializer of a model.
type Value struct {
	Name  string
	DType tensor.DType
	// Shape holds -1 where a dimension is symbolic. It is empty for a scalar
	// and nil where the model doesn't say how many dimensions there are.
	Shape []int64
	// Unsupported says why the value can be neither fed nor fetched, such as
	// "a sequence"; empty for tensors of the kinds package tensor holds.
	Unsupported string
}

// A slot is a Value with its name as the C library wants it.
type slot struct {
	Value
	name *C.char
}

// A Node is a node of the graph together with the provider that runs it.
type Node struct {
	Provider string // the runtime's name, such as "CPUExecutionProvider"
	Name, Op string
}

// A Session is a loaded model. Its methods are safe for concurrent use; on
// providers other than cpu, cuda and tensorrt, Runs of all sessions wait for
// each other.
type Session struct {
	env       *Env
	handle    unsafe.Pointer // OrtSession
	provider  Provider
	inputs    []Value
	outputs   []Value
	overrides []Value
	feeds     map[string]slot // inputs and overridable initializers
	fetches   map[string]slot
	elsewhere []Node
	residents atomic.Int64 // open ones that this session's runs kept

	// mu is held for reading by every call into the runtime and for writing by
	// Close, which therefore waits for them.
	mu      sync.RWMutex
	s       *onnx.DynamicAdvancedSession // nil once closed
	readers map[tensor.DType]*Session    // copy residents to main memory; made under mu held for writing
}

// NewSession loads a serialised model. The bytes aren't needed afterwards.
// Cancelling ctx stops the loading.
//
// On a provider other than the CPU the call fails unless the provider was
// really registered and took at least one node of the graph: nothing falls back
// to the CPU unseen.
func (e *Env) NewSession(ctx context.Context, model []byte, o Options) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(model) == 0 {
		return nil, errors.New("ort: loading model: no bytes")
	}
	if err := e.hold(); err != nil {
		return nil, err
	}
	s, err := e.load(ctx, model, o)
	if err == nil && !s.provider.cpu() {
		if err = s.placement(); err != nil {
			err = errors.Join(fmt.Errorf("ort: placing model: %w", err), s.release())
		}
	}
	if err != nil {
		e.drop()
		return nil, err
	}
	return s, nil
}

func (e *Env) load(ctx context.Context, model []byte, o Options) (*Session, error) {
	so, err := e.sessionOptions(o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = so.Destroy() }() // fails only for a destroyed one
	raw, err := handle(so, "o")
	if err != nil {
		return nil, err
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		C.ep_cancel_load(e.api, raw)
		close(stopped)
	})
	done := e.work(o.Provider)
	inner, err := onnx.NewDynamicAdvancedSessionWithONNXData(model, nil, nil, so)
	done()
	if !stop() {
		<-stopped
		if err == nil {
			defer e.work(o.Provider)()
			_ = inner.Destroy()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("ort: loading model on %s: %w", o.Provider, err)
	}
	s := &Session{env: e, provider: o.Provider.settled(), s: inner, feeds: map[string]slot{}, fetches: map[string]slot{}}
	if err := s.describe(); err != nil {
		return nil, errors.Join(fmt.Errorf("ort: describing model: %w", err), s.release())
	}
	return s, nil
}

// sessionOptions translates o, and appends the provider.
func (e *Env) sessionOptions(o Options) (_ *onnx.SessionOptions, err error) {
	level, err := o.Optimize.runtime()
	if err != nil {
		return nil, err
	}
	if o.Threads < 0 {
		return nil, fmt.Errorf("ort: %d threads asked for; give a positive number, or 0 for the default", o.Threads)
	}
	if o.Threads == 0 {
		o.Threads = DefaultThreads()
	}
	so, err := onnx.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("ort: making session options: %w", err)
	}
	defer func() {
		if err != nil {
			_ = so.Destroy()
		}
	}()
	entries := [][2]string{{"session.intra_op.allow_spinning", flag(o.Spin)}}
	if o.DisablePrepacking {
		entries = append(entries, [2]string{"session.disable_prepacking", "1"})
	}
	if o.ExternalDir != "" {
		dir, err := filepath.Abs(o.ExternalDir)
		if err != nil {
			return nil, fmt.Errorf("ort: folder of external weights: %w", err)
		}
		entries = append(entries, [2]string{"session.model_external_initializers_file_folder_path", dir})
	}
	if !o.Provider.cpu() {
		entries = append(entries, [2]string{"session.record_ep_graph_assignment_info", "1"})
		if o.NoFallback {
			entries = append(entries, [2]string{"session.disable_cpu_ep_fallback", "1"})
		}
	}
	settings := []error{
		so.SetIntraOpNumThreads(o.Threads),
		so.SetInterOpNumThreads(1),
		so.SetExecutionMode(onnx.ExecutionModeSequential),
		so.SetGraphOptimizationLevel(level),
		so.SetLogSeverityLevel(onnx.LoggingLevelFatal),
	}
	if o.NoMemoryPatterns {
		settings = append(settings, so.SetMemPattern(false))
	}
	for _, entry := range entries {
		settings = append(settings, so.AddSessionConfigEntry(entry[0], entry[1]))
	}
	if err := errors.Join(settings...); err != nil {
		return nil, fmt.Errorf("ort: setting session options: %w", err)
	}
	if o.Deterministic {
		raw, err := handle(so, "o")
		if err != nil {
			return nil, err
		}
		if err := failure(C.ep_deterministic(e.api, raw)); err != nil {
			return nil, fmt.Errorf("ort: asking for deterministic kernels: %w", err)
		}
	}
	if err := o.Provider.append(so, e.version); err != nil {
		return nil, err
	}
	return so, nil
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// describe fills in what the runtime knows about the loaded model.
func (s *Session) describe() (err error) {
	if s.handle, err = handle(s.s, "s", "ortSession"); err != nil {
		return err
	}
	if s.inputs, err = s.values(C.EP_INPUT, s.feeds); err != nil {
		return err
	}
	if s.overrides, err = s.values(C.EP_OVERRIDABLE, s.feeds); err != nil {
		return err
	}
	s.outputs, err = s.values(C.EP_OUTPUT, s.fetches)
	return err
}

func (s *Session) values(which C.int, slots map[string]slot) ([]Value, error) {
	var n C.size_t
	if err := failure(C.ep_count(s.env.api, s.handle, which, &n)); err != nil {
		return nil, err
	}
	values := make([]Value, 0, n)
	for i := range n {
		var info C.ep_info
		err := failure(C.ep_describe(s.env.api, s.handle, which, i, &info))
		if info.name == nil {
			return nil, err
		}
		v := Value{Name: C.GoString(info.name)}
		slots[v.Name] = slot{name: info.name}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", v.Name, err)
		}
		v.DType, v.Unsupported = element(info)
		v.Shape = dims(info)
		slots[v.Name] = slot{Value: v, name: info.name}
		values = append(values, v)
	}
	return values, nil
}

func dims(info C.ep_info) []int64 {
	if info.has_rank == 0 {
		return nil
	}
	shape := make([]int64, info.rank)
	for i := range shape {
		shape[i] = int64(info.dims[i])
	}
	return shape
}

// placement reads which provider runs which node, and fails when the asked one
// runs none.
func (s *Session) placement() error {
	var list *C.ep_node
	var n C.size_t
	err := failure(C.ep_nodes(s.env.api, s.handle, &list, &n))
	defer C.ep_release_nodes(list, n)
	if err != nil {
		return err
	}
	taken := 0
	for _, node := range unsafe.Slice(list, n) {
		on := Node{Provider: C.GoString(node.provider), Name: C.GoString(node.node), Op: C.GoString(node.op)}
		if s.provider.runs(on.Provider) {
			taken++
			continue
		}
		s.elsewhere = append(s.elsewhere, on)
	}
	// A provider that rewrites the graph's memory layout doesn't have its nodes
	// reported, so those the package knows nothing about aren't judged by it.
	if _, ok := known(s.provider.Name); ok && taken == 0 && len(s.elsewhere) > 0 {
		return &ProviderError{Provider: s.provider, Err: fmt.Errorf("it takes none of the model's %d nodes, for instance %s goes to %s", n, s.elsewhere[0].Op, s.elsewhere[0].Provider)}
	}
	return nil
}

// Inputs returns the values every Run must feed.
func (s *Session) Inputs() []Value { return s.inputs }

// Outputs returns the values a Run can fetch.
func (s *Session) Outputs() []Value { return s.outputs }

// Overridable returns the initializers a Run may feed; their stored values
// hold when it doesn't.
func (s *Session) Overridable() []Value { return s.overrides }

// Provider returns the provider the session was made for.
func (s *Session) Provider() Provider { return s.provider }

// Elsewhere returns the nodes that a provider other than the session's runs,
// for instance shape arithmetic that a GPU provider leaves to the CPU. The
// runtime reports it after its basic graph optimisations and before later
// fusions. It is empty on the CPU.
func (s *Session) Elsewhere() []Node { return s.elsewhere }

// Close waits for the Runs in progress and releases the model. It returns an
// error, and closes nothing, while Residents that its runs kept are open: their
// memory is the session's. Closing a closed Session does nothing.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.s == nil {
		return nil
	}
	if n := s.residents.Load(); n > 0 {
		return fmt.Errorf("ort: closing session: %d values it keeps in the provider's memory are still open; close them first", n)
	}
	err := s.release()
	s.env.drop()
	return err
}

func (s *Session) release() error {
	var errs []error
	for _, reader := range s.readers {
		errs = append(errs, reader.release())
	}
	done := s.env.work(s.provider)
	err := s.s.Destroy()
	done()
	s.s = nil
	for _, slots := range []map[string]slot{s.feeds, s.fetches} {
		for _, v := range slots {
			C.free(unsafe.Pointer(v.name))
		}
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("ort: closing session: %w", err))
	}
	return errors.Join(errs...)
}
