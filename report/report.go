// Package report makes reports: tables of one or more runs, read from the
// Parquet files in their folders. No model is needed; measuring and reporting
// are separate commands.
package report

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"editpipe/row"
	"editpipe/store"
)

// Report is what one or more runs found.
type Report struct {
	Runs       []Run        `json:"runs"`
	Rows       []Row        `json:"rows"` // in run order, then as the run's summary has them
	Efficiency []Efficiency `json:"efficiency"`
	Problems   []Problem    `json:"problems"`
}

// Run says where rows come from.
type Run struct {
	ID       string `json:"run"`
	Dir      string `json:"folder"` // as it was named
	Model    string `json:"model"`
	Dataset  string `json:"dataset"`
	Provider string `json:"provider"`
	DType    string `json:"dtype"`
	Runtime  string `json:"runtime"` // version of ONNX Runtime
	Protocol string `json:"protocol_id"`
	Edits    int    `json:"edits"`    // with rows in the run
	Of       int    `json:"edits_of"` // in the data set
	Counted  int    `json:"rows"`     // result rows
	// Warnings say what the folder holds and the report does not count, and what
	// it lacks.
	Warnings []string `json:"warnings"`

	facts facts
}

// Row is a mean of a run. Runs may share an id: they are told apart by folder.
type Row struct {
	row.Summary
	Dir     string `json:"folder"`
	Differs string `json:"differs"` // what tells it from the other runs' rows of its method and schedule; empty where nothing does
}

// Efficiency is what one method cost under one schedule; times in seconds, sizes in
// bytes. A figure that was not measured is null.
type Efficiency struct {
	Run             string   `json:"run"`
	Dir             string   `json:"folder"`
	Differs         string   `json:"differs"` // as in Row
	Method          string   `json:"method"`
	Setting         string   `json:"setting"`
	N               int64    `json:"n"` // edits measured
	TPrepare        *float64 `json:"t_prepare"`
	TEditP50        *float64 `json:"t_edit_p50"` // per edit; edits made side by side share their unit's time
	TEditP90        *float64 `json:"t_edit_p90"`
	EditsPerSecond  *float64 `json:"edits_per_second"`
	ProbesPerSecond *float64 `json:"probes_per_second"`
	PeakRSS         *int64   `json:"peak_rss"`
	PeakVRAM        *int64   `json:"peak_vram"`
}

// Problem counts the rows of one method that have no numbers for one fault.
type Problem struct {
	Run     string     `json:"run"`
	Dir     string     `json:"folder"`
	Method  string     `json:"method"`
	Setting string     `json:"setting"`
	Status  row.Status `json:"status"`
	Fault   row.Fault  `json:"fault"`
	Detail  string     `json:"detail"`  // of the first such row
	Reasons int        `json:"reasons"` // different details
	N       int        `json:"rows"`
}

// Load reads the runs in dirs. The error names the folder that is no run or
// has no summary yet.
func Load(ctx context.Context, dirs ...string) (*Report, error) {
	if len(dirs) == 0 {
		return nil, errors.New("report: no run given")
	}
	out := &Report{}
	seen := map[string]bool{}
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		if err == nil && seen[real] {
			return nil, fmt.Errorf("report: run %s is given twice", dir)
		}
		seen[real] = true
		if err := out.add(dir); err != nil {
			return nil, fmt.Errorf("report: reading run %s: %w", dir, err)
		}
	}
	out.tellApart()
	return out, nil
}

func (r *Report) add(dir string) error {
	run, err := store.OpenRun(dir)
	if err != nil {
		return err
	}
	m := run.Manifest
	rows, err := store.Read[row.Summary](run.SummaryPath())
	if err != nil {
		return fmt.Errorf("the run has no summary: finish it by running the same eval command again: %w", err)
	}
	costs, err := store.ReadDir[row.Cost](run.TableDir(store.TableCosts))
	if err != nil {
		return err
	}
	results, err := store.ReadDir[row.Result](run.TableDir(store.TableResults))
	if err != nil {
		return err
	}
	of := Run{
		ID: m.RunID, Dir: dir, Model: m.Model.Name, Dataset: m.Dataset.Name,
		Provider: m.Provider, DType: m.DType, Runtime: m.RuntimeVersion, Protocol: m.ProtocolID,
		Of: m.Dataset.Edits, Counted: len(results), facts: factsOf(m),
	}
	edits := map[string]bool{}
	for _, one := range results {
		edits[one.EditID] = true
	}
	of.Edits = len(edits)
	if of.Warnings, err = warnings(run, len(results)); err != nil {
		return err
	}
	r.Runs = append(r.Runs, of)
	for _, mean := range rows {
		r.Rows = append(r.Rows, Row{Summary: mean, Dir: dir})
	}
	r.Efficiency = append(r.Efficiency, efficiency(of, costs)...)
	r.Problems = append(r.Problems, problems(of, results)...)
	return nil
}

// warnings says what the folder of a run holds beyond the summary, and lacks.
func warnings(run *store.Run, results int) ([]string, error) {
	list := []string{}
	missing, planned, err := run.Missing()
	if err != nil {
		return nil, err
	}
	if missing > 0 {
		list = append(list, fmt.Sprintf("not finished: %d of the %d units of its last command are missing; run it again, every shard of it", missing, planned))
	}
	covered, err := run.Summarised()
	if err != nil {
		return nil, err
	}
	if covered >= 0 && covered != results {
		list = append(list, fmt.Sprintf("the means count %d result rows, and the folder has %d: run its last command again", covered, results))
	}
	replaced, err := store.ReadReplaced[row.Result](run, store.TableResults)
	if err != nil {
		return nil, err
	}
	if len(replaced) > 0 {
		combos := map[string]bool{}
		for _, r := range replaced {
			combos[r.Method+" "+r.Setting] = true
		}
		list = append(list, fmt.Sprintf("not counted: %d rows of earlier commands with another selection, order or preparation (%s), kept in its folder replaced",
			len(replaced), strings.Join(slices.Sorted(maps.Keys(combos)), ", ")))
	}
	return list, nil
}

// group keys figures by method and schedule, in order of first appearance in
// sorted order so that shard order does not show.
type group struct{ method, schedule string }

func sortedGroups[T any](m map[group]T) []group {
	keys := make([]group, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].schedule != keys[j].schedule {
			return keys[i].schedule < keys[j].schedule
		}
		return keys[i].method < keys[j].method
	})
	return keys
}

// efficiency folds unit costs. The first unit of a process builds sessions and
// is left out of the times when others exist; memory counts everywhere.
func efficiency(run Run, costs []row.Cost) []Efficiency {
	by := map[group][]row.Cost{}
	for _, c := range costs {
		if c.Method != "" {
			g := group{c.Method, c.Setting}
			by[g] = append(by[g], c)
		}
	}
	var out []Efficiency
	for _, g := range sortedGroups(by) {
		out = append(out, fold(run, g, by[g]))
	}
	return out
}

func fold(run Run, g group, costs []row.Cost) Efficiency {
	e := Efficiency{Run: run.ID, Dir: run.Dir, Method: g.method, Setting: g.schedule}
	var perEdit []float64
	var edits, probes, tEdit, tAsk float64
	warm := 0
	for _, c := range costs {
		if !c.WarmUp {
			warm++
		}
	}
	for _, c := range costs {
		e.PeakRSS = larger(e.PeakRSS, c.PeakRSS)
		e.PeakVRAM = larger(e.PeakVRAM, c.PeakVRAM)
		if c.WarmUp && warm > 0 {
			continue
		}
		if c.TEdit != nil && c.Edits > 0 {
			perEdit = append(perEdit, *c.TEdit/float64(c.Edits))
			edits += float64(c.Edits)
			tEdit += *c.TEdit
		}
		if c.TAsk != nil {
			probes += float64(c.Probes)
			tAsk += *c.TAsk
		}
	}
	e.N = int64(edits)
	if len(perEdit) > 0 {
		sort.Float64s(perEdit)
		e.TEditP50 = new(quantile(perEdit, 0.5))
		e.TEditP90 = new(quantile(perEdit, 0.9))
	}
	if tEdit > 0 {
		e.EditsPerSecond = new(edits / tEdit)
	}
	if tAsk > 0 {
		e.ProbesPerSecond = new(probes / tAsk)
	}
	return e
}

// quantile returns the q-quantile of sorted values by linear interpolation.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

func larger(a, b *int64) *int64 {
	if a == nil || (b != nil && *b > *a) {
		return b
	}
	return a
}

func problems(run Run, results []row.Result) []Problem {
	type key struct {
		group
		status row.Status
		fault  row.Fault
	}
	at := map[key]int{}
	details := map[key]map[string]bool{}
	var out []Problem
	for _, r := range results {
		if r.Status == row.OK {
			continue
		}
		k := key{group{r.Method, r.Setting}, r.Status, r.Fault}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k], details[k] = i, map[string]bool{}
			out = append(out, Problem{Run: run.ID, Dir: run.Dir, Method: r.Method, Setting: r.Setting, Status: r.Status, Fault: r.Fault, Detail: r.Detail})
		}
		details[k][r.Detail] = true
		out[i].N++
		out[i].Reasons = len(details[k])
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Setting != b.Setting {
			return a.Setting < b.Setting
		}
		if a.Method != b.Method {
			return a.Method < b.Method
		}
		if a.Status != b.Status {
			return a.Status < b.Status
		}
		return a.Fault < b.Fault
	})
	return out
}
