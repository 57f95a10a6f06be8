package stages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/ike"
	"editpipe/edit/none"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/patch"
	"editpipe/row"
	"editpipe/store"
	"editpipe/tensor"
)

// nudge is a small editor that changes weights without looking at the model:
// it adds a seeded rank-1 change per edit. It cannot edit the subject "Nobody".
func nudge() edit.Method {
	type config struct {
		Size float64 `set:"size" doc:"norm of the factors"`
	}
	return edit.Define(edit.Spec[config]{
		Name: "nudge", Title: "Nudge", Version: 1,
		Schedules: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Base:      config{Size: 0.5},
		Open:      func(_ context.Context, c config, in edit.Env) (edit.Editor, error) { return nudger{c.Size, in.LM}, nil },
	})
}

type nudger struct {
	size float64
	lm   *models.LM
}

var errNobody = errors.New("there is nobody to edit")

func (n nudger) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	for i, edits := range groups {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		made[i] = n.group(on, edits)
	}
	return made, nil
}

func (n nudger) group(on *patch.Patch, edits []dataset.Edit) edit.Made {
	made := edit.Made{Patch: on}
	for _, e := range edits {
		if e.Subject == "Nobody" {
			return edit.Made{Err: edit.Wrap("nudge", e.ID, errNobody)}
		}
		w := n.lm.Info().FFNs[0].Down
		var seed [32]byte
		copy(seed[:], e.ID)
		rng := rand.New(rand.NewChaCha8(seed))
		random := func(shape ...int) *tensor.Tensor {
			v := make([]float32, shape[0]*shape[1])
			for i := range v {
				v[i] = float32(n.size * rng.NormFloat64())
			}
			return tensor.FromFloat32s(v, shape...)
		}
		made.Patch = made.Patch.Then(&patch.Patch{
			Method: "nudge", Edits: []string{string(e.ID)},
			Weights: []patch.Weight{{At: w.ID, U: random(w.In, 1), V: random(1, w.Out)}},
		})
		made.Efforts = append(made.Efforts, edit.Effort{Steps: 1, FinalLoss: float32(n.size)})
	}
	return made
}

func TestNudgeConforms(t *testing.T) { edittest.Run(t, nudge(), edittest.Options{}) }

// village has n records with every axis; the fourth cannot be edited, the sixth
// has a probe that is too long.
func village(n int) dataset.Data {
	d := dataset.Data{Name: "world"}
	jobs := []string{"pilot", "cook", "judge", "baker"}
	for i := range n {
		name := fmt.Sprintf("Person %c%c", 'A'+i%26, 'a'+i/26)
		if i == 3 {
			name = "Nobody"
		}
		id := dataset.EditID(fmt.Sprintf("w%03d", i))
		e := dataset.Edit{
			ID: id, Subject: name, RelationID: "P106", Prompt: name + " works as a", Target: jobs[i%4], GroundTruth: jobs[(i+1)%4],
			Mode: dataset.Counterfactual, SubjectEnd: int32(len(name)),
		}
		var probes []dataset.Probe
		add := func(axis dataset.Axis, p dataset.Probe) {
			p.ID, p.EditID, p.Axis, p.Family = dataset.ProbeID(fmt.Sprintf("%s/%d", id, len(probes))), id, axis, axis.Family()
			p.SubjectStart, p.SubjectEnd = -1, -1
			if p.Format == "" {
				p.Format, p.AnswerMode, p.ChoiceLabel = dataset.Cloze, dataset.Single, -1
			}
			probes = append(probes, p)
		}
		add(dataset.AxisReliability, dataset.Probe{Prompt: e.Prompt, Answers: []string{e.Target}, Contrast: e.GroundTruth})
		add(dataset.AxisGeneralization, dataset.Probe{Prompt: "The job of " + name + " is", Answers: []string{e.Target, "a " + e.Target}, Contrast: e.GroundTruth})
		add(dataset.AxisOneHop, dataset.Probe{Prompt: name + " wears a", Answers: []string{"hat"}})
		add(dataset.AxisNeighbourhood, dataset.Probe{Prompt: fmt.Sprintf("Neighbour %d works as a", i), Answers: []string{e.GroundTruth}, Contrast: e.Target})
		add(dataset.AxisOtherTasks, dataset.Probe{
			Prompt: "Which is a fruit? It is a", Format: dataset.Choice, AnswerMode: dataset.OneChoice,
			Choices: []string{"stone", "pear"}, ChoiceLabel: 1,
		})
		unchanged := dataset.Probe{Prompt: name + " says", Format: dataset.Cloze, AnswerMode: dataset.Unchanged, ChoiceLabel: -1}
		add(dataset.AxisOtherRelations, unchanged)
		if i == 5 {
			add(dataset.AxisGeneralization, dataset.Probe{Prompt: strings.Repeat("very ", 300) + "long", Answers: []string{e.Target}, Contrast: e.GroundTruth})
		}
		d.Records = append(d.Records, dataset.Record{Edit: e, Probes: probes})
	}
	return d
}

// probesPerRecord is the number of probes that village gives every record.
const probesPerRecord = 6

func scheduleList(t *testing.T, list ...string) []edit.Schedule {
	t.Helper()
	var out []edit.Schedule
	for _, s := range list {
		set, err := edit.ParseSchedule(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, set)
	}
	return out
}

func tiny(t *testing.T) *models.LM {
	t.Helper()
	return edittest.Open(t, tinylm.Config{Context: 128})
}

func resultsIn(t *testing.T, dir string) []row.Result {
	t.Helper()
	rows, err := store.ReadDir[row.Result](filepath.Join(dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func do(t *testing.T, e Eval) *Report {
	t.Helper()
	r, err := e.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sameRun compares the result files byte for byte and the summaries.
func sameRun(t *testing.T, what, a, b string) {
	t.Helper()
	for _, name := range []string{"results", "applied", "base"} {
		x, y := contents(t, filepath.Join(a, name)), contents(t, filepath.Join(b, name))
		if len(x) == 0 || len(x) != len(y) {
			t.Errorf("%s: %s has %d files, then %d", what, name, len(x), len(y))
		}
		for f := range x {
			if !bytes.Equal(x[f], y[f]) {
				t.Errorf("%s: %s/%s differs", what, name, f)
			}
		}
	}
	x, err := os.ReadFile(filepath.Join(a, "summary.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	if y, err := os.ReadFile(filepath.Join(b, "summary.parquet")); err != nil || !bytes.Equal(x, y) {
		t.Errorf("%s: summaries differ (%v)", what, err)
	}
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestEval(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(24), Select: dataset.Selection{Limit: 20}, Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
		Methods:   append(ike.Methods(), none.Method(), nudge()),
		Overrides: map[string]map[string]string{"ike": {"k": "3"}},
		Schedules: scheduleList(t, "single", "batch:8", "sequential:10/2", "batch:50"),
		When:      When{Immediate: true, Every: 4},
	}
	r := do(t, e)
	rows := resultsIn(t, e.Out)
	type key struct{ method, setting string }
	byStatus := map[key]map[row.Status]int{}
	for _, r := range rows {
		k := key{r.Method, r.Setting}
		if byStatus[k] == nil {
			byStatus[k] = map[row.Status]int{}
		}
		byStatus[k][r.Status]++
		checkRow(t, r)
	}
	const n = 20*probesPerRecord + 1
	want := map[key]map[row.Status]int{
		{"none", "single"}:           {row.OK: 100, row.Skipped: 20, row.SkippedLength: 1},
		{"ice", "single"}:            {row.OK: 100, row.Skipped: 20, row.SkippedLength: 1},
		{"ike", "single"}:            {row.OK: 100, row.Skipped: 20, row.SkippedLength: 1},
		{"nudge", "single"}:          {row.OK: 95, row.Skipped: 19, row.Failed: 6, row.SkippedLength: 1},
		{"none", "batch:8"}:          {row.OK: 100, row.Skipped: 20, row.SkippedLength: 1},
		{"nudge", "batch:8"}:         {row.OK: 95, row.Skipped: 19, row.Failed: 6, row.SkippedLength: 1},
		{"ice", "batch:8"}:           {row.Unsupported: n},
		{"ike", "batch:8"}:           {row.Unsupported: n},
		{"ice", "sequential:10/2"}:   {row.Unsupported: n},
		{"ike", "sequential:10/2"}:   {row.Unsupported: n},
		{"none", "batch:50"}:         {row.Unsupported: n},
		{"nudge", "batch:50"}:        {row.Unsupported: n},
		{"ice", "batch:50"}:          {row.Unsupported: n},
		{"ike", "batch:50"}:          {row.Unsupported: n},
		{"none", "sequential:10/2"}:  nil,
		{"nudge", "sequential:10/2"}: nil,
	}
	for k, counts := range want {
		if counts != nil && !reflect.DeepEqual(byStatus[k], counts) {
			t.Errorf("%v: %v, want %v", k, byStatus[k], counts)
		}
	}
	if len(byStatus) != len(want) || !r.Failed() || r.Rows[row.Failed] == 0 {
		t.Errorf("%d combinations, failed %v, rows %v", len(byStatus), r.Failed(), r.Rows)
	}
	// Chains of 10 in steps of 2: asked after 4, 8 and 10 about all so far, and
	// in between about the last two.
	times := map[string]string{}
	for _, one := range rows {
		if one.Method == "nudge" && one.Setting == "sequential:10/2" && one.Axis == "reliability" {
			times[one.EditID] += fmt.Sprintf("%d ", one.EvaluatedAfter)
			if made := one.EvaluatedAfter; one.EditID < "w010" && one.BatchSize != made-boolInt(made >= 4) { // one of the first four fails
				t.Errorf("after %d edits %d are in force", made, one.BatchSize)
			}
		}
	}
	for id, want := range map[string]string{"w000": "2 4 8 10 ", "w003": "4 8 10 ", "w004": "6 8 10 ", "w009": "10 ", "w010": "2 4 8 10 "} {
		if times[id] != want {
			t.Errorf("edit %s was asked after %s, want %s", id, times[id], want)
		}
	}
	checkSummary(t, r.Summary)
	checkApplied(t, e.Out)
}

func boolInt(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// checkRow: numbers are there exactly where the status says so.
func checkRow(t *testing.T, r row.Result) {
	t.Helper()
	where := fmt.Sprintf("%s %s %s %s", r.Method, r.Setting, r.EditID, r.ProbeID)
	if (r.Status == row.OK) != (r.Detail == "") {
		t.Errorf("%s: status %s with detail %q", where, r.Status, r.Detail)
	}
	choice := r.Axis == "other_tasks"
	if got := r.TokenAcc != nil; got != (r.Status == row.OK && !choice) {
		t.Errorf("%s: status %s, accuracy there: %v", where, r.Status, got)
	}
	if r.Status == row.OK && choice && (r.Acc == nil || r.PreAcc == nil || r.AgreeExact == nil) {
		t.Errorf("%s: choice without accuracy or agreement", where)
	}
	if r.Status == row.OK && !choice && (r.PreTokenAcc == nil || r.AgreeTok == nil) {
		t.Errorf("%s: no comparison with the unedited model", where)
	}
	if got := r.KL != nil; got != (r.Status == row.OK && r.Axis == "neighbourhood") {
		t.Errorf("%s: status %s, divergence there: %v", where, r.Status, got)
	}
	if r.Method == "none" && r.Status == row.OK {
		if !*r.AgreeExact || r.KL != nil && *r.KL != 0 {
			t.Errorf("%s: the unedited model differs from itself", where)
		}
	}
	if r.Method == "nudge" && r.KL != nil && *r.KL == 0 {
		t.Errorf("%s: weights were changed but the distribution is the same", where)
	}
}

func checkSummary(t *testing.T, s []row.Summary) {
	t.Helper()
	find := func(method, setting, axis, metric, protocol string) *row.Summary {
		for i := range s {
			if c := &s[i]; c.Method == method && c.Setting == setting && c.Axis == axis && c.Metric == metric && strings.HasSuffix(c.ProtocolID, protocol) {
				return c
			}
		}
		t.Errorf("no summary of %s %s %s %s %s", method, setting, axis, metric, protocol)
		return &row.Summary{}
	}
	if c := find("none", "single", "neighbourhood", "agree_tok", ""); c.N != 20 || c.Mean == nil || *c.Mean != 1 {
		t.Errorf("the unedited model agrees with itself: %+v", c)
	}
	if c := find("nudge", "single", "overall", "cf_score", ""); c.N != 20 && c.N != 19 || c.Mean == nil {
		t.Errorf("score: %+v", c)
	}
	if c := find("ice", "batch:8", "reliability", "tf_token_acc", ""); c.N != 0 || c.Mean != nil {
		t.Errorf("unsupported: %+v", c)
	}
	find("nudge", "sequential:10/2", "reliability", "tf_token_acc", ";eval-at=final")
	find("nudge", "sequential:10/2", "reliability", "tf_token_acc", ";eval-at=immediate")
}

func checkApplied(t *testing.T, dir string) {
	t.Helper()
	rows, err := store.ReadDir[row.Applied](filepath.Join(dir, "applied"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range rows {
		if a.Setting != "single" {
			continue
		}
		switch a.Method {
		case "nudge":
			ok := a.EditID != "w003"
			if ok != (a.Status == row.OK) || ok != (a.DeltaNorm != nil) || ok != (a.Steps != nil) || ok != (a.StateBytes > 0) {
				t.Errorf("applied: %+v", a)
			}
			if !ok && (a.Status != row.Failed || !strings.Contains(a.Detail, errNobody.Error())) {
				t.Errorf("failed edit: %+v", a)
			}
		case "ice":
			if !strings.HasPrefix(a.Context, "New Fact: ") {
				t.Errorf("context: %+v", a)
			}
		}
	}
}

// Generated texts fill their columns where a text says something.
func TestGeneration(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(4), Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
		Methods: []edit.Method{none.Method()}, Schedules: scheduleList(t, "single"), MaxNew: 4,
	}
	do(t, e)
	for _, r := range resultsIn(t, e.Out) {
		asked := r.Axis != "neighbourhood" && r.Axis != "other_tasks"
		if r.Status != row.OK || (r.GenText != nil) != asked || (r.GenEM != nil) != (asked && r.Target != "") {
			t.Errorf("%s %s: %s %q, text %v, match %v", r.EditID, r.Axis, r.Status, r.Detail, r.GenText, r.GenEM)
		}
	}
}

func TestPlan(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(40), Select: dataset.Selection{Limit: 20}, Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
		Methods: append(ike.Methods(), nudge()), Schedules: scheduleList(t, "single", "batch:8", "sequential:30"),
	}
	p, err := e.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.Out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("planning made the run folder: %v", err)
	}
	if p.Edits != 20 || p.Train != 20 || p.Probes != 20*probesPerRecord+1 || p.Weights <= 0 || p.Disk <= 0 {
		t.Errorf("plan: %+v", p)
	}
	var refused []string
	for _, c := range p.Combos {
		if c.Refused != "" {
			refused = append(refused, c.Method+" "+c.Setting)
		}
	}
	if want := []string{"ike batch:8", "ike sequential:30", "ice batch:8", "ice sequential:30", "nudge sequential:30"}; !slices.Equal(refused, want) {
		t.Errorf("refused %q, want %q", refused, want)
	}
	// 20 records: 2 units of 16; 3 batches of 8; refused ones like single ones.
	if want := []PlanStage{{"base", 2, 0}, {"evaluate", 3*2 + 2*2*2 + 3 + 2, 0}}; !slices.Equal(p.Stages[:1], want[:1]) || p.Stages[1].Units != 2*2+2+2*2+3+2*2+2 {
		t.Errorf("stages %+v", p.Stages)
	}
	do(t, e)
	if p, err = e.Plan(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Stages {
		if s.Done != s.Units || s.Units == 0 {
			t.Errorf("after the run: %+v", s)
		}
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}

func TestFaultsAreNamedTogether(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(4), Select: dataset.Selection{IDs: []string{"w000", "x1"}}, Out: filepath.Join(t.TempDir(), "run"),
		Methods: []edit.Method{none.Method(), none.Method()}, Schedules: scheduleList(t, "single", "single"),
		Overrides: map[string]map[string]string{"rome": {"layer": "3"}}, MaxNew: -1,
	}
	_, err := e.Do(context.Background())
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"x1", "method none is given twice", "setting single is given twice", "rome", "-1 tokens"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("message lacks %q: %v", part, err)
		}
	}
	if _, err := os.Stat(e.Out); !errors.Is(err, os.ErrNotExist) {
		t.Error("a command that cannot run made its folder")
	}
}

// TestNothingToShow asks IKE to edit the only record there is: its rows say why
// that cannot be.
func TestNothingToShow(t *testing.T) {
	e := Eval{LM: tiny(t), Data: village(1), Out: filepath.Join(t.TempDir(), "run"), Methods: ike.Methods(), Schedules: scheduleList(t, "single")}
	do(t, e)
	rows, err := store.ReadDir[row.Result](filepath.Join(e.Out, string(store.TableResults)))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if failed := r.Status == row.Failed && strings.Contains(r.Detail, "demonstrations"); failed != (r.Method == "ike") {
			t.Errorf("%s %s: status %s, %q", r.Method, r.ProbeID, r.Status, r.Detail)
		}
	}
}

func TestSummariseIgnoresOrder(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(12), Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
		Methods: []edit.Method{none.Method(), nudge()}, Schedules: scheduleList(t, "single", "sequential:6"), When: When{Immediate: true, Final: true},
	}
	want := do(t, e).Summary
	rows := resultsIn(t, e.Out)
	rng := rand.New(rand.NewPCG(3, 3))
	for range 3 {
		rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		if got, err := Summarise(rows); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("shuffled rows give another summary (%v)", err)
		}
	}
	rows[0].Config = "another"
	if _, err := Summarise(rows); err == nil || !strings.Contains(err.Error(), "configurations") {
		t.Errorf("rows of two configurations: %v", err)
	}
}
