package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/demo"
	"editpipe/demo/world"
	"editpipe/edit"
	"editpipe/edit/all"
	"editpipe/metric"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/row"
	"editpipe/stages"
	"editpipe/store"
	"editpipe/tensor"
	"editpipe/tensor/safetensors"
)

// TestSession goes through the README's session on the embedded model; later
// steps read what earlier ones wrote.
func TestSession(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	t.Run("generate", func(t *testing.T) { checkGenerate(t, in("sets")) })
	t.Run("import", func(t *testing.T) { checkImport(t, in("data")) })
	t.Run("inspect", checkInspect)
	t.Run("list", checkLists)
	t.Run("explain", checkExplain)
	t.Run("cache", checkCache)
	t.Run("doctor", checkDoctor)
	t.Run("edit", func(t *testing.T) { checkEdit(t, in("saved.safetensors")) })
	t.Run("export", func(t *testing.T) { checkExport(t, dir) })
	t.Run("prepare", func(t *testing.T) { checkPrepare(t, dir) })
	t.Run("plan", func(t *testing.T) { checkPlan(t, in("run")) })
	t.Run("config", checkPrecedence)
	t.Run("eval", func(t *testing.T) { checkEval(t, in("run")) })
	t.Run("eval on generated sets", func(t *testing.T) { checkEvalData(t, in("sets"), in("run-sets"), 4, true) })
	t.Run("eval on imported data", func(t *testing.T) { checkEvalData(t, in("data"), in("run-data"), 2, false) })
	t.Run("eval of patches", func(t *testing.T) { checkPatches(t, in("data"), in("edits"), in("run-patches")) })
	t.Run("shards", func(t *testing.T) { checkShards(t, in("whole"), in("shared")) })
}

// parse reads JSON into v and refuses keys v lacks and anything behind it.
func parse(t *testing.T, text string, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if _, err := dec.Token(); err != io.EOF {
		t.Fatalf("more than one value:\n%s", text)
	}
}

func checkGenerate(t *testing.T, out string) {
	o := callOK(t, "generate", "--n", "20", "--out", out)
	if !strings.Contains(o.out, "20 edits") || !strings.Contains(o.out, "seed 1") {
		t.Error(o.out)
	}
	records, m, err := store.ReadDataset(out)
	if err != nil || len(records) != 20 || m.Edits != 20 {
		t.Fatalf("%d records, %d in the manifest, %v", len(records), m.Edits, err)
	}
	for _, r := range records {
		if got := r.Edit.Prompt[r.Edit.SubjectStart:r.Edit.SubjectEnd]; got != r.Edit.Subject {
			t.Errorf("edit %s: the span holds %q, the subject is %q", r.Edit.ID, got, r.Edit.Subject)
		}
	}
	var set struct {
		Edits  int            `json:"edits"`
		Counts map[string]any `json:"counts"`
	}
	again := callOK(t, "generate", "--n", "3", "--json", "--sets", "reliability,one_hop", "--out", t.TempDir())
	if err := json.Unmarshal([]byte(again.out), &set); err != nil || set.Edits != 3 {
		t.Errorf("%v, %d edits in\n%s", err, set.Edits, again.out)
	}
}

func checkImport(t *testing.T, out string) {
	o := callOK(t, "import", "--in", "testdata/counterfact.json", "--out", out)
	for _, want := range []string{"2 records of format counterfact", "generalization", "not imported: attribute_prompts"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("no %q in\n%s", want, o.out)
		}
	}
	records, m, err := store.ReadDataset(out)
	if err != nil || len(records) != 2 || m.Source != "counterfact" {
		t.Fatalf("%d records, manifest %+v, %v", len(records), m, err)
	}
	if e := records[1].Edit; e.Prompt != "The home town of Zume Velkin is called" || e.Target != "Vangeler" || e.SubjectStart != int32(len("The home town of ")) {
		t.Errorf("edit %+v", e)
	}
	axes := map[dataset.Axis]int{}
	for _, p := range records[0].Probes {
		axes[p.Axis]++
	}
	want := map[dataset.Axis]int{dataset.AxisReliability: 1, dataset.AxisGeneralization: 2, dataset.AxisNeighbourhood: 1}
	if !maps.Equal(axes, want) {
		t.Errorf("probes %v, want %v", axes, want)
	}
}

func checkInspect(t *testing.T) {
	text := callOK(t, "inspect").out
	for _, want := range []string{demo.Name + " (gpt2)", "decoder.3.ffn_down", "1024 x 128", "methods, with their defaults"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var info struct {
		Name    string
		Layers  int
		Vocab   int
		Methods []methodFor `json:"methods"`
	}
	if err := json.Unmarshal([]byte(callOK(t, "inspect", "--json").out), &info); err != nil {
		t.Fatal(err)
	}
	if info.Name != demo.Name || info.Layers != 6 || info.Vocab != 3072 || len(info.Methods) != len(all.Methods()) {
		t.Errorf("%+v", info)
	}
}

func checkLists(t *testing.T) {
	wanted := map[string][]string{}
	for _, m := range all.Methods() {
		wanted["methods"] = append(wanted["methods"], m.Name)
	}
	for _, m := range metric.All() {
		wanted["metrics"] = append(wanted["metrics"], m.ID)
	}
	for _, p := range ort.KnownProviders() {
		wanted["providers"] = append(wanted["providers"], p.Name)
	}
	for _, f := range importer.Formats() {
		wanted["formats"] = append(wanted["formats"], f.Name)
	}
	for _, l := range lists {
		var rows []listed
		parse(t, callOK(t, "list", "--json", l.name).out, &rows)
		var names []string
		for _, r := range rows {
			names = append(names, r.Name)
			if r.Doc == "" || strings.Contains(r.Doc, "()") {
				t.Errorf("list %s: %s is described as %q", l.name, r.Name, r.Doc)
			}
		}
		if !slices.Equal(names, wanted[l.name]) || len(names) == 0 {
			t.Errorf("list %s: %v, want %v", l.name, names, wanted[l.name])
		}
		text := callOK(t, "list", l.name).out
		for _, n := range names {
			if !strings.Contains(text, n) {
				t.Errorf("list %s as text lacks %s", l.name, n)
			}
		}
	}
}

func checkExplain(t *testing.T) {
	for _, m := range metric.All() {
		if text := callOK(t, "explain", m.ID).out; !strings.HasPrefix(text, m.ID) {
			t.Errorf("%s is explained by\n%s", m.ID, text)
		}
	}
}

func checkCache(t *testing.T) {
	model := embedded(t)
	if text := callOK(t, "cache").out; !strings.Contains(text, "demo") {
		t.Errorf("the embedded model is not listed:\n%s", text)
	}
	callOK(t, "cache", "--prune")
	if nearest(model) == model {
		t.Errorf("%s is still there", model)
	}
	if again := embedded(t); again != model {
		t.Errorf("the model was extracted to %s, before to %s", again, model)
	}
}

func checkDoctor(t *testing.T) {
	orttest.Find(t)
	var findings []finding
	parse(t, callOK(t, "doctor", "--json").out, &findings)
	ok := map[string]bool{}
	for _, f := range findings {
		ok[f.What] = f.OK
		if f.Note == "" {
			t.Errorf("%s says nothing", f.What)
		}
	}
	for _, what := range []string{"editpipe", "runtime library", "runtime", "provider cpu", "embedded model"} {
		if !ok[what] {
			t.Errorf("%s is not well: %+v", what, findings)
		}
	}
	for _, p := range ort.KnownProviders() {
		if _, there := ok["provider "+p.Name]; !there {
			t.Errorf("provider %s was not tried", p.Name)
		}
	}
}

func checkEdit(t *testing.T, saved string) {
	orttest.Find(t)
	// A comma belongs to the prompt: it separates nothing.
	further := "Drangin Rizaer, who works as a"
	var shown []stages.Sides
	parse(t, callOK(t, "edit", "--method", "ice", "--json", "--ask", further, "--ask", "Zume Velkin").out, &shown)
	if len(shown) != 3 || shown[0].Prompt != demo.FactPrompt || shown[1].Prompt != further {
		t.Fatalf("%+v", shown)
	}
	if first := shown[0]; first.Target != demo.FactOther || *first.LogPBefore >= 0 || *first.LogPAfter >= 0 || *first.LogPBefore == *first.LogPAfter ||
		!strings.Contains(first.AnswerBefore, demo.FactAnswer) {
		t.Errorf("%+v", first)
	}
	if shown[1].LogPBefore != nil {
		t.Errorf("a further prompt has no target, yet %+v", shown[1])
	}
	text := callOK(t, "edit", "--method", "none", "--save", saved)
	if !strings.Contains(text.out, demo.FactPrompt) || !strings.Contains(text.err, saved) {
		t.Errorf("%s%s", text.out, text.err)
	}
	p, meta, err := patch.Load(saved, edit.Decoders(all.Methods()))
	if err != nil || len(p.Weights) != 0 || meta.Model != demo.Name {
		t.Errorf("saved patch of method none: %+v, %+v, %v", p, meta, err)
	}
}

// checkExport makes a weight edit with a file of deltas, saves it, bakes it in
// and asks the plain model what the patched one was asked.
func checkExport(t *testing.T, dir string) {
	orttest.Find(t)
	deltas, saved, baked := filepath.Join(dir, "deltas"), filepath.Join(dir, "delta.safetensors"), filepath.Join(dir, "baked")
	if err := os.Mkdir(deltas, 0o755); err != nil {
		t.Fatal(err)
	}
	u, v := make([]float32, 1024), make([]float32, 128)
	for i := range u {
		u[i] = float32(i%7-3) / 40
	}
	for i := range v {
		v[i] = float32(i%5-2) / 4
	}
	if err := safetensors.Write(filepath.Join(deltas, "edit.safetensors"), map[string]*tensor.Tensor{
		"decoder.1.ffn_down.U": tensor.FromFloat32s(u, 1024, 1), "decoder.1.ffn_down.V": tensor.FromFloat32s(v, 1, 128),
	}, nil); err != nil {
		t.Fatal(err)
	}
	var patched, plain []stages.Sides
	parse(t, callOK(t, "edit", "--method", "patch", "--set", "patch.path="+deltas, "--save", saved, "--json").out, &patched)
	callOK(t, "export", "--patch", saved, "--out", baked)
	parse(t, callOK(t, "edit", "--model", baked, "--method", "none", "--json",
		"--prompt", demo.FactPrompt, "--subject", demo.FactSubject, "--target", demo.FactOther).out, &plain)
	const rounding = 1e-4 // one rounding of the weights to float32, against a sum of two products
	if after, before := *patched[0].LogPAfter, *plain[0].LogPBefore; math.Abs(after-before) > rounding || after == *patched[0].LogPBefore {
		t.Errorf("patched %v (unedited %v), exported %v", after, *patched[0].LogPBefore, before)
	}
}

// checkPrepare prepares ROME on random words, whose keys are independent, read
// from a Parquet column, and makes an edit with what it wrote.
func checkPrepare(t *testing.T, dir string) {
	orttest.Find(t)
	var rows []struct {
		Text string `parquet:"text"`
	}
	var words []string
	for _, e := range world.Build(world.Seed).Entities {
		words = append(words, strings.Fields(e.Label)...)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 900 {
		var text []string
		for range 12 {
			text = append(text, words[random.IntN(len(words))])
		}
		rows = append(rows, struct {
			Text string `parquet:"text"`
		}{strings.Join(text, " ")})
	}
	corpus := filepath.Join(dir, "corpus.parquet")
	if err := store.Write(corpus, rows, nil); err != nil {
		t.Fatal(err)
	}
	artifacts := filepath.Join(dir, "artifacts")
	callOK(t, "prepare", "--method", "rome", "--corpus", corpus, "--set", "rome.mom2_tokens=15000", "--out", artifacts)
	var shown []stages.Sides
	parse(t, callOK(t, "edit", "--method", "rome", "--artifacts", artifacts, "--json").out, &shown)
	if before, after := *shown[0].LogPBefore, *shown[0].LogPAfter; after < before+1 {
		t.Errorf("ROME moved the target from %v to %v nats only", before, after)
	}
}

func checkPlan(t *testing.T, out string) {
	orttest.Find(t)
	above := contents(t, filepath.Dir(out))
	text := callOK(t, "eval", "--method", "none", "--method", "ice", "--limit", "8", "--out", out, "--plan").out
	for _, want := range []string{"8 edits", "evaluate", "ice", "memory", "disk"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if !maps.Equal(above, contents(t, filepath.Dir(out))) {
		t.Error("--plan wrote something")
	}
}

// plan is what an eval command with these flags would do.
func plan(t *testing.T, flags ...string) stages.Plan {
	t.Helper()
	var p stages.Plan
	parse(t, callOK(t, append([]string{"eval", "--plan", "--json"}, flags...)...).out, &p)
	return p
}

func combos(p stages.Plan) string {
	var names []string
	for _, c := range p.Combos {
		names = append(names, c.Method+" "+c.Setting)
	}
	return strings.Join(names, ", ")
}

// checkPrecedence: a flag wins over the environment, which wins over --config.
func checkPrecedence(t *testing.T) {
	orttest.Find(t)
	dir := t.TempDir()
	config := writeFile(t, filepath.Join(dir, "run.yaml"), fmt.Sprintf(
		"method: [none, ike]\nlimit: 6\nsetting: single\nout: %q\nset:\n  - ike.k=2\n  - ike.mode=easyedit\n", filepath.Join(dir, "run")))
	want := func(p stages.Plan, edits int, list string) {
		t.Helper()
		if p.Edits != edits || combos(p) != list {
			t.Errorf("%d edits of %s, want %d of %s", p.Edits, combos(p), edits, list)
		}
	}
	p := plan(t, "--config", config)
	want(p, 6, "none single, ike single")
	if c := p.Combos[1].Config; !strings.Contains(c, "k=2") || !strings.Contains(c, "mode=easyedit") {
		t.Errorf("configuration of ike: %q", c)
	}
	want(plan(t, "--config", config, "--limit", "2"), 2, "none single, ike single")
	t.Setenv("EDITPIPE_LIMIT", "3")
	want(plan(t, "--config", config), 3, "none single, ike single")
	want(plan(t, "--config", config, "--limit", "2"), 2, "none single, ike single")
	t.Setenv("EDITPIPE_METHOD", "ice")
	t.Setenv("EDITPIPE_SETTING", "single,batch:2")
	want(plan(t, "--out", filepath.Join(dir, "run")), 3, "ice single, ice batch:2")
}

func checkEval(t *testing.T, out string) {
	orttest.Find(t)
	command := []string{"eval", "--method", "none,ice", "--limit", "8", "--out", out}
	first := callOK(t, command...)
	rows, err := store.ReadDir[row.Result](filepath.Join(out, string(store.TableResults)))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%s: %d rows (%d ok)\n", out, len(rows), len(rows)); first.out != want {
		t.Errorf("printed %q, want %q", first.out, want)
	}
	before := contents(t, out)
	again := callOK(t, command...)
	if !strings.Contains(again.err, "base: 1 of 1 units were finished before") || !strings.Contains(again.err, "evaluate: 2 of 2 units were finished before") {
		t.Errorf("the second command did something:\n%s", again.err)
	}
	if after := contents(t, out); !maps.Equal(before, after) {
		t.Errorf("the second command changed the folder: %v, before %v", sortedKeys(after), sortedKeys(before))
	}
	var told struct {
		Run  string             `json:"run"`
		Dir  string             `json:"dir"`
		Rows map[row.Status]int `json:"rows"`
	}
	parse(t, callOK(t, append(command, "--json")...).out, &told)
	if told.Run != rows[0].RunID || told.Dir != out || !maps.Equal(told.Rows, map[row.Status]int{row.OK: len(rows)}) {
		t.Errorf("--json says %+v", told)
	}
	checkReports(t, out, rows)
}

// checkReports reads a run in every format.
func checkReports(t *testing.T, run string, rows []row.Result) {
	text, md := callOK(t, "report", run).out, callOK(t, "report", "--format", "md", run).out
	for _, want := range []string{"none", "ice", "Efficiency", rows[0].ProtocolID} {
		if !strings.Contains(text, want) || !strings.Contains(md, want) {
			t.Errorf("no %q in\n%s\n%s", want, text, md)
		}
	}
	if !strings.Contains(md, "| method | setting |") {
		t.Error(md)
	}

	document := callOK(t, "report", "--format", "json", run).out
	var whole map[string][]map[string]any
	parse(t, document, &whole)
	rowKeys := []string{"run", "model", "dataset", "method", "setting", "axis", "metric", "protocol_id", "n", "mean", "ci_lo", "ci_hi", "folder", "differs"}
	costKeys := []string{"run", "folder", "differs", "method", "setting", "n", "t_prepare", "t_edit_p50", "t_edit_p90", "edits_per_second", "probes_per_second", "peak_rss", "peak_vram"}
	if got := sortedKeys(whole); !slices.Equal(got, []string{"efficiency", "problems", "rows", "runs"}) {
		t.Errorf("keys %v", got)
	}
	for name, want := range map[string][]string{"rows": rowKeys, "efficiency": costKeys} {
		sorted := slices.Sorted(slices.Values(want))
		if len(whole[name]) == 0 {
			t.Errorf("no %s", name)
		}
		for _, line := range whole[name] {
			if got := sortedKeys(line); !slices.Equal(got, sorted) {
				t.Errorf("%s: keys %v, want %v", name, got, sorted)
			}
		}
	}

	table, err := csv.NewReader(strings.NewReader(callOK(t, "report", "--format", "csv", run).out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(table[0], rowKeys) || len(table)-1 != len(whole["rows"]) {
		t.Errorf("CSV has columns %v and %d rows, JSON %d", table[0], len(table)-1, len(whole["rows"]))
	}
	checkMean(t, whole["rows"], rows)

	file := filepath.Join(t.TempDir(), "report.json")
	if o := callOK(t, "report", "--format", "json", "--out", file, run); o.out != "" || string(readFile(t, file)) != document {
		t.Errorf("--out wrote something else than standard output gets, or both: %q", o.out)
	}
}

// checkMean recounts a figure of the report from the result rows, as the README
// tells a notebook to: the mean over records of the mean over their probes.
func checkMean(t *testing.T, reported []map[string]any, rows []row.Result) {
	sums, counts := map[string]float64{}, map[string]float64{}
	for _, r := range rows {
		if r.Method == "ice" && r.Axis == string(dataset.AxisNeighbourhood) && r.AgreeTok != nil {
			sums[r.EditID] += *r.AgreeTok
			counts[r.EditID]++
		}
	}
	want := 0.0
	for id := range sums {
		want += sums[id] / counts[id] / float64(len(sums))
	}
	for _, r := range reported {
		if r["method"] == "ice" && r["axis"] == string(dataset.AxisNeighbourhood) && r["metric"] == "agree_tok" {
			if got := r["mean"].(float64); got-want > sumOrder || want-got > sumOrder || r["n"].(float64) != float64(len(sums)) {
				t.Errorf("agree_tok of ice on neighbourhood is reported as %v over %v records, the rows say %v over %d", got, r["n"], want, len(sums))
			}
			return
		}
	}
	t.Error("agree_tok of ice on neighbourhood is not reported")
}

// sumOrder bounds what the order of a few float64 additions of numbers in
// [0, 1] can change.
const sumOrder = 1e-12

func checkEvalData(t *testing.T, data, out string, edits int, nineAxes bool) {
	orttest.Find(t)
	callOK(t, "eval", "--data", data, "--limit", fmt.Sprint(edits), "--out", out)
	rows, err := store.ReadDir[row.Result](filepath.Join(out, string(store.TableResults)))
	if err != nil {
		t.Fatal(err)
	}
	records, _, err := store.ReadDataset(data)
	if err != nil {
		t.Fatal(err)
	}
	probes, axes := 0, map[string]bool{}
	for _, r := range records[:edits] {
		probes += len(r.Probes)
	}
	for _, r := range rows {
		axes[r.Axis] = true
	}
	if len(rows) != probes {
		t.Errorf("%d rows for %d probes", len(rows), probes)
	}
	if nineAxes && len(axes) != len(dataset.Axes()) {
		t.Errorf("axes %v of a generated set", sortedKeys(axes))
	}
}

// checkPatches evaluates two patches made here: one that changes nothing, so
// its rows are those of the unedited model, and one that changes much.
func checkPatches(t *testing.T, data, edits, out string) {
	orttest.Find(t)
	info, err := models.Inspect(embedded(t))
	if err != nil {
		t.Fatal(err)
	}
	records, _, err := store.ReadDataset(data)
	if err != nil {
		t.Fatal(err)
	}
	down := info.FFNs[2].Weight(arch.FFNDown)
	for i, r := range records {
		u, v := tensor.New(tensor.F32, down.In, 1), tensor.New(tensor.F32, 1, down.Out)
		for j := range u.Float32s() {
			u.Float32s()[j] = float32(i) * 0.1 // nothing for the first edit
		}
		for j := range v.Float32s() {
			v.Float32s()[j] = float32(j%7) - 3
		}
		path := filepath.Join(edits, url.PathEscape(string(r.Edit.ID))+".safetensors")
		writeFile(t, path, "")
		if err := safetensors.Write(path, map[string]*tensor.Tensor{down.ID.String() + ".U": u, down.ID.String() + ".V": v}, nil); err != nil {
			t.Fatal(err)
		}
	}
	callOK(t, "eval", "--method", "none,patch", "--set", "patch.path="+edits, "--data", data, "--out", out)
	rows, err := store.ReadDir[row.Result](filepath.Join(out, string(store.TableResults)))
	if err != nil {
		t.Fatal(err)
	}
	none := map[string]row.Result{}
	for _, r := range rows {
		if r.Method == "none" {
			none[r.ProbeID] = r
		}
	}
	moved := 0
	for _, r := range rows {
		if r.Method != "patch" {
			continue
		}
		before := none[r.ProbeID]
		if r.Status != row.OK || before.LogPMean == nil {
			t.Fatalf("row %+v", r)
		}
		change := *r.LogPMean - *before.LogPMean
		switch {
		case r.EditID == string(records[0].Edit.ID) && (change > zeroPatch || change < -zeroPatch || !*r.AgreeExact):
			t.Errorf("probe %s: a patch of zeros changed the log-probability by %g", r.ProbeID, change)
		case r.EditID == string(records[1].Edit.ID) && (change > 0.1 || change < -0.1):
			moved++
		}
	}
	if moved == 0 {
		t.Error("the second patch changed nothing")
	}
}

// zeroPatch bounds what other companions in the batch change in a mean
// log-probability computed in float32.
const zeroPatch = 1e-4

// checkShards: two parts into one folder are the whole.
func checkShards(t *testing.T, whole, shared string) {
	orttest.Find(t)
	command := []string{"eval", "--method", "none", "--limit", "17", "--out"}
	callOK(t, append(command, whole)...)
	for _, part := range []string{"1/2", "2/2"} {
		callOK(t, append(command, shared, "--shard", part)...)
	}
	a, b := contents(t, filepath.Join(whole, "results")), contents(t, filepath.Join(shared, "results"))
	if !maps.Equal(a, b) || len(a) < 2 {
		t.Errorf("the whole has %v, its parts %v", sortedKeys(a), sortedKeys(b))
	}
	rows := func(run string) []map[string]any {
		var doc struct{ Rows []map[string]any }
		if err := json.Unmarshal([]byte(callOK(t, "report", "--format", "json", run).out), &doc); err != nil {
			t.Fatal(err)
		}
		for _, line := range doc.Rows {
			delete(line, "folder")
		}
		return doc.Rows
	}
	if !reflect.DeepEqual(rows(whole), rows(shared)) {
		t.Error("the reports differ")
	}
}
