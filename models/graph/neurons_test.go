package graph_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/loss"
	"editpipe/models/patch"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

const (
	// Sums of some hundred float32 products against float64 ones, relative to their
	// size, at least to 1.
	sumTolerance = 1e-5
	// Float16 has eleven bits: roundings of 2^-11, through two layers.
	halfTolerance = 2e-2
	// Central differences of float32 losses of order 1: rounding of 1e-7 over a step
	// of 1e-2, and the third derivative times the step's square.
	differenceStep      = 1e-2
	differenceTolerance = 2e-3
)

// activations are the functions of the tiny models, in float64.
var activations = map[tinylm.Family]func(x float64) float64{
	tinylm.GPT2: gelu, tinylm.GPTJ: gelu,
	tinylm.LLaMA: func(x float64) float64 { return x / (1 + math.Exp(-x)) },
	tinylm.T5:    relu,
}

func gelu(x float64) float64 {
	return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

func relu(x float64) float64 { return max(x, 0) }

// side puts n neurons beside a block; a scale of 0 makes them idle.
func side(lm *models.LM, r *rand.Rand, kind string, at arch.Site, n int, scale float32) *patch.Patch {
	in, out := lm.Info().Width, lm.Info().Width
	return &patch.Patch{Method: "m", Edits: []string{"e"}, Splices: []patch.Splice{{At: at, Kind: kind, Params: map[string]*tensor.Tensor{
		"k": modeltest.Randn(r, scale, in, n), "b": modeltest.Randn(r, scale, n), "v": modeltest.Randn(r, scale, n, out),
	}}}}
}

func question(lm *models.LM, r *rand.Rand, prompt, target int) ask.Query {
	ids := func(n int) []int64 {
		v := make([]int64, n)
		for i := range v {
			v[i] = 1 + r.Int64N(int64(lm.Info().Vocab)-1)
		}
		return v
	}
	return ask.Query{PromptIDs: ids(prompt), TargetIDs: [][]int64{ids(target)}}
}

func score(t *testing.T, lm *models.LM, rows ...answer.Row) []float64 {
	t.Helper()
	answers, err := answer.Score(t.Context(), lm, rows)
	modeltest.Must(t, err)
	var all []float64
	for _, a := range answers {
		modeltest.Must(t, a.Err)
		for _, c := range a.Targets {
			all = append(all, c.LogProbs...)
		}
	}
	return all
}

// apart is the largest difference of numbers, relative to their size, at least to 1;
// infinite where one is none.
func apart(a, b []float64) float64 {
	worst := 0.0
	for i, x := range a {
		d := math.Abs(x-b[i]) / max(1, math.Abs(x))
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

// through are the rows of questions asked through a patch.
func through(p *patch.Patch, questions []ask.Query) []answer.Row {
	var rows []answer.Row
	for _, q := range questions {
		rows = append(rows, answer.Row{Query: q, Patch: p})
	}
	return rows
}

// TestNeurons: neurons beside a block compute what a plain loop does; none, idle ones
// and padding change nothing, to the bit; those of several edits at one place are one
// network, and rows of different ones share a run; saved and loaded they are the
// same; the exported model answers as the patched one.
func TestNeurons(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2, Cache: tinylm.WithPast}, {Family: tinylm.GPT2, Float16: true, ExternalData: true, Cache: tinylm.WithPast},
		{Family: tinylm.GPTJ, Cache: tinylm.OneFile}, {Family: tinylm.LLaMA, Cache: tinylm.WithPast}, {Family: tinylm.T5, Cache: tinylm.WithPast},
	} {
		for _, kind := range []string{graph.Neurons, graph.NeuronsReLU} {
			t.Run(fmt.Sprintf("%s half=%v %s", c.Family, c.Float16, kind), func(t *testing.T) {
				c.Seed = 3
				lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
				r := rand.New(rand.NewPCG(8, 8))
				sides := []arch.Side{arch.Decoder}
				if lm.Anatomy().Encoder != nil {
					sides = append(sides, arch.Encoder)
				}
				for _, s := range sides {
					n := &neuronsCase{t: t, env: env, lm: lm, r: r, kind: kind, act: relu, at: arch.Site{Side: s, Layer: 1, Point: arch.FFNOut}, half: c.Float16}
					if kind == graph.Neurons {
						n.act = activations[c.Family]
					}
					for range 3 {
						n.questions = append(n.questions, question(lm, r, 5, 3))
					}
					n.plainLoop()
					n.idle()
					n.padding()
					n.joined()
					n.saved()
					n.exported()
				}
			})
		}
	}
}

type neuronsCase struct {
	t         *testing.T
	env       *ort.Env
	lm        *models.LM
	r         *rand.Rand
	kind      string
	act       func(float64) float64
	at        arch.Site
	half      bool
	questions []ask.Query
}

func (n *neuronsCase) side(units int, scale float32) *patch.Patch {
	return side(n.lm, n.r, n.kind, n.at, units, scale)
}

// plainLoop compares the value at the site with a loop over neurons.
func (n *neuronsCase) plainLoop() {
	const units = 5
	p := n.side(units, 0.5)
	before := arch.Site{Side: n.at.Side, Layer: n.at.Layer, Point: arch.FFNIn}
	positions := []int{0, 1, 2, 3, 4}
	if n.at.Side == arch.Decoder && n.lm.Anatomy().Encoder != nil {
		positions = []int{0, 1}
	}
	q := n.questions[0]
	trace := func(p *patch.Patch) activation.Traced {
		got, err := activation.Trace(n.t.Context(), n.lm, []activation.Row{{Query: q, Patch: p, Positions: positions}}, before, n.at)
		modeltest.Must(n.t, err)
		modeltest.Must(n.t, got[0].Err)
		return got[0]
	}
	plain, patched := trace(nil), trace(p)
	x, y, got := plain.Values[0], plain.Values[1].Float32s(), patched.Values[1].Float32s()
	k, b, v := p.Splices[0].Params["k"].Float32s(), p.Splices[0].Params["b"].Float32s(), p.Splices[0].Params["v"].Float32s()
	in, out := x.Shape[1], len(y)/len(positions)
	var want, have []float64
	moved := 0.0
	for row := range positions {
		sum := make([]float64, out)
		for j := range units {
			a := float64(b[j])
			for i, xi := range x.Float32s()[row*in : (row+1)*in] {
				a += float64(xi) * float64(k[i*units+j])
			}
			a = n.act(a)
			for o := range sum {
				sum[o] += a * float64(v[j*out+o])
			}
		}
		for o, s := range sum {
			moved = max(moved, math.Abs(s))
			want, have = append(want, float64(y[row*out+o])+s), append(have, float64(got[row*out+o]))
		}
	}
	tolerance := sumTolerance
	if n.half {
		tolerance = halfTolerance
	}
	if d := apart(have, want); d > tolerance || moved < 0.1 {
		n.t.Errorf("at %s the value is %g off; neurons add up to %g", n.at, d, moved)
	}
}

// idle asks through neurons of zeros, through none, and through no patch, all beside
// rows with some.
func (n *neuronsCase) idle() {
	zeros, none, some := n.side(4, 0), n.side(0, 1), n.side(4, 0.5)
	var rows []answer.Row
	for _, p := range []*patch.Patch{nil, zeros, none, some} {
		rows = append(rows, through(p, n.questions)...)
	}
	got := score(n.t, n.lm, rows...)
	each := len(got) / 4
	for i, name := range []string{"zeros", "none"} {
		if !slices.Equal(got[:each], got[(i+1)*each:(i+2)*each]) {
			n.t.Errorf("neurons at %s: %s change the model by %g", n.at, name, apart(got[:each], got[(i+1)*each:(i+2)*each]))
		}
	}
	if d := apart(got[:each], got[3*each:]); d < 0.01 {
		n.t.Errorf("neurons at %s move nothing: %g", n.at, d)
	}
	tolerance := modeltest.LogProbTolerance
	if n.half {
		tolerance = halfTolerance
	}
	if d := apart(got[:each], score(n.t, n.lm, through(nil, n.questions)...)); d > tolerance {
		n.t.Errorf("a graph with a place for neurons differs by %g", d)
	}
}

// padding asks through neurons beside as few and beside more.
func (n *neuronsCase) padding() {
	p, few, many := n.side(2, 0.5), n.side(2, 0.5), n.side(7, 0.5)
	beside := func(q *patch.Patch) []float64 {
		got := score(n.t, n.lm, append(through(p, n.questions), through(q, n.questions)...)...)
		return got[:len(got)/2]
	}
	if a, b := beside(few), beside(many); !slices.Equal(a, b) {
		n.t.Errorf("neurons at %s answer differently beside more: by %g", n.at, apart(a, b))
	}
}

// joined asks through neurons of two edits and through the same as those of one.
func (n *neuronsCase) joined() {
	const few, more = 2, 3
	a, b := n.side(few, 0.5), n.side(more, 0.5)
	both, one := a.Then(b), n.side(few+more, 0)
	x, y, z := a.Splices[0].Params, b.Splices[0].Params, one.Splices[0].Params
	for i := range n.lm.Info().Width {
		row := z["k"].Float32s()[i*(few+more):]
		copy(row, x["k"].Float32s()[i*few:(i+1)*few])
		copy(row[few:], y["k"].Float32s()[i*more:(i+1)*more])
	}
	for _, name := range []string{"b", "v"} {
		copy(z[name].Float32s()[copy(z[name].Float32s(), x[name].Float32s()):], y[name].Float32s())
	}
	if x, y := score(n.t, n.lm, through(both, n.questions)...), score(n.t, n.lm, through(one, n.questions)...); !slices.Equal(x, y) {
		n.t.Errorf("neurons of two edits at %s are %g off those of one", n.at, apart(x, y))
	}
	if both.Bytes() != a.Bytes()+b.Bytes() || !slices.Equal(both.Edits, []string{"e", "e"}) || both.Binding() != patch.BindPerRow {
		n.t.Errorf("two edits: %d bytes, %v, %s", both.Bytes(), both.Edits, both.Binding())
	}
}

func (n *neuronsCase) saved() {
	p := n.side(3, 0.5).Then(n.side(1, 0.5))
	path := filepath.Join(n.t.TempDir(), "p.safetensors")
	meta := patch.Meta{ModelHash: n.lm.Hash(), TokenizerHash: n.lm.TokenizerHash()}
	modeltest.Must(n.t, p.Save(path, meta))
	q, had, err := patch.Load(path, nil)
	modeltest.Must(n.t, err)
	modeltest.Must(n.t, n.lm.Fits(q, had))
	if x, y := score(n.t, n.lm, through(p, n.questions)...), score(n.t, n.lm, through(q, n.questions)...); !slices.Equal(x, y) {
		n.t.Errorf("loaded neurons at %s answer otherwise, by %g", n.at, apart(x, y))
	}
}

// exported bakes neurons, beside a changed weight, into plain graphs.
func (n *neuronsCase) exported() {
	down := n.lm.Info().FFN(n.at.Side, 0).Down
	product := patch.Weight{At: down.ID, U: modeltest.Randn(n.r, 0.3, down.In, 1), V: modeltest.Randn(n.r, 0.3, 1, down.Out)}
	sum, err := product.Sum()
	modeltest.Must(n.t, err)
	p := n.side(3, 0.5).Then(n.side(2, 0.5))
	whole := p.Then(&patch.Patch{Weights: []patch.Weight{{At: down.ID, Delta: sum}}})
	p = p.Then(&patch.Patch{Weights: []patch.Weight{product}})
	to := filepath.Join(n.t.TempDir(), "to")
	modeltest.Must(n.t, n.lm.Export(n.t.Context(), p, to))
	plain := modeltest.Open(n.t, n.env, to, models.Options{Threads: 1})
	tolerance := modeltest.LogProbTolerance
	if n.half {
		tolerance = halfTolerance
	}
	if d := apart(score(n.t, n.lm, through(p, n.questions)...), score(n.t, plain, through(nil, n.questions)...)); d > tolerance {
		n.t.Errorf("the model with neurons at %s written into it differs by %g", n.at, d)
	}
	if d := apart(score(n.t, n.lm, through(whole, n.questions)...), score(n.t, plain, through(nil, n.questions)...)); d > tolerance {
		n.t.Errorf("beside a weight that is replaced, neurons at %s differ by %g", n.at, d)
	}
	had, has := n.lm.Info(), plain.Info()
	if len(has.FFNs) != len(had.FFNs) || has.Layers != had.Layers {
		n.t.Fatalf("the model with neurons written into it has %d blocks in %d layers, had %d in %d", len(has.FFNs), has.Layers, len(had.FFNs), had.Layers)
	}
	for i, f := range has.FFNs {
		for _, point := range arch.Points() {
			_, why := f.Value(point)
			if _, was := had.FFNs[i].Value(point); why != was {
				n.t.Errorf("%s of layer %d: %q, was %q", point, f.Layer, why, was)
			}
		}
	}
	if n.half {
		return // a rounded value may turn an argmax
	}
	o := ask.Sampling{MaxNew: 4}
	want, err := answer.Generate(n.t.Context(), n.lm, through(p, n.questions), o)
	modeltest.Must(n.t, err)
	got, err := answer.Generate(n.t.Context(), plain, through(nil, n.questions), o)
	modeltest.Must(n.t, err)
	for i := range got {
		modeltest.Must(n.t, errors.Join(got[i].Err, want[i].Err))
		if !slices.Equal(got[i].TextIDs, want[i].TextIDs) {
			n.t.Errorf("generated %v, patched %v", got[i].TextIDs, want[i].TextIDs)
		}
	}
}

// TestGradientsThroughNeurons compares gradients of losses, with respect to shifts at
// sites before, at and behind neurons, with central differences along random
// directions.
func TestGradientsThroughNeurons(t *testing.T) {
	env := orttest.Open(t)
	for _, family := range []tinylm.Family{tinylm.GPT2, tinylm.GPTJ, tinylm.LLaMA} {
		t.Run(string(family), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, tinylm.Config{Family: family, Seed: 3}, models.Options{Threads: 1})
			r := rand.New(rand.NewPCG(9, 9))
			at, behind := arch.Site{Layer: 0, Point: arch.FFNOut}, arch.Site{Layer: 1, Point: arch.FFNOut}
			p := side(lm, r, graph.Neurons, at, 3, 0.5).Then(side(lm, r, graph.NeuronsReLU, at, 8, 0.3)).Then(side(lm, r, graph.Neurons, behind, 3, 0.5))
			for _, s := range []arch.Site{{Layer: 0, Point: arch.FFNIn}, at, {Layer: 0, Point: arch.Hidden}} {
				ids := question(lm, r, 7, 1).PromptIDs
				row := loss.Row{IDs: ids, Patch: p, At: 4, Shift: modeltest.Randn(r, 0.3, lm.Info().Width).Float32s(), Terms: []loss.Term{{Position: 6, Target: 3, NLL: 1}}}
				lossOf := func(row loss.Row) loss.Loss {
					got, err := loss.At(t.Context(), lm, []arch.Site{s}, []loss.Row{row})
					modeltest.Must(t, err)
					modeltest.Must(t, got[0].Err)
					return got[0]
				}
				direction := modeltest.Randn(r, 1, len(row.Shift)).Float32s()
				norm := 0.0
				for _, x := range direction {
					norm += float64(x) * float64(x)
				}
				got := lossOf(row)
				var slope, want float64
				for k, g := range got.Gradient {
					direction[k] /= float32(math.Sqrt(norm))
					slope += float64(g) * float64(direction[k])
				}
				for _, sign := range []float64{1, -1} {
					moved := row
					moved.Shift = slices.Clone(row.Shift)
					for k, x := range direction {
						moved.Shift[k] += float32(sign*differenceStep) * x
					}
					want += sign * lossOf(moved).Loss / (2 * differenceStep)
				}
				if math.Abs(slope-want) > differenceTolerance || slope == 0 {
					t.Errorf("at %s the slope is %g, by differences %g", s, slope, want)
				}
				held, err := loss.Hold(t.Context(), lm, []arch.Site{s}, []loss.Row{row}, 1)
				modeltest.Must(t, err)
				again, err := held.Losses(t.Context(), []int{0}, []loss.Row{row})
				modeltest.Must(t, errors.Join(err, held.Close()))
				if d := math.Abs(again[0].Loss - got.Loss); d > modeltest.LogProbTolerance*max(1, got.Loss) {
					t.Errorf("at %s a held loss is %g off", s, d)
				}
				row.Patch = nil
				if plain := lossOf(row); plain.Loss == got.Loss {
					t.Errorf("at %s the neurons do not move the loss", s)
				}
			}
		})
	}
}

// TestNeuronsReadShifts: neurons read what their block reads, a shift included.
func TestNeuronsReadShifts(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2, Seed: 3}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(2, 6))
	const last = 5
	at := arch.Site{Layer: 0, Point: arch.FFNIn}
	ids := question(lm, r, last+1, 1).PromptIDs
	seen, err := activation.Trace(t.Context(), lm, []activation.Row{{Query: ask.Query{PromptIDs: ids}, Positions: []int{0, 1, 2, 3, 4, last}}}, at)
	modeltest.Must(t, err)
	x, width := seen[0].Values[0].Float32s(), lm.Info().Width
	// A neuron that speaks half way from any position's value along a long shift.
	shift, k := modeltest.Randn(r, 30, width), tensor.New(tensor.F32, width, 1)
	square, highest := 0.0, math.Inf(-1)
	for _, s := range shift.Float32s() {
		square += float64(s) * float64(s)
	}
	for i, s := range shift.Float32s() {
		k.Float32s()[i] = float32(float64(s) / square)
	}
	for row := range last + 1 {
		sum := 0.0
		for i, v := range k.Float32s() {
			sum += float64(v) * float64(x[row*width+i])
		}
		highest = max(highest, sum)
	}
	p := side(lm, r, graph.NeuronsReLU, arch.Site{Layer: 0, Point: arch.FFNOut}, 1, 1)
	p.Splices[0].Params["k"], p.Splices[0].Params["b"] = k, tensor.FromFloat32s([]float32{float32(-highest - 0.5)}, 1)
	lossOf := func(p *patch.Patch, shift []float32) float64 {
		got, err := loss.At(t.Context(), lm, []arch.Site{at}, []loss.Row{{IDs: ids, Patch: p, At: last, Shift: shift, Terms: []loss.Term{{Position: last, Target: 3, NLL: 1}}}})
		modeltest.Must(t, err)
		modeltest.Must(t, got[0].Err)
		return got[0].Loss
	}
	if d := math.Abs(lossOf(p, nil) - lossOf(nil, nil)); d > modeltest.LogProbTolerance {
		t.Errorf("a silent neuron moves the loss by %g", d)
	}
	if d := math.Abs(lossOf(p, shift.Float32s()) - lossOf(nil, shift.Float32s())); d < 0.01 {
		t.Errorf("the neuron does not read the shift: the loss moves by %g", d)
	}
}
