//go:build !unix

package onnx

import "os"

// mapFile reads the file: a mapped file could not be replaced on systems that
// lock it.
func mapFile(f *os.File, size int) ([]byte, func() error, error) {
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, nil, err
	}
	return data, func() error { return nil }, nil
}
