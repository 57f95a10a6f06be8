package edittest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/patch"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

// World is the model on which the original authors' code was run, with the
// folder of what that code made of it.
type World struct {
	Dir string
	Env *ort.Env
	LM  *models.LM
}

// OpenWorld opens the model in the reference folder, which EDITPIPE_SHARED names
// or which stands beside the repository. It is for the checks behind the build
// tag shared of packages two folders below the root; without the folder they
// are skipped.
func OpenWorld(t testing.TB) World {
	t.Helper()
	return OpenWorldWith(t, models.Options{Threads: 1})
}

// OpenWorldWith is OpenWorld with options.
func OpenWorldWith(t testing.TB, o models.Options) World {
	t.Helper()
	shared := os.Getenv("EDITPIPE_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(shared, "fixtures", "world")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no fixtures at %s", dir)
	}
	env := orttest.Open(t)
	lm, err := models.Open(context.Background(), env, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closing(t, lm.Close) })
	return World{dir, env, lm}
}

// JSON reads a JSON file of the folder.
func (w World) JSON(t testing.TB, into any, path ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{w.Dir}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// Moments writes the second moments of layers, which the folder holds as means,
// to files in the reference implementation's layout.
func (w World) Moments(t testing.TB, layers []int) []string {
	t.Helper()
	var info []struct {
		Count int64 `json:"count"`
	}
	w.JSON(t, &info, "reference", "cov", "info.json")
	dir, paths := t.TempDir(), make([]string, len(layers))
	for i, l := range layers {
		mean, err := npz.ReadNPY(filepath.Join(w.Dir, "reference", "cov", fmt.Sprintf("mom2_layer%d.npy", l)))
		if err != nil {
			t.Fatal(err)
		}
		sum := tensor.New(tensor.F32, mean.Shape...)
		for k, x := range mean.Float64s() {
			sum.Float32s()[k] = float32(x * float64(info[l].Count))
		}
		paths[i] = filepath.Join(dir, fmt.Sprintf("mom2_layer%d.npz", l))
		if err := npz.Write(paths[i], map[string]*tensor.Tensor{"mom2.mom2": sum, "mom2.count": tensor.FromInt64s([]int64{info[l].Count})}); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

// Case is a case in CounterFact's form, with its questions.
type Case struct {
	ID      int      `json:"case_id"`
	Para    []string `json:"paraphrase_prompts"`
	Near    []string `json:"neighborhood_prompts"`
	Request struct {
		Prompt   string `json:"prompt"`
		Relation string `json:"relation_id"`
		Subject  string `json:"subject"`
		New      struct {
			Text string `json:"str"`
		} `json:"target_new"`
		True struct {
			Text string `json:"str"`
		} `json:"target_true"`
	} `json:"requested_rewrite"`
}

// Cases are the cases on which the authors' code was run, by number.
func (w World) Cases(t testing.TB) map[int]Case {
	t.Helper()
	var list []Case
	w.JSON(t, &list, "data", "counterfact_like.json")
	cases := map[int]Case{}
	for _, c := range list {
		cases[c.ID] = c
	}
	return cases
}

// Edit is the case as an edit.
func (c Case) Edit() dataset.Edit {
	r := c.Request
	return dataset.Edit{
		ID: dataset.EditID(fmt.Sprint(c.ID)), RelationID: r.Relation, Prompt: strings.Replace(r.Prompt, "{}", r.Subject, 1),
		Subject: r.Subject, SubjectStart: -1, SubjectEnd: -1, Target: r.New.Text, GroundTruth: r.True.Text,
	}
}

// Questions are the prompts of a case by axis: rewrite, paraphrase and
// neighbourhood, at which the new object should be the less probable one.
func (c Case) Questions() [3][]string { return [3][]string{{c.Edit().Prompt}, c.Para, c.Near} }

// Pair holds mean negative log-probabilities of the new and the true object.
type Pair struct {
	New  float64 `json:"target_new"`
	True float64 `json:"target_true"`
}

// Pairs asks for both objects of a case at prompts.
func (w World) Pairs(t testing.TB, p *patch.Patch, prompts []string, c Case) []Pair {
	t.Helper()
	var rows []answer.Row
	for _, prompt := range prompts {
		rows = append(rows, answer.Row{Patch: p, Query: ask.Query{Prompt: prompt, Targets: []string{c.Request.New.Text, c.Request.True.Text}}})
	}
	answers, err := answer.Score(context.Background(), w.LM, rows)
	if err != nil {
		t.Fatal(err)
	}
	var out []Pair
	for _, a := range answers {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		mean := func(c ask.Continuation) (nll float64) {
			for _, l := range c.LogProbs {
				nll -= l / float64(len(c.LogProbs))
			}
			return nll
		}
		out = append(out, Pair{New: mean(a.Targets[0]), True: mean(a.Targets[1])})
	}
	return out
}

// Success is the share of pairs in which the new object is the more probable
// one, or the less probable one if it should be.
func Success(list []Pair, less bool) float64 {
	good := 0.0
	for _, p := range list {
		if p.New < p.True != less {
			good++
		}
	}
	return good / float64(len(list))
}

// EasyCase is a case in EasyEdit's form.
type EasyCase struct {
	ID      int    `json:"case_id"`
	Prompt  string `json:"prompt"`
	Phrase  string `json:"rephrase_prompt"`
	Subject string `json:"subject"`
	New     string `json:"target_new"`
}

// EasyCases are the cases on which EasyEdit's code was run, by number.
func (w World) EasyCases(t testing.TB) map[int]EasyCase {
	t.Helper()
	var list []EasyCase
	w.JSON(t, &list, "data", "easyedit_like.json")
	cases := map[int]EasyCase{}
	for _, c := range list {
		cases[c.ID] = c
	}
	return cases
}

// Edit is the case as an edit.
func (c EasyCase) Edit() dataset.Edit {
	return dataset.Edit{ID: dataset.EditID(fmt.Sprint(c.ID)), Prompt: c.Prompt, Subject: c.Subject, SubjectStart: -1, SubjectEnd: -1, Target: c.New}
}

// Accuracy is the share of target tokens that are the most probable ones, from
// gold tokens: of the prompt (reliability) and of its paraphrase
// (generalisation).
func (w World) Accuracy(t testing.TB, p *patch.Patch, c EasyCase) (share [2]float64) {
	t.Helper()
	var rows []answer.Row
	for _, prompt := range []string{c.Prompt, c.Phrase} {
		rows = append(rows, answer.Row{Patch: p, Query: ask.Query{Prompt: prompt, Targets: []string{c.New}}})
	}
	answers, err := answer.Score(context.Background(), w.LM, rows)
	if err != nil {
		t.Fatal(err)
	}
	for k, a := range answers {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		target := a.Targets[0]
		for i, token := range target.IDs {
			if target.Argmax[i] == token {
				share[k] += 1 / float64(len(target.IDs))
			}
		}
	}
	return share
}
