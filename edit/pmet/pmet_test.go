package pmet

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/locate"
	"editpipe/edit/spread"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/patch"
)

const (
	// A value reached through changes in float32, over the norm of what it was to
	// move by. The weight of the second moments adds about as much.
	reachTolerance = 1e-3
	// Values read in runs of other sizes, and what is computed of them in float32.
	readTolerance = 1e-4
	// faint is a weight of second moments that leaves the new keys alone.
	faint = "1e-6"
	// both are the layers that are changed, of a model with one more.
	both = "0,1"
)

func tiny(family tinylm.Family) tinylm.Config { return tinylm.Config{Family: family, Layers: 3} }

func prepared(t *testing.T, c tinylm.Config) string {
	t.Helper()
	return edittest.Prepared(t, Method(), c, map[string]string{"layers": both})
}

func TestConformance(t *testing.T) {
	for _, family := range []tinylm.Family{tinylm.GPT2, tinylm.GPTJ, tinylm.LLaMA} {
		t.Run(string(family), func(t *testing.T) {
			c := tiny(family)
			if family == tinylm.GPTJ {
				c.FFN = 32 // keys of its first layer depend on the token alone, and few tokens occur
			}
			edittest.Run(t, Method(), edittest.Options{
				Model: c, Artifacts: prepared(t, c),
				Set: map[string]string{"layers": both, "mom2_update_weight": "1", "clamp_norm_factor": "4", "v_num_grad_steps": "6"},
			})
		})
	}
}

// opened is an editor with the bare prompt for a context, on a tiny model.
func opened(t *testing.T, set map[string]string) (*models.LM, *spread.Editor) {
	t.Helper()
	artifacts, list := prepared(t, tiny(tinylm.GPT2)), filepath.Join(t.TempDir(), "bare.json")
	if err := locate.WriteContexts(list, []string{"{}"}); err != nil {
		t.Fatal(err)
	}
	lm := edittest.Open(t, tiny(tinylm.GPT2))
	set["contexts"], set["mom2_update_weight"] = list, faint
	c, err := Method().Configure(lm.Info(), set)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := open(c.Value().(Config), edit.Env{LM: lm, Artifacts: artifacts, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return lm, ed
}

// at reads a site where a fact enters, through a patch.
func at(t *testing.T, lm *models.LM, f *locate.Fact, p *patch.Patch, site arch.Site) []float32 {
	t.Helper()
	s := f.Prompts[0]
	traces, err := activation.Trace(context.Background(), lm, []activation.Row{{Query: ask.Query{PromptIDs: s.IDs}, Patch: p, Positions: []int{s.At}}}, site)
	if err != nil || traces[0].Err != nil {
		t.Fatal(err, traces[0].Err)
	}
	return traces[0].Values[0].Float32s()
}

// distance is the norm of a - b.
func distance(a []float32, b []float64) float64 {
	sum := 0.0
	for i, x := range a {
		sum += (float64(x) - b[i]) * (float64(x) - b[i])
	}
	return math.Sqrt(sum)
}

// TestReachesValue: with one layer, where second moments weigh next to nothing,
// the output of its feed-forward part becomes the one wanted, for edits together
// and on top of an earlier one, and its attention says what it said.
func TestReachesValue(t *testing.T) {
	ctx := context.Background()
	lm, ed := opened(t, map[string]string{"layers": "1", "v_num_grad_steps": "5"})
	out, attention := arch.Site{Layer: 1, Point: arch.FFNOut}, arch.Site{Layer: 1, Point: arch.AttnOut}
	on := &patch.Patch{}
	for _, edits := range [][]dataset.Edit{edittest.Edits()[:1], edittest.Edits()[1:]} {
		facts, _, err := ed.Search(ctx, on, edits)
		if err != nil {
			t.Fatal(err)
		}
		made := edittest.Together(ctx, ed, on, edits...)
		if made.Err != nil {
			t.Fatal(made.Err)
		}
		after := made.Patch
		for i, f := range facts {
			missed, way := distance(at(t, lm, f.Fact, after, out), f.Value), distance(at(t, lm, f.Fact, on, out), f.Value)
			if way == 0 || missed/way > reachTolerance {
				t.Errorf("edit %s: missed by %g on a way of %g", edits[i].ID, missed, way)
			}
			if !slices.Equal(at(t, lm, f.Fact, after, attention), at(t, lm, f.Fact, on, attention)) {
				t.Errorf("edit %s: attention was changed", edits[i].ID)
			}
		}
		on = after
	}
}

// TestSharesByRoot: a layer takes what is missing over the root of the layers
// left, so two take more than there is.
func TestSharesByRoot(t *testing.T) {
	ctx := context.Background()
	lm, ed := opened(t, map[string]string{"layers": both, "v_num_grad_steps": "5"})
	facts, _, err := ed.Search(ctx, &patch.Patch{}, edittest.Edits())
	if err != nil {
		t.Fatal(err)
	}
	made := edittest.Together(ctx, ed, &patch.Patch{}, edittest.Edits()...)
	if made.Err != nil {
		t.Fatal(made.Err)
	}
	p := made.Patch
	for j, left := range []float64{2, 1} {
		c := p.Weights[j]
		if want := (arch.WeightID{Layer: j, Part: arch.FFNDown}); c.At != want {
			t.Fatalf("change %d is of %s", j, c.At)
		}
		before := &patch.Patch{Weights: p.Weights[:j]}
		for i, f := range facts {
			now := at(t, lm, f.Fact, before, arch.Site{Layer: 1, Point: arch.FFNOut})
			share := make([]float64, len(now))
			for k, m := range now {
				share[k] = (f.Value[k] - float64(m)) / math.Sqrt(left)
			}
			row := c.V.Float32s()[i*len(now) : (i+1)*len(now)]
			if d := distance(row, share); d > readTolerance {
				t.Errorf("layer %d, edit %d: the share is off by %g", j, i, d)
			}
		}
	}
}

// TestAttentionTakesPart: two shifts are searched together, each within its own
// clamp, and only that of the feed-forward part is in the value.
func TestAttentionTakesPart(t *testing.T) {
	ctx := context.Background()
	const clamp, steps = 0.75, 8
	lm, ed := opened(t, map[string]string{"layers": both, "v_num_grad_steps": "8", "kl_factor": "0"})
	found, _, err := ed.Search(ctx, &patch.Patch{}, edittest.Edits())
	if err != nil {
		t.Fatal(err)
	}
	sites := []arch.Site{{Layer: 1, Point: arch.FFNOut}, {Layer: 1, Point: arch.AttnOut}}
	for i, w := range found {
		out, attention := at(t, lm, w.Fact, nil, sites[0]), at(t, lm, w.Fact, nil, sites[1])
		search := locate.Search{Steps: steps, Rate: 0.2, Decay: 0.5, Clamp: clamp}
		joint, err := locate.OptimiseAt(ctx, lm, nil, sites, []*locate.Fact{w.Fact}, [][]float32{slices.Concat(out, attention)}, search)
		if err != nil {
			t.Fatal(err)
		}
		single, err := locate.Optimise(ctx, lm, nil, sites[0], []*locate.Fact{w.Fact}, [][]float32{out}, search)
		if err != nil {
			t.Fatal(err)
		}
		width := len(out)
		shifts := [2][]float32{joint[0].Shift[:width], joint[0].Shift[width:]}
		for k, start := range [][]float32{out, attention} {
			none := make([]float64, width)
			if ratio := distance(shifts[k], none) / distance(start, none); ratio > clamp+readTolerance || ratio < 0.01 {
				t.Errorf("edit %d: the shift at %s is %g of the value", i, sites[k], ratio)
			}
		}
		for k, x := range out {
			if want := float64(x) + float64(shifts[0][k]); math.Abs(w.Value[k]-want) > readTolerance {
				t.Fatalf("edit %d: element %d of the value is %g, want %g", i, k, w.Value[k], want)
			}
		}
		if a, b := joint[0].Losses, single[0].Losses; a[0] != b[0] && math.Abs(a[0]-b[0]) > readTolerance || a[steps-1] >= b[steps-1] {
			t.Errorf("edit %d: losses %v with attention, %v without", i, a, b)
		}
	}
}

// TestReached: the two rules differ where a prompt that misses the target counts
// for nothing in the mean.
func TestReached(t *testing.T) {
	hit := [][]float64{{-0.1, -0.2}, {-0.3, -0.1}}
	near := [][]float64{{-0.1, -0.2}, {-0.3, math.Nextafter(-0.1, 0)}}
	far := [][]float64{{-0.1, -0.2}, {-0.3, -0.05}}
	low := [][]float64{{-0.1, -0.2}, {-0.3, -0.2}}
	for i, c := range []struct {
		s             locate.Standing
		argmax, equal bool
	}{
		{locate.Standing{LogProbs: hit, Best: hit}, true, true},
		{locate.Standing{LogProbs: hit, Best: near}, false, true},
		{locate.Standing{LogProbs: hit, Best: far}, false, false},
	} {
		if got := argmax(c.s); got != c.argmax {
			t.Errorf("case %d: argmax %v", i, got)
		}
		if got := equal(c.s); got != c.equal {
			t.Errorf("case %d: equal %v", i, got)
		}
	}
	for _, c := range []struct {
		logProbs [][]float64
		kl       float64
		weight   float64
		enough   bool
	}{{hit, 0.02, 0.1, false}, {hit, 0.01, 0.1, true}, {low, 0, 1, false}} {
		if weight, enough := weigh(argmax)(locate.Standing{LogProbs: c.logProbs, Best: hit, KL: c.kl}); weight != c.weight || enough != c.enough {
			t.Errorf("divergence %g: weight %g, enough %v", c.kl, weight, enough)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, set := range []map[string]string{{"layers": ""}, {"argmax_stop": "never"}, {"mom2_update_weight": "0"}} {
		if _, err := Method().Configure(&arch.Info{}, set); err == nil {
			t.Errorf("%v: accepted", set)
		}
	}
	c, err := Method().Configure(&arch.Info{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Method().Open(context.Background(), c, edit.Env{LM: edittest.Open(t, tiny(tinylm.GPT2))}); err == nil {
		t.Error("opened without second moments")
	}
	// The authors' settings for GPT-J, EasyEdit's for LLaMA.
	for _, c := range []struct {
		family string
		depth  int
		layers []int
		steps  int
		rate   float64
		clamp  float64
		kl     float64
		weight float64
	}{
		{"gptj", 28, []int{3, 4, 5, 6, 7, 8}, 30, 0.2, 0.75, 1, 6000},
		{"llama", 32, []int{4, 5, 6, 7, 8}, 20, 0.5, 1, 0.0625, 15000},
		{"gpt2", 48, []int{13, 14, 15, 16, 17}, 30, 0.2, 0.75, 1, 6000},
		{"gpt2", 6, []int{0}, 30, 0.2, 0.75, 1, 50},
	} {
		config, err := Method().Configure(&arch.Info{Family: c.family, Layers: c.depth}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := config.Value().(Config)
		if !slices.Equal(got.Layers, c.layers) || got.Steps != c.steps || got.Rate != c.rate || got.Clamp != c.clamp || got.KL != c.kl || got.Weight != c.weight {
			t.Errorf("%s with %d layers: %+v", c.family, c.depth, got)
		}
	}
}
