// Package report turns run folders into tables. A report is read from the
// Parquet a run wrote and never from a model: measuring and reading are two
// commands.
package report

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sort"

	"editpipe/store"
)

// Report is what one or more runs found.
type Report struct {
	Runs       []Run
	Rows       []store.Summary // in run order, then as the run's summary has them
	Efficiency []Efficiency
	Problems   []Problem
}

// Run says where rows come from.
type Run struct {
	ID       string
	Dir      string
	Model    string
	Dataset  string
	Provider string
	DType    string
	Runtime  string // version of ONNX Runtime
	Protocol string
}

// Efficiency is what one method cost in one setting; times in seconds, sizes in
// bytes. A figure that was not measured is null.
type Efficiency struct {
	Run             string   `json:"run"`
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

// Problem counts the rows of one method that have no numbers.
type Problem struct {
	Run     string
	Method  string
	Setting string
	Status  store.Status
	Detail  string // of the first such row
	N       int
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
	return out, nil
}

func (r *Report) add(dir string) error {
	run, err := store.OpenRun(dir)
	if err != nil {
		return err
	}
	m := run.Manifest
	rows, err := store.Read[store.Summary](run.SummaryPath())
	if err != nil {
		return fmt.Errorf("the run has no summary: finish it by running the same eval command again: %w", err)
	}
	costs, err := store.ReadDir[store.Cost](run.TableDir(store.TableCosts))
	if err != nil {
		return err
	}
	results, err := store.ReadDir[store.Result](run.TableDir(store.TableResults))
	if err != nil {
		return err
	}
	r.Runs = append(r.Runs, Run{
		ID: m.RunID, Dir: dir, Model: m.Model.Name, Dataset: m.Dataset.Name,
		Provider: m.Provider, DType: m.DType, Runtime: m.RuntimeVersion, Protocol: m.ProtocolID,
	})
	r.Rows = append(r.Rows, rows...)
	r.Efficiency = append(r.Efficiency, efficiency(m.RunID, costs)...)
	r.Problems = append(r.Problems, problems(m.RunID, results)...)
	return nil
}

// group keys figures by method and setting, in order of first appearance in
// sorted order so that shard order does not show.
type group struct{ method, setting string }

func sortedGroups[T any](m map[group]T) []group {
	keys := make([]group, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].setting != keys[j].setting {
			return keys[i].setting < keys[j].setting
		}
		return keys[i].method < keys[j].method
	})
	return keys
}

// efficiency folds unit costs. The first unit of a process builds sessions and
// is left out of the times when others exist; memory counts everywhere.
func efficiency(run string, costs []store.Cost) []Efficiency {
	by := map[group][]store.Cost{}
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

func fold(run string, g group, costs []store.Cost) Efficiency {
	e := Efficiency{Run: run, Method: g.method, Setting: g.setting}
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

func problems(run string, results []store.Result) []Problem {
	type key struct {
		group
		status store.Status
	}
	at := map[key]int{}
	var out []Problem
	for _, r := range results {
		if r.Status == store.OK {
			continue
		}
		k := key{group{r.Method, r.Setting}, r.Status}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, Problem{Run: run, Method: r.Method, Setting: r.Setting, Status: r.Status, Detail: r.Detail})
		}
		out[i].N++
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Setting != b.Setting {
			return a.Setting < b.Setting
		}
		if a.Method != b.Method {
			return a.Method < b.Method
		}
		return a.Status < b.Status
	})
	return out
}
