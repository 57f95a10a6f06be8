package grad_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/tensor"
)

// differences compares the gradients of a model with central differences of
// what it computes. The loss is a random combination of its values outs.
type differences struct {
	m               *onnx.Model
	in              feeds
	wrt, outs       []string // float32 or float64
	step, tolerance float64
	// Other steps to try: rounding spoils short ones and curvature long ones.
	others []float64
	sample int // elements of each input that are compared, all if 0
	// kinks takes any slope between those of both sides, as at the corner of a
	// ReLU, for a gradient.
	kinks bool

	feed  map[string]string                        // input that a wanted value comes from, if not itself
	weigh func(out string, weights *tensor.Tensor) // changes the combination
}

// insignificant is the size of a gradient, of a loss with weights of about 1, that
// float32 cannot be asked to show.
const insignificant = 1e-5

// leap is a change of the loss, whose weights are about 1, within one short step that
// is no slope: the value jumps there, as that of Floor.
const leap = 0.05

// noKernelError says that the runtime cannot compute a gradient in some type.
type noKernelError struct{ error }

// compare returns the error of the differentiation; what is wrong with its
// result are errors of the test. The model is changed.
func (d *differences) compare(t *testing.T, e *ort.Env) error {
	t.Helper()
	forward := d.m.Clone()
	forward.Graph.Outputs = nil
	for _, o := range d.outs {
		forward.Graph.Outputs = append(forward.Graph.Outputs, &onnx.ValueInfo{Name: o})
	}
	f := session(t, e, forward)
	r := rand.New(rand.NewPCG(3, 4))
	seeds := map[string]string{}
	weights := map[string][]float64{}
	fed := maps.Clone(d.in)
	b := d.m.Builder()
	base := run(t, f, d.in, d.outs...)
	for i, o := range d.outs {
		y := base[o]
		w := random(r, y.DType, -1, 1, y.Shape...)
		for j, v := range floats(y) {
			if math.IsInf(v, 0) || math.IsNaN(v) {
				set(w, j, 0) // it changes with nothing
			}
		}
		if d.weigh != nil {
			d.weigh(o, w)
		}
		dims := slices.Repeat([]onnx.Dim{{Value: -1}}, len(y.Shape))
		seeds[o] = b.Input(b.Fresh(fmt.Sprintf("seed%d", i)), onnx.TypeOf(y.DType), dims)
		fed[seeds[o]] = w
		weights[o] = floats(w)
	}
	names, err := grad.GradientsFrom(d.m, seeds, d.wrt...)
	if err != nil {
		return err
	}
	// slope is the loss at b less that at a, by step. What is equal in both adds
	// nothing, not even rounding.
	slope := func(a, b feeds, step float64) float64 {
		sum := 0.0
		for o := range a {
			x, y := floats(a[o]), floats(b[o])
			for i, w := range weights[o] {
				if x[i] != y[i] && w != 0 {
					sum += w * (y[i] - x[i])
				}
			}
		}
		return sum / step
	}

	for i, n := range names {
		from := d.wrt[i]
		if d.feed[from] != "" {
			from = d.feed[from]
		}
		if err := d.m.Expose(n, onnx.TypeOf(d.in[from].DType), nil); err != nil {
			t.Fatal(err)
		}
		d.m.Graph.Outputs[len(d.m.Graph.Outputs)-1].HasShape = false
	}
	g, err := open(t, e, d.m, 1)
	if err != nil {
		if strings.Contains(err.Error(), "Could not find an implementation") {
			return noKernelError{err}
		}
		t.Fatal(err)
	}
	got := run(t, g, fed, names...)
	for name, again := range run(t, g, fed, names...) {
		if !bytes.Equal(got[name].Data, again.Data) {
			t.Errorf("%s differs between two runs", name)
		}
	}
	for i, v := range d.wrt {
		from := v
		if d.feed[v] != "" {
			from = d.feed[v]
		}
		value := d.in[from]
		if !slices.Equal(got[names[i]].Shape, value.Shape) {
			t.Errorf("gradient of %s has shape %v, want %v", v, got[names[i]].Shape, value.Shape)
			continue
		}
		places := r.Perm(value.Len())
		if d.sample > 0 && len(places) > d.sample {
			places = places[:d.sample]
		}
		all := floats(got[names[i]])
		best := math.Inf(1)
		var have, want []float64
		for _, step := range append([]float64{d.step}, d.others...) {
			h, w := []float64{}, []float64{}
			for _, j := range places {
				at := floats(value)[j]
				set(value, j, at+step)
				high := run(t, f, d.in, d.outs...)
				set(value, j, at-step)
				low := run(t, f, d.in, d.outs...)
				set(value, j, at)
				h = append(h, all[j])
				w = append(w, slope(low, high, 2*step))
				below, above := slope(low, base, step), slope(base, high, step)
				jump := math.Abs(below*step) > leap || math.Abs(above*step) > leap
				if d.kinks && ((all[j]-below)*(all[j]-above) <= 0 || jump && step <= step64) {
					w[len(w)-1] = all[j]
				}
			}
			if d.kinks { // what is far below every weight of the loss is nothing
				h, w = append(h, insignificant), append(w, insignificant)
			}
			if err := relative(h, w); err < best {
				best, have, want = err, h, w
			}
			if best <= d.tolerance {
				break
			}
		}
		if !(best <= d.tolerance) {
			t.Errorf("gradient of %s is off by %.2g:\n got %.6g\nwant %.6g", v, best, have, want)
		}
	}
	return nil
}
