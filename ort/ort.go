// Package ort runs ONNX models on ONNX Runtime: it finds and verifies the
// runtime's shared library, opens the process's one environment, loads models
// into sessions on a chosen execution provider, and feeds and fetches tensors
// by name.
//
// It wraps github.com/yalue/onnxruntime_go, whose sessions fix their input and
// output names when they are made and cannot list overridable initializers; the
// rest goes through a small C shim over the runtime's function table. Every
// name, type and shape is checked in Go before C is called, so a mistake gives
// an error that names the tensor, never a crash.
package ort

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	onnx "github.com/yalue/onnxruntime_go"
)

// ErrOpen is returned by Open when the process already has an open Env: the
// runtime has one environment per process.
var ErrOpen = errors.New("ort: the process already has an open environment; share it, or close it first")

// noTelemetry is the variable that keeps a release of 1.29 or later from
// collecting and sending reports about its use, on other systems than Windows. The
// runtime reads it once, when its environment is made.
const noTelemetry = "ORT_DISABLE_TELEMETRY"

// ErrClosed is returned by the methods of a closed Env or Session.
var ErrClosed = errors.New("ort: closed")

// apiVersion is the function table the binding and the shim are written for;
// oldestMinor is the first release (1.oldestMinor) that has it.
const (
	apiVersion  = 24
	oldestMinor = 24
)

// overridesFloat16 is the first release (1.overridesFloat16) with which
// Env.OverridesFloat16 was tried.
const overridesFloat16 = 30

// opening orders Open and Close. The binding keeps the environment in package
// variables it doesn't guard, so the guard has to be as global as they are.
var opening sync.Mutex

// An Env is the process's connection to the runtime. Its methods are safe for
// concurrent use.
type Env struct {
	lib     Library
	version string
	api     unsafe.Pointer // OrtApi
	memory  unsafe.Pointer // OrtMemoryInfo of the CPU

	device sync.Mutex // see work

	mu       sync.Mutex
	sessions int // open ones, including those being loaded
	closed   bool
}

// Open loads a library that Find or Verify returned and makes the process's
// environment, with the runtime's own logging silenced (its errors are
// returned) and its telemetry off: ORT_DISABLE_TELEMETRY=1 is set in the
// process's own environment variables. While an Env is open a second Open returns ErrOpen; after Close
// it may be opened again. The library stays mapped, and its internal environment
// alive, until the process ends, because providers leave threads and
// destructors behind.
func Open(ctx context.Context, lib Library) (*Env, error) {
	opening.Lock()
	defer opening.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if onnx.IsInitialized() {
		return nil, ErrOpen
	}
	info, err := os.Stat(lib.Path)
	if err != nil {
		return nil, fmt.Errorf("ort: opening library: %w", err)
	}
	if info.Size() != lib.Size {
		return nil, &CorruptError{lib.Path, fmt.Sprintf("has %d bytes, had %d when it was verified", info.Size(), lib.Size)}
	}
	if err := os.Setenv(noTelemetry, "1"); err != nil {
		return nil, fmt.Errorf("ort: turning telemetry off: %w", err)
	}
	base, err := load(lib.Path)
	if err != nil {
		return nil, fmt.Errorf("ort: loading library %s: %w", lib.Path, err)
	}
	// Asked for before the function table, since an old library answers a
	// request for a newer table on stderr.
	version := C.GoString(C.ep_version(base))
	if !atLeast(version, oldestMinor) {
		return nil, fmt.Errorf("ort: library %s is ONNX Runtime %s; 1.%d or later is needed (%s is tested)", lib.Path, version, oldestMinor, Version)
	}
	e := &Env{lib: lib, version: version}
	if e.api = C.ep_table(base, apiVersion); e.api == nil {
		return nil, fmt.Errorf("ort: library %s (ONNX Runtime %s) has no API version %d", lib.Path, version, apiVersion)
	}
	// A reference never given back: destroying the runtime's environment after
	// WebGPU failed to start calls through a null pointer (seen with 1.27.0).
	if err := failure(C.ep_hold(e.api)); err != nil {
		return nil, fmt.Errorf("ort: making the environment: %w", err)
	}
	if err := failure(C.ep_cpu_memory(e.api, &e.memory)); err != nil {
		return nil, fmt.Errorf("ort: describing CPU memory: %w", err)
	}
	onnx.SetSharedLibraryPath(lib.Path)
	if err := onnx.InitializeEnvironment(onnx.WithLogLevelFatal()); err != nil {
		C.ep_release_memory(e.api, e.memory)
		return nil, fmt.Errorf("ort: making the environment: %w", err)
	}
	// On Windows, which has no use for the variable.
	if err := onnx.DisableTelemetry(); err != nil {
		C.ep_release_memory(e.api, e.memory)
		return nil, errors.Join(fmt.Errorf("ort: turning telemetry off: %w", err), onnx.DestroyEnvironment())
	}
	return e, nil
}

// atLeast says whether a version is 1.least or a later one.
func atLeast(version string, least int) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	return errA == nil && errB == nil && (a > 1 || a == 1 && b >= least)
}

// Close releases the environment. It returns an error, and closes nothing,
// while sessions are open; closing a closed Env does nothing.
func (e *Env) Close() error {
	opening.Lock()
	defer opening.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	if e.sessions > 0 {
		return fmt.Errorf("ort: closing the environment: %d sessions are still open", e.sessions)
	}
	e.closed = true
	C.ep_release_memory(e.api, e.memory)
	if err := onnx.DestroyEnvironment(); err != nil {
		return fmt.Errorf("ort: closing the environment: %w", err)
	}
	return nil
}

// Library returns the library the environment runs on.
func (e *Env) Library() Library { return e.lib }

// Version returns the runtime's version, such as "1.30.0".
func (e *Env) Version() string { return e.version }

// OverridesFloat16 says whether a session may be made of a model with
// overridable float16 initializers. Loading one was seen to end the process
// with 1.27.0 and to work with 1.30.0; releases between are not trusted.
func (e *Env) OverridesFloat16() bool { return atLeast(e.version, overridesFloat16) }

// BuildInfo returns the runtime's own description of its build.
func (e *Env) BuildInfo() string { return C.GoString(C.ep_build_info(e.api)) }

// Compiled returns the execution providers compiled into the library, by the
// runtime's names ("CPUExecutionProvider"). A provider of the list may still
// lack its own libraries; Probe tells.
func (e *Env) Compiled() ([]string, error) {
	var list **C.char
	var n C.int
	if err := failure(C.ep_compiled(e.api, &list, &n)); err != nil {
		return nil, fmt.Errorf("ort: listing providers: %w", err)
	}
	defer C.ep_release_compiled(e.api, list, n)
	names := make([]string, 0, n)
	for _, name := range unsafe.Slice(list, n) {
		names = append(names, C.GoString(name))
	}
	return names, nil
}

// hold counts a session in, so that the environment isn't closed under it.
func (e *Env) hold() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.sessions++
	return nil
}

func (e *Env) drop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions--
}

// work starts a stretch of work on p and returns the function that ends it. On
// providers that don't promise to run concurrently, such stretches exclude each
// other across all sessions: the runtime itself lets only one Run of a session
// go on at a time there, but does not guard binding and releasing values, and
// WebGPU sessions share one device without a lock (with 1.27.0, runs of two
// sessions side by side were seen to fail, and runs that keep values beside
// others to crash the process).
func (e *Env) work(p Provider) (done func()) {
	switch p.Name {
	case "", "cpu", "cuda", "tensorrt":
		return func() {}
	}
	e.device.Lock()
	return e.device.Unlock
}

// failure turns a message of the shim into an error and frees it.
func failure(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.free(unsafe.Pointer(message))
	return errors.New(strings.TrimSpace(C.GoString(message)))
}

// handle reads the C pointer behind a struct of the binding, which has no
// accessor for it. The field names are those of the version go.mod pins.
func handle(of any, fields ...string) (unsafe.Pointer, error) {
	v := reflect.ValueOf(of)
	for _, name := range fields {
		if v = v.Elem().FieldByName(name); !v.IsValid() || v.Kind() != reflect.Pointer {
			return nil, fmt.Errorf("ort: %T of this version of onnxruntime_go has no field %q", of, name)
		}
	}
	return v.UnsafePointer(), nil
}
