package ort

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"unsafe"

	"editpipe/tensor"
)

// A Resident is an output of RunResident that stayed in the memory it was
// computed in: a GPU's, or main memory for the CPU and for nodes a provider
// leaves to it. Its values never change. It belongs to the session that
// computed it, which cannot be closed before it. Its methods are safe for
// concurrent use.
type Resident struct {
	session *Session
	value   unsafe.Pointer // OrtValue
	data    unsafe.Pointer // the elements if host, else the provider's handle
	host    bool
	dtype   tensor.DType
	shape   []int

	mu     sync.Mutex
	closed bool
	users  sync.WaitGroup // calls that use value; none is added once closed
}

// adopt takes over a value of the runtime; on failure it releases it.
func (s *Session) adopt(value unsafe.Pointer) (*Resident, error) {
	r := &Resident{session: s, value: value}
	var info C.ep_info
	var host C.int
	err := failure(C.ep_value(s.env.api, value, &info, &r.data, &host))
	if err == nil {
		var unsupported string
		info.kind = 1
		if r.dtype, unsupported = element(info); unsupported != "" {
			err = errors.New("is " + unsupported)
		}
	}
	if err != nil {
		r.release()
		return nil, err
	}
	r.host = host != 0
	r.shape = make([]int, info.rank)
	for i := range r.shape {
		r.shape[i] = int(info.dims[i])
	}
	return r, nil
}

// DType returns the type of the elements.
func (r *Resident) DType() tensor.DType { return r.dtype }

// Shape returns the dimensions.
func (r *Resident) Shape() []int { return slices.Clone(r.shape) }

// Tensor copies the value to a new tensor in main memory. From a device it is
// copied by a session of one node on the same provider, which is made for the
// first such call of each element type; the device briefly holds the value
// twice. It returns ErrClosed after Close.
func (r *Resident) Tensor(ctx context.Context) (*tensor.Tensor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.borrow(); err != nil {
		return nil, err
	}
	defer r.users.Done()
	if r.host {
		return r.copy(), nil
	}
	reader, err := r.session.reader(ctx, r.dtype)
	if err != nil {
		return nil, err
	}
	out := map[string]*tensor.Tensor{"Y": nil}
	if _, err := reader.RunResident(ctx, nil, map[string]*Resident{"A": r}, out); err != nil {
		return nil, err
	}
	return out["Y"], nil
}

// Close waits for the calls that use the value and frees its memory. Closing a
// closed Resident does nothing.
func (r *Resident) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.users.Wait()
	r.release()
	r.session.residents.Add(-1)
	return nil
}

// borrow keeps the value from being freed until users.Done.
func (r *Resident) borrow() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	r.users.Add(1)
	return nil
}

func (r *Resident) release() {
	if !r.host {
		defer r.session.env.work(r.session.provider)()
	}
	C.ep_release_value(r.session.env.api, r.value)
}

// copy copies a value that lies in main memory.
func (r *Resident) copy() *tensor.Tensor {
	t := tensor.New(r.dtype, r.shape...)
	if len(t.Data) > 0 {
		copy(t.Data, unsafe.Slice((*byte)(r.data), len(t.Data)))
	}
	return t
}

// reader returns the session that copies residents of one type.
func (s *Session) reader(ctx context.Context, dt tensor.DType) (*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reader, ok := s.readers[dt]; ok {
		return reader, nil
	}
	reader, err := s.env.load(ctx, copyModel(dt), Options{Provider: s.provider, Threads: 1})
	if err != nil {
		return nil, err
	}
	if s.readers == nil {
		s.readers = map[tensor.DType]*Session{}
	}
	s.readers[dt] = reader
	return reader, nil
}

// hold checks the residents to be fed and lays them out after the tensors.
func (c *call) hold(in map[string]*tensor.Tensor, held map[string]*Resident) error {
	s := c.session
	for _, name := range slices.Sorted(maps.Keys(held)) {
		v, ok := s.feeds[name]
		if !ok {
			return fmt.Errorf("the model has no input %q; it has %s", name, names(s.feeds))
		}
		r := held[name]
		if r == nil {
			return fmt.Errorf("input %q is nil", name)
		}
		if _, twice := in[name]; twice {
			return fmt.Errorf("input %q is fed twice, from main memory and from the provider's", name)
		}
		if from, to := r.session.provider.String(), s.provider.String(); from != to {
			return fmt.Errorf("input %q lies in the memory of provider %s, this session runs on %s; copy it with Tensor and feed that", name, from, to)
		}
		if err := v.fits(r.dtype, r.shape); err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
		if err := r.borrow(); err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
		c.borrowed = append(c.borrowed, r)
		c.in = append(c.in, C.ep_tensor{value: r.value})
		c.feeds = append(c.feeds, v.name)
	}
	return nil
}

// keep checks the outputs to be kept and lays them out after those to be
// fetched.
func (c *call) keep(keep []string) error {
	s := c.session
	if len(keep) == 0 {
		return nil
	}
	places := make([]unsafe.Pointer, len(s.outputs))
	if err := failure(C.ep_places(s.env.api, s.handle, unsafe.SliceData(places), C.size_t(len(places)))); err != nil {
		return fmt.Errorf("finding the memory of the outputs: %w", err)
	}
	for _, name := range keep {
		v, ok := s.fetches[name]
		if !ok {
			return fmt.Errorf("the model has no output %q; it has %s", name, names(s.fetches))
		}
		if v.Unsupported != "" {
			return fmt.Errorf("output %q is %s", name, v.Unsupported)
		}
		if slices.Contains(c.outNames, name) {
			return fmt.Errorf("output %q is asked for twice", name)
		}
		// The runtime would hand back the memory it was fed from.
		if _, through := s.feeds[name]; through {
			return fmt.Errorf("output %q is an input of the model; keep what feeds it", name)
		}
		i := slices.IndexFunc(s.outputs, func(v Value) bool { return v.Name == name })
		c.out = append(c.out, C.ep_tensor{allocate: 1, place: places[i]})
		c.fetches = append(c.fetches, v.name)
		c.outNames = append(c.outNames, name)
	}
	return nil
}
