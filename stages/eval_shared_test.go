//go:build shared

package stages

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/edit"
	"editpipe/edit/none"
	"editpipe/edit/patch"
	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/ort/orttest"
	"editpipe/row"
	"editpipe/tensor"
	"editpipe/tensor/npz"
	"editpipe/tensor/safetensors"
)

func sharedFolder(t *testing.T) string {
	t.Helper()
	return modeltest.Shared(t, "fixtures", "world")
}

// probs are the reference's negative log-likelihoods per token.
type probs struct {
	New  float64 `json:"target_new"`
	True float64 `json:"target_true"`
}

type outcome struct {
	Rewrite    []probs `json:"rewrite_prompts_probs"`
	Paraphrase []probs `json:"paraphrase_prompts_probs"`
	Neighbour  []probs `json:"neighborhood_prompts_probs"`
}

type reference struct {
	Summary struct {
		Rewrite       float64 `json:"rewrite_success"`
		Paraphrase    float64 `json:"paraphrase_success"`
		Neighbour     float64 `json:"neighborhood_success"`
		PreRewrite    float64 `json:"pre_rewrite_success"`
		PreParaphrase float64 `json:"pre_paraphrase_success"`
		PreNeighbour  float64 `json:"pre_neighborhood_success"`
		TokenRewrite  float64 `json:"token_acc_rewrite"`
		Paraphrased   float64 `json:"token_acc_paraphrase"`
		Unchanged     float64 `json:"neighborhood_unchanged"`
	} `json:"summary"`
	Edits []struct {
		Post outcome `json:"post"`
		Pre  outcome `json:"pre"`
	} `json:"edits"`
}

const (
	// nllTolerance, in nats per token: both sides compute in float32 with other
	// kernels, on logits up to about 20.
	nllTolerance = 1e-3
	// shareTolerance: a share over 60 records may differ by a rounding only.
	shareTolerance = 1e-9
)

// The authors' ROME code was run on the fixture. Its rank-1 updates, given as
// patches, must give its own figures before and after the edit.
func TestReferenceFigures(t *testing.T) {
	fixture := sharedFolder(t)
	var ref reference
	data, err := os.ReadFile(filepath.Join(fixture, "reference", "rome_l0.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	src, err := importer.Open("counterfact", filepath.Join(fixture, "data", "counterfact_like.json"), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	recs, bad, err := dataset.ReadAll(src)
	if err != nil || len(bad) > 0 {
		t.Fatal(err, bad)
	}
	recs = recs[:len(ref.Edits)]

	e := Eval{
		LM: openFixture(t, fixture), Data: dataset.Data{Name: "world", Records: recs}, Out: filepath.Join(t.TempDir(), "run"),
		Methods: []edit.Method{none.Method(), patch.Method()}, Schedules: scheduleList(t, "single"),
		Overrides: map[string]map[string]string{"patch": {"path": romePatches(t, fixture, recs)}},
	}
	r := do(t, e)
	if r.Failed() {
		t.Errorf("rows by status: %v", r.Rows)
	}
	mean := map[string]float64{}
	for _, s := range r.Summary {
		if s.Mean != nil {
			mean[s.Method+" "+s.Axis+" "+s.Metric] = *s.Mean
		}
	}
	for name, want := range map[string]float64{
		"none reliability success_prob":        ref.Summary.PreRewrite,
		"none generalization success_prob":     ref.Summary.PreParaphrase,
		"none neighbourhood success_prob":      ref.Summary.PreNeighbour,
		"none neighbourhood agree_exact":       1,
		"patch reliability success_prob":       ref.Summary.Rewrite,
		"patch generalization success_prob":    ref.Summary.Paraphrase,
		"patch neighbourhood success_prob":     ref.Summary.Neighbour,
		"patch reliability tf_token_acc":       ref.Summary.TokenRewrite,
		"patch generalization tf_token_acc":    ref.Summary.Paraphrased,
		"patch neighbourhood agree_tok":        ref.Summary.Unchanged,
		"patch reliability pre_success_prob":   ref.Summary.PreRewrite,
		"patch neighbourhood pre_success_prob": ref.Summary.PreNeighbour,
	} {
		if got, ok := mean[name]; !ok || math.Abs(got-want) > shareTolerance {
			t.Errorf("%s = %v, the reference has %v", name, got, want)
		}
	}
	compareNLL(t, e.Out, recs, ref)
}

// compareNLL compares every prompt's log-probabilities with the reference's.
func compareNLL(t *testing.T, dir string, recs []dataset.Record, ref reference) {
	place := map[string]int{}
	for i, r := range recs {
		place[string(r.Edit.ID)] = i
	}
	worst, compared := 0.0, 0
	seen := map[string]int{}
	for _, one := range resultsIn(t, dir) {
		i := place[one.EditID]
		want := ref.Edits[i].Pre
		if one.Method == "patch" {
			want = ref.Edits[i].Post
		}
		list := map[string][]probs{"reliability": want.Rewrite, "generalization": want.Paraphrase, "neighbourhood": want.Neighbour}[one.Axis]
		if list == nil {
			continue
		}
		k := one.Method + one.EditID + one.Axis
		p := list[seen[k]]
		seen[k]++
		target, alt := p.New, p.True
		if one.Axis == "neighbourhood" {
			target, alt = alt, target
		}
		if one.Status != row.OK {
			t.Fatalf("%s %s: %s %s", one.Method, one.ProbeID, one.Status, one.Detail)
		}
		diff := max(math.Abs(-*one.LogPMean-target), math.Abs(-*one.LogPAltMean-alt))
		worst = max(worst, diff)
		compared++
		if diff > nllTolerance {
			t.Errorf("%s %s %q: nll %.5f / %.5f, the reference has %.5f / %.5f", one.Method, one.ProbeID, one.Prompt, -*one.LogPMean, -*one.LogPAltMean, target, alt)
		}
	}
	if want := 2 * len(recs) * 3; compared < want { // at least a prompt per axis
		t.Errorf("only %d prompts compared, want %d or more", compared, want)
	}
	t.Logf("%d prompts, largest difference %.2g nats", compared, worst)
}

// romePatches writes the reference's updates as one file per edit.
func romePatches(t *testing.T, fixture string, recs []dataset.Record) string {
	t.Helper()
	arrays, err := npz.Read(filepath.Join(fixture, "reference", "rome_l0_arrays.npz"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i, r := range recs {
		u, v := arrays[fmt.Sprintf("u_%d", i)].Float32s(), arrays[fmt.Sprintf("v_%d", i)].Float32s()
		err := safetensors.Write(filepath.Join(dir, string(r.Edit.ID)+".safetensors"), map[string]*tensor.Tensor{
			"decoder.0.ffn_down.U": tensor.FromFloat32s(u, len(u), 1),
			"decoder.0.ffn_down.V": tensor.FromFloat32s(v, 1, len(v)),
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openFixture(t *testing.T, dir string) *models.LM {
	t.Helper()
	env := orttest.Open(t)
	lm, err := models.Open(context.Background(), env, dir, models.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lm.Close(); err != nil {
			t.Error(err)
		}
	})
	return lm
}
