//go:build !windows

package ort

// #cgo linux LDFLAGS: -ldl
// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"unsafe"
)

// load maps the library for the life of the process and returns its entry
// point.
func load(path string) (unsafe.Pointer, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var library unsafe.Pointer
	if err := failure(C.ep_open(name, &library)); err != nil {
		return nil, err
	}
	symbol := C.CString(entryPoint)
	defer C.free(unsafe.Pointer(symbol))
	base := C.ep_symbol(library, symbol)
	if base == nil {
		return nil, errors.New("it doesn't export " + entryPoint)
	}
	return base, nil
}
