package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/ort/orttest"
	"editpipe/row"
	"editpipe/store"
	"editpipe/tensor"
)

// csvOf reads a report's CSV as maps by column.
func csvOf(t *testing.T, runs ...string) []map[string]string {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(callOK(t, append([]string{"report", "--format", "csv"}, runs...)...).out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, line := range lines[1:] {
		cells := map[string]string{}
		for i, cell := range line {
			cells[lines[0][i]] = cell
		}
		rows = append(rows, cells)
	}
	return rows
}

// resultsOf reads the result rows of a run.
func resultsOf(t *testing.T, run string) []row.Result {
	t.Helper()
	rows, err := store.ReadDir[row.Result](filepath.Join(run, string(store.TableResults)))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// tableOf is the first table of a report: its lines that begin with the words.
func tableOf(report string, words ...string) []string {
	var lines []string
	for line := range strings.Lines(report) {
		f := strings.Fields(line)
		if len(f) == 0 && len(lines) > 0 {
			break
		}
		if len(f) >= len(words) && slices.Equal(f[:len(words)], words) {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestRunsThatDiffer: runs of a sweep, which share their id, keep a line each, and
// the line names what differs; whatever their order.
func TestRunsThatDiffer(t *testing.T) {
	orttest.Find(t)
	dir := t.TempDir()
	runs := []string{filepath.Join(dir, "S1"), filepath.Join(dir, "S2")}
	for i, bound := range []string{"0.0002", "0.02"} {
		callOK(t, "eval", "--method", "none,ft-m", "--set", "ft-m.num_steps=3", "--set", "ft-m.norm_constraint="+bound, "--limit", "2", "--out", runs[i])
	}
	both := callOK(t, "report", runs[0], runs[1]).out
	for i, bound := range []string{"0.0002", "0.02"} {
		lines := tableOf(both, runs[i], "ft-m", "single")
		if len(lines) != 1 || !strings.Contains(lines[0], " norm_constraint="+bound+" ") || strings.Contains(lines[0], "num_steps") {
			t.Errorf("%s: lines %q in\n%s", runs[i], lines, both)
		}
		if lines := tableOf(both, runs[i], "none", "single"); len(lines) != 1 || strings.Contains(lines[0], "=") {
			t.Errorf("%s: none is the same in both, yet its lines are %q", runs[i], lines)
		}
	}
	one, other := csvOf(t, runs...), csvOf(t, runs[1], runs[0])
	told := map[string]map[string]string{}
	for _, line := range one {
		told[fmt.Sprint(line["folder"], line["method"], line["axis"], line["metric"])] = line
	}
	if len(told) != len(one) {
		t.Errorf("%d of %d rows of the CSV can be told apart", len(told), len(one))
	}
	for _, line := range other {
		if same := told[fmt.Sprint(line["folder"], line["method"], line["axis"], line["metric"])]; !maps.Equal(line, same) {
			t.Errorf("in the other order %v, not %v", line, same)
		}
	}
	if a, b := told[runs[0]+"ft-mreliabilitylogp_mean"], told[runs[1]+"ft-mreliabilitylogp_mean"]; a["mean"] == "" || a["mean"] == b["mean"] || a["differs"] != "norm_constraint=0.0002" {
		t.Errorf("%v\n%v", a, b)
	}
	// The same facts of a model and a data set of other content under the same name.
	model := copyDir(t, embedded(t), filepath.Join(dir, "m1", "same"))
	config := filepath.Join(copyDir(t, model, filepath.Join(dir, "m2", "same")), "config.json")
	writeFile(t, config, strings.Replace(string(readFile(t, config)), "{", `{"changed": true, `, 1))
	callOK(t, "import", "--in", "testdata/counterfact.json", "--out", filepath.Join(dir, "d"))
	for i, m := range []string{"m1", "m2"} {
		runs[i] = filepath.Join(dir, "of-"+m)
		callOK(t, "eval", "--model", filepath.Join(dir, m, "same"), "--data", filepath.Join(dir, "d"), "--out", runs[i])
	}
	both = callOK(t, "report", runs[0], runs[1]).out
	for i, m := range []string{"m1", "m2"} {
		if lines := tableOf(both, runs[i], "none", "single", "model"); len(lines) != 1 || !strings.Contains(lines[0], "path="+filepath.Join(dir, m, "same")) {
			t.Errorf("two models of one name: lines %q in\n%s", lines, both)
		}
	}
}

// closeMeans bounds the distance of a mean from the same one recounted, relative to
// its size: the terms, of one sign, are added plainly here and with compensation in
// the summary. A hundred roundings of float64 (2^-53) leave no more, on any processor.
const closeMeans = 1.2e-14

// closeScores bounds the distance of a row's mean log-probability in two runs of the
// model with other rows, relative to its size, at least 1 nat: kernels add up rows of
// another shape in another order. 80 roundings of float32 (2^-24) leave as much.
const closeScores = 5e-6

// recount averages the mean log-probability of the rows that keep lets pass, by edit.
func recount(rows []row.Result, keep func(row.Result) bool) (mean float64, n int) {
	of := map[string][]float64{}
	for _, r := range rows {
		if r.Axis == string(dataset.AxisReliability) && r.Status == row.OK && keep(r) {
			of[r.EditID] = append(of[r.EditID], *r.LogPMean)
		}
	}
	for _, values := range of {
		sum := 0.0
		for _, v := range values {
			sum += v
		}
		mean += sum / float64(len(values)) / float64(len(of))
	}
	return mean, len(of)
}

// TestCheckpoints: the times at which a chain is asked are summarised apart, and
// the last one is the chain's result.
func TestCheckpoints(t *testing.T) {
	orttest.Find(t)
	run := filepath.Join(t.TempDir(), "seq")
	callOK(t, "eval", "--method", "ft-l", "--set", "ft-l.num_steps=3", "--setting", "sequential:5", "--limit", "5", "--eval-at", "immediate,every:2,final", "--out", run)
	rows := resultsOf(t, run)
	after := func(n int32) func(row.Result) bool {
		return func(r row.Result) bool { return r.EvaluatedAfter == n && r.EditIndex < n }
	}
	means := map[string]string{}
	for _, line := range csvOf(t, run) {
		if line["axis"] == "reliability" && line["metric"] == "logp_mean" {
			_, at, _ := strings.Cut(line["protocol_id"], ";eval-at=")
			means[at] = line["mean"] + " of " + line["n"]
		}
	}
	var seen []string
	for at, keep := range map[string]func(row.Result) bool{
		"final": after(5), "after:2": after(2), "after:4": after(4),
		"immediate": func(r row.Result) bool { return r.EvaluatedAfter == r.EditIndex+1 },
	} {
		want, n := recount(rows, keep)
		var mean float64
		var of int
		if _, err := fmt.Sscanf(means[at], "%g of %d", &mean, &of); err != nil || of != n || math.Abs(mean-want) > closeMeans*math.Abs(want) {
			t.Errorf("%s: %q, recounted %v of %d", at, means[at], want, n)
		}
		seen = append(seen, means[at])
	}
	slices.Sort(seen)
	if len(means) != 4 || len(slices.Compact(seen)) != 4 {
		t.Errorf("checkpoints %v", means)
	}
	lines := tableOf(callOK(t, "report", run).out, "ft-l")
	for i, at := range []string{"", "immediate", "after:2", "after:4"} {
		if len(lines) != 4 || !strings.HasPrefix(strings.Join(strings.Fields(lines[i]), " "), strings.TrimSpace("ft-l sequential:5 "+at)) {
			t.Fatalf("lines %q", lines)
		}
	}
	if f := strings.Fields(lines[0]); f[2] == "immediate" {
		t.Errorf("the first line is not the chain's result: %s", lines[0])
	}
	// Another command in the folder does not change what a chain was asked.
	callOK(t, "eval", "--method", "none", "--limit", "5", "--out", run)
	if again := tableOf(callOK(t, "report", run).out, "ft-l"); !slices.Equal(again, lines) {
		t.Errorf("after another command %q, before %q", again, lines)
	}
}

// TestSmallerLimit: what is finished stays, whatever is asked of its folder next;
// the report says what it counts, and the first command finds everything again.
func TestSmallerLimit(t *testing.T) {
	orttest.Find(t)
	run := filepath.Join(t.TempDir(), "run")
	command := func(limit string) []string {
		return []string{"eval", "--method", "none,ice", "--limit", limit, "--out", run}
	}
	callOK(t, command("5")...)
	before, rows := contents(t, run), resultsOf(t, run)
	less := callOK(t, command("3")...)
	kept := map[string]bool{}
	for name, data := range contents(t, run) {
		if strings.HasSuffix(name, ".parquet") {
			kept[data] = true
		}
	}
	for name, data := range before {
		if strings.HasSuffix(name, ".parquet") && name != "summary.parquet" && !kept[data] {
			t.Errorf("%s is lost", name)
		}
	}
	report := callOK(t, "report", run)
	for _, want := range []string{"of 3 edits", fmt.Sprintf("not counted: %d rows", len(rows)), "ice single, none single"} {
		if !strings.Contains(report.out, want) {
			t.Errorf("the report does not say %q:\n%s", want, report.out)
		}
	}
	if !strings.Contains(less.err, fmt.Sprintf("%d rows", len(rows))) || !strings.Contains(report.err, "not counted") {
		t.Errorf("%s%s", less.err, report.err)
	}
	if n := tableOf(report.out, "n"); len(n) == 0 || strings.Fields(n[0])[1] != "3" {
		t.Errorf("counts %q", n)
	}
	again := callOK(t, command("5")...)
	if !strings.Contains(again.err, "evaluate: 2 of 2 units were finished before") {
		t.Errorf("finished units were done again:\n%s", again.err)
	}
	after := contents(t, run)
	for name, data := range before {
		if name != "manifest.json" && after[name] != data {
			t.Errorf("%s is not as it was", name)
		}
	}
}

// TestUnfinished: a report says that units are missing, and that rows are not in
// its means.
func TestUnfinished(t *testing.T) {
	orttest.Find(t)
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	callOK(t, "eval", "--limit", "3", "--out", run)
	whole := callOK(t, "report", run)
	if strings.Contains(whole.out, "warning") {
		t.Errorf("a finished run:\n%s", whole.out)
	}
	if o := callUntil(t, "evaluate:", "eval", "--method", "none,ice,ike", "--limit", "3", "--out", run); o.code != exitInterrupted {
		t.Fatalf("code %d: %s", o.code, o.err)
	}
	if o := callOK(t, "report", run); !strings.Contains(o.out, "units of its last command are missing") || tableOf(o.out, "none")[0] != tableOf(whole.out, "none")[0] {
		t.Errorf("an interrupted run:\n%s", o.out)
	}
	// A row that the means do not count.
	rows := resultsOf(t, run)
	if err := store.Write(filepath.Join(run, "results", "further.parquet"), rows[:1], nil); err != nil {
		t.Fatal(err)
	}
	if o := callOK(t, "report", "--format", "json", run); !strings.Contains(o.out, fmt.Sprintf("the means count %d result rows", len(rows))) || !strings.Contains(o.err, "warning") {
		t.Errorf("%s\n%s", o.out, o.err)
	}
	// Which shard a unit belongs to follows from its id, and so from the seed.
	for seed := range 20 {
		shard := filepath.Join(dir, fmt.Sprint("seed", seed))
		part := func(which string) outcome {
			callOK(t, "eval", "--method", "none,ice", "--limit", "1", "--seed", fmt.Sprint(seed), "--shard", which, "--out", shard)
			return call(t, "report", shard)
		}
		half := part("1/2")
		units, err := filepath.Glob(filepath.Join(shard, "results", "*.parquet"))
		if err != nil {
			t.Fatal(err)
		}
		if len(units) != 1 {
			continue // both units are one shard's
		}
		if whole := part("2/2"); !strings.Contains(half.out, "every shard") || strings.Contains(whole.out, "every shard") {
			t.Errorf("after one shard:\n%s\nafter both:\n%s", half.out, whole.out)
		}
		return
	}
	t.Error("no seed divides two units")
}

// fails makes the graph of a tiny model look up a row that is not there where a
// sequence has the token.
func fails(t *testing.T, model string, token int64) {
	t.Helper()
	m, err := onnx.Open(filepath.Join(model, "model.onnx"))
	if err == nil {
		err = m.Splice("/transformer/Add_output_0", func(b *onnx.Builder, in string) (string, error) {
			place := b.Op("Cast", []string{b.Op("Equal", []string{"input_ids", b.Int64s(token)})}, onnx.AttrInt("to", int64(onnx.Int64)))
			zero := b.Op("Gather", []string{b.Const(tensor.FromFloat32s([]float32{0}, 1)), place})
			return b.Op("Add", []string{in, b.Op("Unsqueeze", []string{zero, b.Int64s(-1)})}), nil
		})
	}
	if err == nil {
		err = m.Save(filepath.Join(model, "model.onnx"), onnx.SaveOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// failingModel makes DIR/model, whose graph fails on "%", and DIR/data, in which
// one question has it, with the run DIR/sound of the model before it was harmed.
func failingModel(t *testing.T, dir string) {
	t.Helper()
	model, data := filepath.Join(dir, "model"), filepath.Join(dir, "data")
	if err := os.Mkdir(model, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tinylm.Write(model, tinylm.Config{Family: tinylm.GPT2}); err != nil {
		t.Fatal(err)
	}
	const text = `[{"prompt":"Ada works as a","subject":"Ada","target_new":"cook","rephrase_prompt":"The job of Ada is"},
		{"prompt":"Bob works as a","subject":"Bob","target_new":"pilot","rephrase_prompt":"Is it % or what Bob is?"}]`
	callOK(t, "import", "--in", writeFile(t, filepath.Join(dir, "in.json"), text), "--out", data)
	callOK(t, "eval", "--model", model, "--data", data, "--method", "none,ft-l", "--set", "ft-l.num_steps=2", "--out", filepath.Join(dir, "sound"))
	var tokenizer struct {
		Model struct {
			Vocab map[string]int64 `json:"vocab"`
		} `json:"model"`
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(model, "tokenizer.json")), &tokenizer); err != nil {
		t.Fatal(err)
	}
	token, ok := tokenizer.Model.Vocab["%"]
	if !ok {
		t.Fatal("the vocabulary has no %")
	}
	fails(t, model, token)
}

// checkGraphFailure: the question on which the graph fails is a row of each method
// with that error, which is the model's and counts for nothing; all other rows are
// as they were without it.
func checkGraphFailure(t *testing.T, dir string, o outcome) {
	t.Helper()
	if !strings.Contains(o.out, "2 error") {
		t.Errorf("%s%s", o.out, o.err)
	}
	key := func(r row.Result) string { return r.Method + r.ProbeID }
	sound := map[string]row.Result{}
	for _, r := range resultsOf(t, filepath.Join(dir, "sound")) {
		sound[key(r)] = r
	}
	for _, r := range resultsOf(t, filepath.Join(dir, "run")) {
		if strings.Contains(r.Prompt, "%") {
			if r.Status != row.Failed || r.Fault != row.FaultModel || !strings.Contains(r.Detail, "graph failed") {
				t.Errorf("%s %s: %s, fault %q, %s", r.Method, r.Prompt, r.Status, r.Fault, r.Detail)
			}
		} else if s := sound[key(r)]; r.Status != row.OK || math.Abs(*r.LogPMean-*s.LogPMean) > closeScores*max(1, math.Abs(*s.LogPMean)) {
			t.Errorf("%s %s: %s (%s), %v, without the other row %v", r.Method, r.Prompt, r.Status, r.Detail, r.LogPMean, s.LogPMean)
		}
	}
	for _, line := range csvOf(t, filepath.Join(dir, "run")) {
		if line["axis"] == "generalization" && line["metric"] == "tf_token_acc" && line["n"] != "1" {
			t.Errorf("the row counts: %v", line)
		}
	}
}

// TestNoGradientReason: fine-tuning an encoder-decoder is refused for what the
// matter is.
func TestNoGradientReason(t *testing.T) {
	orttest.Find(t)
	dir := t.TempDir()
	model := filepath.Join(dir, "model")
	if err := os.Mkdir(model, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tinylm.Write(model, tinylm.Config{Family: tinylm.T5}); err != nil {
		t.Fatal(err)
	}
	imported(t, dir)
	o := call(t, "eval", "--model", model, "--data", filepath.Join(dir, "data"), "--method", "ft-l", "--limit", "1", "--out", filepath.Join(dir, "run"))
	if o.code != exitFailedRows {
		t.Fatalf("code %d: %s", o.code, o.err)
	}
	for _, r := range resultsOf(t, filepath.Join(dir, "run")) {
		if r.Status != row.Unsupported || r.Fault != row.FaultModel || !strings.Contains(r.Detail, "encoder") {
			t.Errorf("%s, fault %q: %s", r.Status, r.Fault, r.Detail)
		}
	}
}
