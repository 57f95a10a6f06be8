package ort

import (
	"syscall"
	"unsafe"
)

// load maps the library for the life of the process and returns its entry
// point.
func load(path string) (unsafe.Pointer, error) {
	library, err := syscall.LoadLibrary(path)
	if err != nil {
		return nil, err
	}
	proc, err := syscall.GetProcAddress(library, entryPoint)
	if err != nil {
		return nil, err
	}
	return *(*unsafe.Pointer)(unsafe.Pointer(&proc)), nil
}
