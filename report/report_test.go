package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/metric"
	"editpipe/row"
	"editpipe/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// writeRun makes a finished run folder with two methods, one of which lacks an
// axis and has rows without numbers.
func writeRun(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	run, err := store.CreateRun(dir, store.Manifest{
		RunID: "r1", ToolVersion: "test", RuntimeVersion: "1.27.0", Provider: "cpu", DType: "float32", ProtocolID: "scorer=tf1;provider=cpu",
		Model: store.ModelInfo{Name: "tiny", Hash: "m"}, Dataset: store.DatasetInfo{Name: "facts", Hash: "d", Edits: 3, Probes: 9},
		Settings: []string{"single"},
	})
	if err != nil {
		t.Fatal(err)
	}
	mean := func(method string, axis dataset.Axis, id string, n int64, value *float64) row.Summary {
		return row.Summary{Run: "r1", Model: "tiny", Dataset: "facts", Method: method, Setting: "single",
			Axis: string(axis), Metric: id, ProtocolID: "scorer=tf1;provider=cpu", N: n, Mean: value}
	}
	if err := store.WriteSummary(run, []row.Summary{
		mean("ice", dataset.AxisReliability, "tf_token_acc", 3, new(0.75)),
		mean("ice", dataset.AxisReliability, "success_prob", 3, new(2.0/3)),
		mean("ice", dataset.AxisNeighbourhood, "agree_tok", 2, new(0.5)),
		mean("ice", dataset.AxisOneHop, "tf_token_acc", 0, nil),
		mean("none", dataset.AxisReliability, "tf_token_acc", 3, new(0.0)),
		mean("none", dataset.AxisNeighbourhood, "agree_tok", 2, new(1.0)),
	}, 4); err != nil {
		t.Fatal(err)
	}
	cost := func(unit, method string, edits int32, tEdit, tAsk float64, warm bool, rss int64) row.Cost {
		return row.Cost{RunID: "r1", Stage: "evaluate", UnitID: unit, Method: method, Setting: "single", Edits: edits, Probes: 3 * edits,
			TEdit: &tEdit, TAsk: &tAsk, TWall: tEdit + tAsk, PeakRSS: &rss, WarmUp: warm}
	}
	for unit, c := range map[string]row.Cost{
		"a": cost("a", "ice", 1, 9, 90, true, 300<<20), // the warm-up counts for memory only
		"b": cost("b", "ice", 2, 0.2, 3, false, 100<<20),
		"c": cost("c", "ice", 1, 0.3, 3, false, 200<<20),
		"d": cost("d", "none", 3, 0.3, 3, true, 50<<20), // the only unit of its method
	} {
		if err := store.Write(run.ShardPath(store.TableCosts, unit), []row.Cost{c}, nil); err != nil {
			t.Fatal(err)
		}
	}
	failed := func(probe string, s row.Status, why string) row.Result {
		return row.Result{RunID: "r1", Method: "ice", Setting: "single", EditID: "e", ProbeID: probe, Axis: string(dataset.AxisOneHop), Status: s, Fault: row.FaultData, Detail: why}
	}
	if err := store.Write(run.ShardPath(store.TableResults, "b"), []row.Result{
		failed("p1", row.SkippedLength, "70 tokens, context of 64"), failed("p2", row.SkippedLength, "71 tokens"), failed("p3", row.Failed, "model output is not finite"),
		{RunID: "r1", Method: "ice", Setting: "single", EditID: "e", ProbeID: "p4", Axis: string(dataset.AxisReliability), Status: row.OK},
	}, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func load(t *testing.T) *Report {
	t.Helper()
	r, err := Load(context.Background(), writeRun(t))
	if err != nil {
		t.Fatal(err)
	}
	// The temporary folder's name differs from run to run.
	r.Runs[0].Dir = "RUN"
	for i := range r.Rows {
		r.Rows[i].Dir = "RUN"
	}
	for i := range r.Efficiency {
		r.Efficiency[i].Dir = "RUN"
	}
	for i := range r.Problems {
		r.Problems[i].Dir = "RUN"
	}
	return r
}

func TestEfficiency(t *testing.T) {
	r := load(t)
	if len(r.Efficiency) != 2 {
		t.Fatalf("%d lines of efficiency", len(r.Efficiency))
	}
	near := func(what string, got *float64, want float64) {
		t.Helper()
		const rounding = 1e-12 // sums of a few decimals
		if got == nil || math.Abs(*got-want) > rounding {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	ice, none := r.Efficiency[0], r.Efficiency[1]
	// Units b and c: 0.1 and 0.3 seconds per edit; 3 edits in 0.5 s, 9 probes in 6 s.
	near("p50", ice.TEditP50, 0.2)
	near("p90", ice.TEditP90, 0.28)
	near("edits per second", ice.EditsPerSecond, 6)
	near("probes per second", ice.ProbesPerSecond, 1.5)
	if ice.N != 3 || *ice.PeakRSS != 300<<20 || ice.PeakVRAM != nil || ice.TPrepare != nil {
		t.Errorf("ice: %+v", ice)
	}
	near("p50 of a warm-up that is alone", none.TEditP50, 0.1)
}

func TestGolden(t *testing.T) {
	r := load(t)
	for _, f := range []Format{Text, Markdown, CSV, JSON} {
		var b bytes.Buffer
		if err := r.Write(&b, f); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "report."+string(f)+".golden")
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s differs from %s (rewrite with -update and read the difference):\n%s", f, file, b.String())
		}
	}
}

// TestFurtherAxes shows the axes that are not among the survey's criteria in a table of their
// own, and only where they have numbers.
func TestFurtherAxes(t *testing.T) {
	for _, c := range []struct {
		axis dataset.Axis
		want bool
	}{{dataset.AxisReliability, false}, {dataset.AxisNegation, true}, {dataset.AxisRoundEdit, true}} {
		r := &Report{Rows: []Row{{Summary: row.Summary{Run: "r", Method: "rome", Setting: "single", Axis: string(c.axis), Metric: metric.Headline(c.axis), N: 4, Mean: new(0.125)}}}}
		var b bytes.Buffer
		if err := r.Write(&b, Text); err != nil {
			t.Fatal(err)
		}
		_, table, found := strings.Cut(b.String(), "Further axes")
		if found != c.want || found && (!strings.Contains(table, "0.125") || !strings.Contains(table, "negation")) {
			t.Errorf("%s:\n%s", c.axis, b.String())
		}
	}
}

func TestMachineReadable(t *testing.T) {
	r := load(t)
	var b bytes.Buffer
	if err := r.Write(&b, JSON); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Rows       []map[string]any `json:"rows"`
		Efficiency []map[string]any `json:"efficiency"`
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Rows) != 6 || len(doc.Efficiency) != 2 {
		t.Errorf("%d rows, %d lines of efficiency", len(doc.Rows), len(doc.Efficiency))
	}
	for _, key := range strings.Fields("run model dataset method setting axis metric protocol_id n mean ci_lo ci_hi") {
		if _, ok := doc.Rows[0][key]; !ok {
			t.Errorf("rows lack %q", key)
		}
	}
	for _, key := range strings.Fields("run method setting n t_prepare t_edit_p50 t_edit_p90 edits_per_second probes_per_second peak_rss peak_vram") {
		if _, ok := doc.Efficiency[0][key]; !ok {
			t.Errorf("efficiency lacks %q", key)
		}
	}
	b.Reset()
	if err := r.Write(&b, CSV); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(lines) != 7 {
		t.Errorf("%d lines of CSV, %v", len(lines), err)
	}
}

func TestNotARun(t *testing.T) {
	_, err := Load(context.Background(), t.TempDir())
	if !errors.Is(err, store.ErrNotRun) {
		t.Errorf("an empty folder: %v", err)
	}
	run := writeRun(t)
	if _, err := Load(context.Background(), run, run+"/."); err == nil {
		t.Error("one run was counted twice")
	}
	if _, err := Load(context.Background()); err == nil {
		t.Error("no folder at all was accepted")
	}
	if err := new(Report).Write(new(bytes.Buffer), "pdf"); err == nil {
		t.Error("format pdf was accepted")
	}
}

// TestDiffers: a line of a run is told from those of other runs by what differs
// between them, and by nothing else, in any order.
func TestDiffers(t *testing.T) {
	write := func(change func(m *store.Manifest)) string {
		m := store.Manifest{
			RunID: "r", Provider: "cpu", DType: "float32", RuntimeVersion: "1.27.0", ProtocolID: "p", Seed: 1,
			Model:    store.ModelInfo{Name: "tiny", Path: "models/tiny", Hash: "0123456789abcdef"},
			Dataset:  store.DatasetInfo{Name: "facts", Path: "facts", Hash: "fedcba9876543210"},
			Methods:  []store.MethodInfo{{Name: "ice"}, {Name: "rome", Config: map[string]string{"layer": "5", "v_lr": "0.5"}}},
			Commands: []store.Command{{Config: map[string]string{"limit": "0", "threads": "2", "eval-at": "final"}}},
		}
		change(&m)
		dir := filepath.Join(t.TempDir(), "run")
		run, err := store.CreateRun(dir, m)
		if err != nil {
			t.Fatal(err)
		}
		var rows []row.Summary
		for _, method := range []string{"ice", "rome"} {
			rows = append(rows, row.Summary{Run: "r", Method: method, Setting: "single", Axis: "reliability", Metric: "tf_token_acc", Mean: new(0.5), N: 1})
		}
		if err := store.WriteSummary(run, rows, 0); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	plain := func(*store.Manifest) {}
	for what, c := range map[string]struct {
		change    func(m *store.Manifest)
		ice, rome string // of the changed run
		plain     string // rome of the other one
	}{
		"nothing":           {plain, "", "", ""},
		"setting":           {func(m *store.Manifest) { m.Methods[1].Config = map[string]string{"layer": "6", "v_lr": "0.5"} }, "", "layer=6", "layer=5"},
		"the first layer":   {func(m *store.Manifest) { m.Methods[1].Config = map[string]string{"layer": "0", "v_lr": "0.5"} }, "", "layer=0", "layer=5"},
		"no setting":        {func(m *store.Manifest) { m.Methods[1].Config = map[string]string{"layer": "5", "v_lr": ""} }, "", "no v_lr", "v_lr=0.5"},
		"model":             {func(m *store.Manifest) { m.Model = store.ModelInfo{Name: "small", Path: "models/small", Hash: "1"} }, "model=small", "model=small", "model=tiny"},
		"model of one name": {func(m *store.Manifest) { m.Model.Path, m.Model.Hash = "others/tiny", "1" }, "model path=others/tiny", "model path=others/tiny", "model path=models/tiny"},
		"model of one path": {func(m *store.Manifest) { m.Model.Hash = "1" }, "model hash=1", "model hash=1", "model hash=0123456789ab"},
		"model moved":       {func(m *store.Manifest) { m.Model.Path = "elsewhere" }, "", "", ""},
		"data of one name":  {func(m *store.Manifest) { m.Dataset.Path, m.Dataset.Hash = "facts2", "1" }, "data path=facts2", "data path=facts2", "data path=facts"},
		"provider":          {func(m *store.Manifest) { m.Provider, m.ProtocolID = "cuda", "p2" }, "provider=cuda", "provider=cuda", "provider=cpu"},
		"protocol alone":    {func(m *store.Manifest) { m.ProtocolID = "p2" }, "protocol=p2", "protocol=p2", "protocol=p"},
		"seed":              {func(m *store.Manifest) { m.Seed = 0 }, "seed=0", "seed=0", "seed=1"},
		"limit":             {func(m *store.Manifest) { m.Commands[0].Config = map[string]string{"limit": "5", "eval-at": "final"} }, "limit=5", "limit=5", "no limit"},
		"two at once":       {func(m *store.Manifest) { m.Seed, m.RuntimeVersion = 2, "1.30.0" }, "runtime=1.30.0, seed=2", "runtime=1.30.0, seed=2", "runtime=1.27.0, seed=1"},
	} {
		a, b := write(plain), write(c.change)
		for _, dirs := range [][]string{{a, b}, {b, a}} {
			r, err := Load(t.Context(), dirs...)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, line := range r.Rows {
				got[line.Dir+line.Method] = line.Differs
			}
			if len(r.Rows) != 4 || got[b+"ice"] != c.ice || got[b+"rome"] != c.rome || got[a+"rome"] != c.plain {
				t.Errorf("%s: %d rows, differing in %q; %q; %q", what, len(r.Rows), got[b+"ice"], got[b+"rome"], got[a+"rome"])
			}
			var text bytes.Buffer
			if err := r.Write(&text, Text); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{a, b, c.rome, c.plain} {
				if !strings.Contains(text.String(), want) {
					t.Errorf("%s: no %q in\n%s", what, want, text.String())
				}
			}
		}
	}
}
