package ort

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"editpipe/tensor"
)

// element translates the runtime's element type (ONNXTensorElementDataType).
func element(info C.ep_info) (dt tensor.DType, unsupported string) {
	switch info.kind {
	case 1:
	case 2:
		return 0, "a sequence"
	case 3:
		return 0, "a map"
	case 5:
		return 0, "a sparse tensor"
	case 6:
		return 0, "an optional value"
	default:
		return 0, fmt.Sprintf("a value of ONNX kind %d", info.kind)
	}
	for t := tensor.F32; int(t) < len(elementTypes); t++ {
		if elementTypes[t] == info._type {
			return t, ""
		}
	}
	if info._type == 8 {
		return 0, "a tensor of strings"
	}
	return 0, fmt.Sprintf("a tensor of ONNX element type %d", info._type)
}

// elementTypes holds the runtime's number for each tensor.DType.
var elementTypes = [...]C.int{
	tensor.F32: 1, tensor.U8: 2, tensor.I8: 3, tensor.I32: 6, tensor.I64: 7,
	tensor.Bool: 9, tensor.F16: 10, tensor.F64: 11, tensor.BF16: 16,
}

// Run feeds in and fetches out, both by name. in must hold every input and may
// hold overridable initializers; the names may differ from call to call. An
// entry of out with a tensor is written in place and must have the output's
// exact shape; a nil entry is replaced by a new tensor. When Run fails, tensors
// of out may have been written in part, and nil entries stay nil.
//
// The tensors of in and out must not be written by others during the call.
// Cancelling ctx ends the run at the next node of the graph (a kernel in
// progress is finished first, since it still uses the caller's memory) and Run
// returns ctx.Err().
func (s *Session) Run(ctx context.Context, in, out map[string]*tensor.Tensor) error {
	_, err := s.RunResident(ctx, in, nil, out)
	return err
}

// RunResident is Run with values that don't leave the provider's memory: held
// feeds what an earlier run kept, this session's or another's on an equal
// Provider, and keep names outputs to return as Residents. A name is fed from
// in or from held, and fetched into out or kept; an output that is an input of
// the model itself cannot be kept. The caller must close what is returned.
func (s *Session) RunResident(ctx context.Context, in map[string]*tensor.Tensor, held map[string]*Resident, out map[string]*tensor.Tensor, keep ...string) (map[string]*Resident, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.s == nil {
		return nil, ErrClosed
	}
	c := call{session: s}
	defer c.end()
	if err := c.prepare(in, held, out, keep); err != nil {
		return nil, fmt.Errorf("ort: run: %w", err)
	}
	done := s.env.work(s.provider)
	err := c.run(ctx)
	done()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("ort: run: %w", err)
	}
	kept, err := c.collect(out)
	if err != nil {
		return nil, fmt.Errorf("ort: run: %w", err)
	}
	return kept, nil
}

// A call is the C side of one Run.
type call struct {
	session  *Session
	pin      runtime.Pinner
	borrowed []*Resident
	in, out  []C.ep_tensor
	feeds    []*C.char
	fetches  []*C.char
	outNames []string
}

func (c *call) end() {
	c.pin.Unpin()
	for _, r := range c.borrowed {
		r.users.Done()
	}
}

// prepare checks all names and values against the model and lays out the C
// arguments.
func (c *call) prepare(in map[string]*tensor.Tensor, held map[string]*Resident, out map[string]*tensor.Tensor, keep []string) error {
	s := c.session
	if len(out)+len(keep) == 0 {
		return errors.New("no output asked for")
	}
	for _, v := range s.inputs {
		if in[v.Name] == nil && held[v.Name] == nil {
			return fmt.Errorf("input %q (%s) is not fed", v.Name, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		v, ok := s.feeds[name]
		if !ok {
			return fmt.Errorf("the model has no input %q; it has %s", name, names(s.feeds))
		}
		t := in[name]
		if t == nil {
			return fmt.Errorf("input %q is nil", name)
		}
		if err := v.check(t); err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
		data := t.Data
		if !aligned(t) {
			data = tensor.New(t.DType, t.Shape...).Data
			copy(data, t.Data)
		}
		c.in = append(c.in, c.describe(v, data, t.Shape))
		c.feeds = append(c.feeds, v.name)
	}
	if err := c.hold(in, held); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		v, ok := s.fetches[name]
		if !ok {
			return fmt.Errorf("the model has no output %q; it has %s", name, names(s.fetches))
		}
		t := out[name]
		if t == nil {
			if v.Unsupported != "" {
				return fmt.Errorf("output %q is %s", name, v.Unsupported)
			}
			c.out = append(c.out, C.ep_tensor{allocate: 1})
		} else {
			if err := v.check(t); err != nil {
				return fmt.Errorf("output %q: %w", name, err)
			}
			if !aligned(t) {
				return fmt.Errorf("output %q: its memory is not aligned to %s elements", name, t.DType)
			}
			c.out = append(c.out, c.describe(v, t.Data, t.Shape))
		}
		c.fetches = append(c.fetches, v.name)
		c.outNames = append(c.outNames, name)
	}
	return c.keep(keep)
}

// describe pins a tensor's memory and describes it to the shim.
func (c *call) describe(v slot, data []byte, shape []int) C.ep_tensor {
	// Without elements there is no memory to point at, but the runtime wants
	// an address, which it then doesn't read: any will do.
	t := C.ep_tensor{data: c.session.handle, bytes: C.size_t(len(data)), rank: C.size_t(len(shape)), _type: elementTypes[v.DType]}
	if len(data) > 0 {
		t.data = unsafe.Pointer(unsafe.SliceData(data))
		c.pin.Pin(t.data)
	}
	if len(shape) > 0 {
		dims := make([]C.int64_t, len(shape))
		for i, d := range shape {
			dims[i] = C.int64_t(d)
		}
		t.dims = unsafe.SliceData(dims)
		c.pin.Pin(t.dims)
	}
	return t
}

// run calls the runtime, and tells it to stop when ctx is done.
func (c *call) run(ctx context.Context) error {
	api := c.session.env.api
	var options unsafe.Pointer
	if ctx.Done() != nil {
		if err := failure(C.ep_run_options(api, &options)); err != nil {
			return err
		}
		defer C.ep_release_run_options(api, options)
		stopped := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			C.ep_terminate(api, options)
			close(stopped)
		})
		defer func() {
			if !stop() {
				<-stopped // options must outlive the call above
			}
		}()
	}
	return failure(C.ep_run(api, c.session.handle, options, c.session.env.memory,
		C.size_t(len(c.in)), unsafe.SliceData(c.feeds), unsafe.SliceData(c.in),
		C.size_t(len(c.out)), unsafe.SliceData(c.fetches), unsafe.SliceData(c.out)))
}

// collect takes over the outputs the runtime allocated: those that were to
// stay where they are, and copies of the others.
func (c *call) collect(out map[string]*tensor.Tensor) (map[string]*Resident, error) {
	s := c.session
	fresh, kept := map[string]*tensor.Tensor{}, map[string]*Resident{}
	var errs []error
	for i, name := range c.outNames {
		if c.out[i].allocate == 0 {
			continue
		}
		r, err := s.adopt(c.out[i].value)
		if err != nil {
			errs = append(errs, fmt.Errorf("output %q: %w", name, err))
			continue
		}
		if c.out[i].place != nil {
			kept[name] = r
			continue
		}
		fresh[name] = r.copy()
		r.release()
	}
	if len(errs) > 0 {
		for _, r := range kept {
			r.release()
		}
		return nil, errors.Join(errs...)
	}
	maps.Copy(out, fresh)
	s.residents.Add(int64(len(kept)))
	return kept, nil
}

// aligned says whether kernels may read the memory as elements. Slices of a
// mapped file need not be.
func aligned(t *tensor.Tensor) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(t.Data)))%uintptr(t.DType.Size()) == 0
}

// check compares a tensor with the model's description, and its own fields
// with each other.
func (v Value) check(t *tensor.Tensor) error {
	if err := v.fits(t.DType, t.Shape); err != nil {
		return err
	}
	bytes := t.DType.Size()
	for _, d := range t.Shape {
		if d < 0 {
			return fmt.Errorf("shape %v has a negative dimension", t.Shape)
		}
		bytes *= d
	}
	if bytes != len(t.Data) {
		return fmt.Errorf("%s %v takes %d bytes but holds %d", t.DType, t.Shape, bytes, len(t.Data))
	}
	return nil
}

// fits compares a type and shape with the model's description.
func (v Value) fits(dt tensor.DType, shape []int) error {
	if v.Unsupported != "" {
		return fmt.Errorf("the model wants %s, which cannot be fed or fetched", v.Unsupported)
	}
	if dt != v.DType {
		return fmt.Errorf("is %s %v, the model wants %s", dt, shape, v)
	}
	if v.Shape == nil {
		return nil
	}
	if len(shape) != len(v.Shape) {
		return fmt.Errorf("has %d dimensions %v, the model wants %s", len(shape), shape, v)
	}
	for i, d := range v.Shape {
		if d >= 0 && int64(shape[i]) != d {
			return fmt.Errorf("has shape %v, the model wants %s", shape, v)
		}
	}
	return nil
}

// String gives type and shape, such as "float32 [-1 768]".
func (v Value) String() string {
	switch {
	case v.Unsupported != "":
		return v.Unsupported
	case v.Shape == nil:
		return v.DType.String() + " of any shape"
	}
	return fmt.Sprintf("%s %v", v.DType, v.Shape)
}

func names(slots map[string]slot) string {
	quoted := make([]string, 0, len(slots))
	for _, name := range slices.Sorted(maps.Keys(slots)) {
		quoted = append(quoted, fmt.Sprintf("%q", name))
	}
	const most = 12 // a model may have hundreds
	if len(quoted) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(quoted[:most], ", "), len(quoted)-most)
	}
	return strings.Join(quoted, ", ")
}
