// Package moments computes the second moments of a layer's keys over running
// text. They represent what a model knows apart from the fact being edited, and
// locating methods weigh a change against them. They are collected once for a
// model, in one pass over all layers, and kept in files together with their
// Cholesky factor.
package moments

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

var (
	// ErrMisfit is returned when second moments do not belong to the model or
	// the layer, or when a file of them is damaged.
	ErrMisfit = errors.New("second moments do not fit")
	// ErrSingular is returned when second moments have no inverse, as those of
	// fewer tokens than a key has elements.
	ErrSingular = errors.New("second moments are singular")
)

// File is the name of the file of a layer's second moments that preparing writes.
func File(layer int) string { return fmt.Sprintf("mom2_layer%d.npz", layer) }

// Prepared is the file of a layer's second moments in a method's folder of
// artifacts, "" where it is not there or there is no folder.
func Prepared(artifacts string, layer int) string {
	path := filepath.Join(artifacts, File(layer))
	if _, err := os.Stat(path); artifacts == "" || err != nil {
		return ""
	}
	return path
}

// Moments are the uncentred second moments of a layer's keys, C = 1/n sum k k'
// (Meng et al. 2022, section 3.1).
type Moments struct {
	Width int
	Count int64     // tokens they were taken over
	C     []float64 // [Width, Width]
	Model string    // hash of the model; "" where the file does not say
}

// Names of arrays in a file of moments: the first two as in the files of the
// reference implementation, which hold the sum over tokens, not the mean.
const (
	arraySum   = "mom2.mom2"
	arrayCount = "mom2.count"
	arrayModel = "editpipe.model"
)

// Read reads a .npz file in the layout of the reference implementation.
func Read(path string) (*Moments, error) {
	arrays, err := npz.Read(path, arraySum, arrayCount, arrayModel)
	if err != nil {
		return nil, fmt.Errorf("moments: reading second moments: %w", err)
	}
	bad := func(why string) (*Moments, error) {
		return nil, fmt.Errorf("moments: reading second moments: %s: %w: %s", path, ErrMisfit, why)
	}
	sum, count := arrays[arraySum], arrays[arrayCount]
	switch {
	case sum == nil || count == nil:
		return bad("it lacks " + arraySum + " or " + arrayCount)
	case !sum.IsFloat() || len(sum.Shape) != 2 || sum.Shape[0] != sum.Shape[1]:
		return bad(fmt.Sprintf("%s is %s %v, want a square matrix of floating point numbers", arraySum, sum.DType, sum.Shape))
	case count.IsFloat() || count.Len() != 1 || count.Int64s()[0] < 1:
		return bad(arrayCount + " is not a positive number of tokens")
	case !sum.Finite():
		return bad("it holds numbers that are not finite")
	}
	m := &Moments{Width: sum.Shape[0], Count: count.Int64s()[0], C: sum.Float64s()}
	for i := range m.C {
		m.C[i] /= float64(m.Count)
	}
	if model := arrays[arrayModel]; model != nil && model.DType == tensor.U8 {
		m.Model = string(model.Data)
	}
	return m, nil
}

// Write writes what Read reads.
func (m *Moments) Write(path string) error {
	sum := tensor.New(tensor.F32, m.Width, m.Width)
	v := sum.Float32s()
	for i, x := range m.C {
		v[i] = float32(x * float64(m.Count))
	}
	return npz.Write(path, map[string]*tensor.Tensor{arraySum: sum, arrayCount: tensor.FromInt64s([]int64{m.Count}), arrayModel: bytesOf([]byte(m.Model))})
}

// Fits returns ErrMisfit when the moments are not of a layer of the model.
func (m *Moments) Fits(lm *models.LM, layer int) error {
	f := lm.Info().FFN(arch.Decoder, layer)
	switch {
	case f == nil:
		return fmt.Errorf("moments: %w: the model has no layer %d", ErrMisfit, layer)
	case f.Down.In != m.Width:
		return fmt.Errorf("moments: %w: they are of keys with %d elements, those of layer %d have %d", ErrMisfit, m.Width, layer, f.Down.In)
	case m.Model != "" && m.Model != lm.Hash():
		return fmt.Errorf("moments: %w: they are of another model (hash %.12s, this one %.12s)", ErrMisfit, m.Model, lm.Hash())
	}
	return nil
}
