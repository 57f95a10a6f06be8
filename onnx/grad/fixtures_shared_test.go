//go:build shared

package grad_test

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

// The stored gradients were computed by another framework in float32; the two
// differ by the order of summation.
const (
	oracleTolerance = 1e-3
	lossTolerance   = 1e-5
)

func shared(t testing.TB, parts ...string) string {
	t.Helper()
	root := os.Getenv("EDITPIPE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	path := filepath.Join(append([]string{root, "fixtures"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no fixtures in %s (set EDITPIPE_SHARED)", path)
	}
	return path
}

// oracle is a folder of stored inputs, losses and gradients.
type oracle struct {
	dir  string
	Loss float64
	// LossFirst4 is the loss over the first four rows, which the gradients of
	// the trained model belong to.
	LossFirst4 float64 `json:"loss_first4"`
	Files      map[string]string
	Grad       map[string]struct{ File string }
	Delta      []struct {
		Module      string
		Positions   []int64
		Delta, Grad string
		Loss        float64
	}
}

func openOracle(t testing.TB, dir string) *oracle {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	o := &oracle{dir: dir}
	if err := json.Unmarshal(data, o); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *oracle) read(t testing.TB, file string) *tensor.Tensor {
	t.Helper()
	x, err := npz.ReadNPY(filepath.Join(o.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// lossFeeds weighs every labelled position equally. Position t predicts label
// t + shift.
func lossFeeds(h *grad.Head, labels *tensor.Tensor, shift, rows, vocabulary int) feeds {
	width := labels.Shape[1]
	var positions, targets []int64
	for b := range rows {
		for t := range width - shift {
			if l := labels.Int64s()[b*width+t+shift]; l != -100 {
				positions = append(positions, int64(b), int64(t))
				targets = append(targets, l)
			}
		}
	}
	weights := make([]float32, 4*len(targets))
	for i := range targets {
		weights[4*i] = 1 / float32(len(targets))
	}
	return feeds{
		h.Positions: tensor.FromInt64s(positions, len(targets), 2),
		h.Targets:   tensor.FromInt64s(targets, len(targets)),
		h.Weights:   tensor.FromFloat32s(weights, len(targets), 4),
		h.Reference: tensor.New(tensor.F32, 1, vocabulary),
	}
}

// result is the value that a module of the exported network returns: the last
// one computed in its scope.
func result(t testing.TB, m *onnx.Model, module string) string {
	t.Helper()
	scope := ""
	for _, part := range strings.Split(module, ".") {
		if _, err := strconv.Atoi(part); err == nil {
			scope += "." + part
		} else {
			scope += "/" + part
		}
	}
	last := ""
	for _, n := range m.Graph.Nodes {
		if strings.HasPrefix(n.Name, scope+"/") {
			last = n.Outputs[0]
		}
	}
	if last == "" {
		t.Fatalf("no node in scope %s", scope)
	}
	return last
}

// weights are the wanted initializers of a model and their stored gradients.
type weights struct {
	names []string
	want  [][]float64
}

func (o *oracle) weights(t testing.TB, m *onnx.Model, prefix string) weights {
	t.Helper()
	var w weights
	for _, name := range slices.Sorted(maps.Keys(o.Grad)) {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		file := o.Grad[name].File
		found, transposed := findWeight(t, m, o.read(t, strings.Replace(file, "grad_", "w_", 1)))
		if found == "" {
			t.Fatalf("%s is not in the model", name)
		}
		want := o.read(t, file)
		if transposed {
			var err error
			if want, err = want.Transpose2D(); err != nil {
				t.Fatal(err)
			}
		}
		w.names = append(w.names, found)
		w.want = append(w.want, floats(want))
	}
	return w
}

// distance is the norm of the difference over the norm of what is wanted, or
// the norm itself where zeros are wanted: a shift that cannot reach the loss.
func distance(got *tensor.Tensor, want []float64) float64 {
	var d, n float64
	for i, g := range floats(got) {
		d += (g - want[i]) * (g - want[i])
		n += want[i] * want[i]
	}
	if n == 0 {
		n = 1
	}
	return math.Sqrt(d / n)
}

// worst keeps the largest error of a test.
type worst float64

func (w *worst) check(t *testing.T, what string, err float64) {
	t.Helper()
	if math.IsNaN(err) || err > oracleTolerance {
		t.Errorf("%s is off by %.2g", what, err)
	}
	*w = max(*w, worst(err))
}

func checkLoss(t *testing.T, got *tensor.Tensor, want float64) {
	t.Helper()
	if d := math.Abs(floats(got)[0]-want) / want; d > lossTolerance {
		t.Errorf("loss %.7g, want %.7g", floats(got)[0], want)
	}
}

// inputs feeds what the model asks for: stored inputs, and empty caches.
func (o *oracle) inputs(t testing.TB, m *onnx.Model) feeds {
	t.Helper()
	in := feeds{}
	for _, v := range m.Graph.Inputs {
		if file := o.Files[v.Name]; file != "" {
			in[v.Name] = o.read(t, file)
		} else if strings.HasPrefix(v.Name, "past_key_values") {
			in[v.Name] = tensor.New(tensor.F32, o.read(t, o.Files["input_ids"]).Shape[0], int(v.Shape[1].Value), 0, int(v.Shape[3].Value))
		}
	}
	return in
}

func merged(a, b feeds) feeds {
	c := maps.Clone(a)
	maps.Copy(c, b)
	return c
}

// vocabulary is the last dimension of the stored logits.
func (o *oracle) vocabulary(t testing.TB) int {
	shape := o.read(t, "logits.npy").Shape
	return shape[len(shape)-1]
}

// headRows is the value that the vocabulary matrix multiplies.
func headRows(m *onnx.Model) string {
	return m.Graph.Index().Producer("logits").Inputs[0]
}

func TestDecoderOracles(t *testing.T) {
	root := shared(t, "arch")
	e := orttest.Open(t)
	files, err := filepath.Glob(filepath.Join(root, "*", "model*.onnx"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
			o := openOracle(t, filepath.Join(filepath.Dir(file), "oracle"))
			labels := o.read(t, o.Files["labels"])
			var w worst

			m := load(t, file)
			in := o.inputs(t, m)
			rows := ""
			if filepath.Base(file) == "model.onnx" {
				rows = headRows(m)
			}
			h, err := grad.AddHead(m, "logits", rows)
			if err != nil {
				t.Fatal(err)
			}
			want := o.weights(t, m, "")
			got, err := grad.Gradients(m, h.Loss, want.names...)
			if err != nil {
				t.Fatal(err)
			}
			expose(t, m, append(got, h.Loss)...)
			out := run(t, session(t, e, m), merged(in, lossFeeds(h, labels, 1, labels.Shape[0], o.vocabulary(t))), append(got, h.Loss)...)
			checkLoss(t, out[h.Loss], o.Loss)
			for i, g := range got {
				w.check(t, "gradient of "+want.names[i], distance(out[g], want.want[i]))
			}

			for _, d := range o.Delta {
				m := load(t, file)
				if err := grad.AddDelta(m, result(t, m, d.Module), "delta", "delta_positions"); err != nil {
					t.Fatal(err)
				}
				h, err := grad.AddHead(m, "logits", "")
				if err != nil {
					t.Fatal(err)
				}
				got, err := grad.Gradients(m, h.Loss, "delta")
				if err != nil {
					t.Fatal(err)
				}
				expose(t, m, got[0], h.Loss)
				all := merged(in, lossFeeds(h, labels, 1, labels.Shape[0], o.vocabulary(t)))
				out := run(t, session(t, e, m), merged(all, deltaFeeds(o.read(t, d.Delta), d.Positions)), got[0], h.Loss)
				checkLoss(t, out[h.Loss], d.Loss)
				w.check(t, "gradient of a delta on "+d.Module, distance(sumRows(out[got[0]]), floats(o.read(t, d.Grad))))
			}
			t.Logf("%d weights, %d deltas, worst relative error %.2g", len(want.names), len(o.Delta), w)
		})
	}
}

// deltaFeeds adds one shift to each batch row at its own position, as the
// oracle does: it is repeated before and its gradients are summed after.
func deltaFeeds(delta *tensor.Tensor, positions []int64) feeds {
	var pairs []int64
	var rows []float32
	for b, p := range positions {
		pairs = append(pairs, int64(b), p)
		rows = append(rows, delta.Float32s()...)
	}
	return feeds{
		"delta":           tensor.FromFloat32s(rows, len(positions), delta.Len()),
		"delta_positions": tensor.FromInt64s(pairs, len(positions), 2),
	}
}

func sumRows(x *tensor.Tensor) *tensor.Tensor {
	sum := tensor.New(tensor.F32, x.Shape[1])
	for i, v := range x.Float32s() {
		sum.Float32s()[i%x.Shape[1]] += v
	}
	return sum
}

// TestEncoderDecoderOracles joins two graphs: the gradient of the decoder with
// respect to the encoder's states is the seed of the encoder.
func TestEncoderDecoderOracles(t *testing.T) {
	e := orttest.Open(t)
	for _, arch := range []string{"t5", "t5_gated"} {
		t.Run(arch, func(t *testing.T) {
			dir := shared(t, "arch", arch)
			o := openOracle(t, filepath.Join(dir, "oracle"))
			labels := o.read(t, o.Files["labels"])
			var w worst

			// pair builds both sides, with a delta on one of them if module is
			// not empty, and returns the gradients of all that is wanted.
			pair := func(module string, more feeds) (loss *tensor.Tensor, delta *tensor.Tensor) {
				enc, dec := load(t, filepath.Join(dir, "encoder_model.onnx")), load(t, filepath.Join(dir, "decoder_model.onnx"))
				we, wd := o.weights(t, enc, "encoder."), o.weights(t, dec, "decoder.")
				encWanted, decWanted := slices.Clone(we.names), append(slices.Clone(wd.names), "encoder_hidden_states")
				encMore, decMore := feeds{}, feeds{}
				switch {
				case strings.HasPrefix(module, "encoder."):
					if err := grad.AddDelta(enc, result(t, enc, module), "delta", "delta_positions"); err != nil {
						t.Fatal(err)
					}
					encWanted, encMore = append(encWanted, "delta"), more
				case strings.HasPrefix(module, "decoder."):
					if err := grad.AddDelta(dec, result(t, dec, module), "delta", "delta_positions"); err != nil {
						t.Fatal(err)
					}
					decWanted, decMore = append(decWanted, "delta"), more
				}
				h, err := grad.AddHead(dec, "logits", headRows(dec))
				if err != nil {
					t.Fatal(err)
				}
				decGot, err := grad.Gradients(dec, h.Loss, decWanted...)
				if err != nil {
					t.Fatal(err)
				}
				expose(t, dec, append(decGot, h.Loss)...)
				states := enc.Graph.Outputs[0].Name
				seed := enc.Builder().Input("seed", onnx.Float, enc.Graph.Outputs[0].Shape)
				encGot, err := grad.GradientsFrom(enc, map[string]string{states: seed}, encWanted...)
				if err != nil {
					t.Fatal(err)
				}
				expose(t, enc, encGot...)

				encRun, decRun := session(t, e, enc), session(t, e, dec)
				encIn := merged(feeds{
					"input_ids":      o.read(t, o.Files["input_ids"]),
					"attention_mask": o.read(t, o.Files["attention_mask"]),
					"seed":           tensor.New(tensor.F32, o.read(t, o.Files["encoder_hidden_states"]).Shape...),
				}, encMore)
				hidden := run(t, encRun, encIn, states)[states]
				decIn := merged(feeds{
					"input_ids":              o.read(t, o.Files["decoder_input_ids"]),
					"encoder_attention_mask": o.read(t, o.Files["attention_mask"]),
					"encoder_hidden_states":  hidden,
				}, merged(decMore, lossFeeds(h, labels, 0, labels.Shape[0], o.vocabulary(t))))
				decOut := run(t, decRun, decIn, append(decGot, h.Loss)...)
				encIn["seed"] = decOut[decGot[len(wd.names)]]
				encOut := run(t, encRun, encIn, encGot...)
				if module == "" {
					for i := range wd.names {
						w.check(t, "gradient of decoder weight "+wd.names[i], distance(decOut[decGot[i]], wd.want[i]))
					}
					for i := range we.names {
						w.check(t, "gradient of encoder weight "+we.names[i], distance(encOut[encGot[i]], we.want[i]))
					}
				}
				delta = decOut[decGot[len(decGot)-1]]
				if strings.HasPrefix(module, "encoder.") {
					delta = encOut[encGot[len(encGot)-1]]
				}
				return decOut[h.Loss], delta
			}
			loss, _ := pair("", nil)
			checkLoss(t, loss, o.Loss)
			for _, d := range o.Delta {
				loss, got := pair(d.Module, deltaFeeds(o.read(t, d.Delta), d.Positions))
				checkLoss(t, loss, d.Loss)
				w.check(t, "gradient of a delta on "+d.Module, distance(sumRows(got), floats(o.read(t, d.Grad))))
			}
			t.Logf("%d weights, %d deltas, worst relative error %.2g", len(o.Grad), len(o.Delta), w)
		})
	}
}

// world is the trained model with the loss of its stored gradients.
func world(t testing.TB) (o *oracle, m *onnx.Model, h *grad.Head, in feeds) {
	t.Helper()
	dir := shared(t, "world")
	o = openOracle(t, filepath.Join(dir, "oracle"))
	m = load(t, filepath.Join(dir, "model.onnx"))
	h, err := grad.AddHead(m, "logits", headRows(m))
	if err != nil {
		t.Fatal(err)
	}
	in = feeds{}
	for _, name := range []string{"input_ids", "attention_mask", "position_ids"} {
		x := o.read(t, name+".npy")
		in[name] = tensor.FromInt64s(x.Int64s()[:4*x.Shape[1]], 4, x.Shape[1])
	}
	return o, m, h, merged(in, lossFeeds(h, o.read(t, "labels.npy"), 1, 4, o.vocabulary(t)))
}

func TestWorldOracle(t *testing.T) {
	o, m, h, in := world(t)
	e := orttest.Open(t)
	var names, wanted []string
	for _, name := range slices.Sorted(maps.Keys(o.Grad)) {
		if _, err := os.Stat(filepath.Join(o.dir, o.Grad[name].File)); err == nil && o.Grad[name].File != "" {
			names = append(names, o.Grad[name].File)
			wanted = append(wanted, name)
		}
	}
	if len(wanted) == 0 {
		t.Fatal("no stored gradients")
	}
	got, err := grad.Gradients(m, h.Loss, wanted...)
	if err != nil {
		t.Fatal(err)
	}
	expose(t, m, append(got, h.Loss)...)
	out := run(t, session(t, e, m), in, append(got, h.Loss)...)
	checkLoss(t, out[h.Loss], o.LossFirst4)
	var w worst
	for i, g := range got {
		w.check(t, "gradient of "+wanted[i], distance(out[g], floats(o.read(t, names[i]))))
	}
	t.Logf("%d weights, worst relative error %.2g", len(wanted), w)
}

// BenchmarkWorld reports the time of loss and gradient over that of the loss
// alone, for a delta on an early block and for its output matrix.
func BenchmarkWorld(b *testing.B) {
	for _, what := range []string{"delta", "weight"} {
		b.Run(what, func(b *testing.B) {
			_, m, h, in := world(b)
			e := orttest.Open(b)
			wanted := "transformer.h.0.mlp.c_proj.weight"
			if what == "delta" {
				wanted = "delta"
				if err := grad.AddDelta(m, result(b, m, "transformer.h.0.mlp"), "delta", "delta_positions"); err != nil {
					b.Fatal(err)
				}
				in = merged(in, deltaFeeds(tensor.New(tensor.F32, 128), []int64{1, 2, 1, 2}))
			}
			forward := m.Clone()
			expose(b, forward, h.Loss)
			got, err := grad.Gradients(m, h.Loss, wanted)
			if err != nil {
				b.Fatal(err)
			}
			expose(b, m, append(got, h.Loss)...)
			nodes := func(m *onnx.Model) int { return len(m.Graph.Nodes) }
			fs, gs := session(b, e, forward), session(b, e, m)
			timed := func(s *ort.Session, names ...string) (best time.Duration) {
				best = time.Hour
				for range 20 {
					start := time.Now()
					run(b, s, in, names...)
					best = min(best, time.Since(start))
				}
				return best
			}
			for b.Loop() {
				f, g := timed(fs, h.Loss), timed(gs, append(got, h.Loss)...)
				b.ReportMetric(float64(g)/float64(f), "gradient/loss")
				b.ReportMetric(float64(nodes(m))/float64(nodes(forward)), "nodes/nodes")
				b.ReportMetric(float64(f.Microseconds())/1000, "loss-ms")
			}
		})
	}
}
