package locate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

var (
	// ErrMoments is returned when second moments do not belong to the model or
	// the layer, or when a file of them is damaged.
	ErrMoments = errors.New("second moments do not fit")
	// ErrSingular is returned when second moments have no inverse, as those of
	// fewer tokens than a key has elements.
	ErrSingular = errors.New("second moments are singular")
)

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

// ReadMoments reads a .npz file in the layout of the reference implementation.
func ReadMoments(path string) (*Moments, error) {
	arrays, err := npz.Read(path, arraySum, arrayCount, arrayModel)
	if err != nil {
		return nil, fmt.Errorf("locate: reading second moments: %w", err)
	}
	bad := func(why string) (*Moments, error) {
		return nil, fmt.Errorf("locate: reading second moments: %s: %w: %s", path, ErrMoments, why)
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

// Write writes what ReadMoments reads.
func (m *Moments) Write(path string) error {
	sum := tensor.New(tensor.F32, m.Width, m.Width)
	v := sum.Float32s()
	for i, x := range m.C {
		v[i] = float32(x * float64(m.Count))
	}
	model := tensor.New(tensor.U8, len(m.Model))
	copy(model.Data, m.Model)
	return npz.Write(path, map[string]*tensor.Tensor{arraySum: sum, arrayCount: tensor.FromInt64s([]int64{m.Count}), arrayModel: model})
}

// Fits returns ErrMoments when the moments are not of a layer of the model.
func (m *Moments) Fits(lm *models.LM, layer int) error {
	f := lm.Info().FFN(models.Decoder, layer)
	switch {
	case f == nil:
		return fmt.Errorf("locate: %w: the model has no layer %d", ErrMoments, layer)
	case f.Down.In != m.Width:
		return fmt.Errorf("locate: %w: they are of keys with %d elements, those of layer %d have %d", ErrMoments, m.Width, layer, f.Down.In)
	case m.Model != "" && m.Model != lm.Hash():
		return fmt.Errorf("locate: %w: they are of another model (hash %.12s, this one %.12s)", ErrMoments, m.Model, lm.Hash())
	}
	return nil
}

// textsAtOnce is how many texts are read together.
const textsAtOnce = 16

// Collect takes second moments of the keys of a layer over texts, each cut to
// the model's context, until there are enough tokens.
func Collect(ctx context.Context, lm *models.LM, layer int, texts iter.Seq2[string, error], tokens int64) (*Moments, error) {
	f := lm.Info().FFN(models.Decoder, layer)
	if f == nil {
		return nil, fmt.Errorf("locate: collecting second moments: %w: the model has no layer %d", ErrMoments, layer)
	}
	m := &Moments{Width: f.Down.In, C: make([]float64, f.Down.In*f.Down.In), Model: lm.Hash()}
	var rows []models.TraceRow
	flush := func() error {
		traces, err := lm.Trace(ctx, rows, models.Site{Layer: layer, Point: models.FFNAct})
		if err != nil {
			return err
		}
		for _, t := range traces {
			if t.Err != nil {
				return t.Err
			}
			m.add(t.Values[0])
		}
		rows = rows[:0]
		return nil
	}
	waiting := int64(0)
	for text, err := range texts {
		if err != nil {
			return nil, fmt.Errorf("locate: collecting second moments: %w", err)
		}
		ids, _, err := lm.Prompt(text)
		if err != nil {
			return nil, fmt.Errorf("locate: collecting second moments: %w", err)
		}
		if c := lm.Context(); c > 0 {
			ids = ids[:min(len(ids), c)]
		}
		if len(ids) == 0 {
			continue
		}
		row := models.TraceRow{Query: ask.Query{PromptIDs: ids}}
		for i := range ids {
			row.Positions = append(row.Positions, i)
		}
		rows, waiting = append(rows, row), waiting+int64(len(ids))
		if len(rows) == textsAtOnce || waiting >= tokens {
			if err := flush(); err != nil {
				return nil, fmt.Errorf("locate: collecting second moments: %w", err)
			}
		}
		if waiting >= tokens {
			break
		}
	}
	if err := flush(); err != nil {
		return nil, fmt.Errorf("locate: collecting second moments: %w", err)
	}
	if m.Count < int64(m.Width) {
		return nil, fmt.Errorf("locate: collecting second moments: %w: the texts have %d tokens, keys of layer %d have %d elements; give more text", ErrSingular, m.Count, layer, m.Width)
	}
	for i := range m.Width {
		for j := range i + 1 {
			m.C[i*m.Width+j] /= float64(m.Count)
			m.C[j*m.Width+i] = m.C[i*m.Width+j]
		}
	}
	return m, nil
}

// add adds keys [n, Width] to the lower triangle of the sum.
func (m *Moments) add(keys *tensor.Tensor) {
	v := keys.Float32s()
	for n := range keys.Shape[0] {
		k := v[n*m.Width : (n+1)*m.Width]
		for i, x := range k {
			row := m.C[i*m.Width : i*m.Width+i+1]
			for j := range row {
				row[j] += float64(x) * float64(k[j])
			}
		}
	}
	m.Count += int64(keys.Shape[0])
}

// Factor is the Cholesky factor of second moments.
type Factor struct {
	width int
	l     []float64 // [width, width], lower triangle
}

// Factor factorises the symmetric part of C in float64. It returns ErrSingular
// where C has no inverse.
func (m *Moments) Factor() (*Factor, error) {
	n := m.Width
	f := &Factor{n, make([]float64, n*n)}
	largest := 0.0
	for i := range n {
		largest = max(largest, m.C[i*n+i])
	}
	for i := range n {
		row := f.l[i*n : (i+1)*n]
		for j := range i + 1 {
			x := (m.C[i*n+j]+m.C[j*n+i])/2 - Dot(row[:j], f.l[j*n:j*n+j])
			if j < i {
				row[j] = x / f.l[j*n+j]
				continue
			}
			// What is left of a pivot after cancellation is rounding.
			if !(x > float64(n)*0x1p-52*largest) {
				return nil, fmt.Errorf("locate: %w: pivot %d of %d is %.2g after %d tokens; collect from more text", ErrSingular, i, n, x, m.Count)
			}
			row[j] = math.Sqrt(x)
		}
	}
	return f, nil
}

// Solve returns C^-1 b.
func (f *Factor) Solve(b []float64) []float64 {
	n := f.width
	x := make([]float64, n)
	for i := range n {
		x[i] = (b[i] - Dot(f.l[i*n:i*n+i], x[:i])) / f.l[i*n+i]
	}
	for i := n - 1; i >= 0; i-- {
		x[i] /= f.l[i*n+i]
		for j := range i {
			x[j] -= f.l[i*n+j] * x[i]
		}
	}
	return x
}
