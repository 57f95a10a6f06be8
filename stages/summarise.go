package stages

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/metric"
	"editpipe/store"
)

// group is what rows must share to be averaged.
type group struct {
	run, model, data, method, setting, protocol string
}

// Summarise averages result rows by model, method, setting and axis. The order
// of rows does not matter: equal sets of rows give bit-equal summaries, sorted
// by group, then in report order of axes and metrics.
//
// In a chain an edit may have been asked about several times. Where when has
// Final or Every, the last time counts; where it has Immediate, the first time
// is summarised as well. The two are told apart by ";eval-at=" at the end of
// the protocol id.
func Summarise(rows []store.Result, when When) ([]store.Summary, error) {
	groups := map[group][]store.Result{}
	configs := map[group]string{}
	add := func(g group, r store.Result) error {
		if c, ok := configs[g]; ok && c != r.Config {
			return fmt.Errorf("stages: rows of %s %s come from two configurations, %s and %s: they cannot be averaged", g.method, g.setting, c, r.Config)
		}
		configs[g], groups[g] = r.Config, append(groups[g], r)
		return nil
	}
	type asked struct {
		group
		edit string
	}
	first, last := map[asked]int32{}, map[asked]int32{}
	chain := func(r store.Result) bool { return strings.HasPrefix(r.Setting, string(edit.Sequential)) }
	for _, r := range rows {
		if k := (asked{groupOf(r), r.EditID}); chain(r) {
			if at, ok := first[k]; !ok || r.EvaluatedAfter < at {
				first[k] = r.EvaluatedAfter
			}
			last[k] = max(last[k], r.EvaluatedAfter)
		}
	}
	for _, r := range rows {
		g := groupOf(r)
		k := asked{g, r.EditID}
		if !chain(r) {
			if err := add(g, r); err != nil {
				return nil, err
			}
			continue
		}
		if (when.Final || when.Every > 0 || !when.Immediate) && r.EvaluatedAfter == last[k] {
			final := g
			final.protocol += ";eval-at=final"
			if err := add(final, r); err != nil {
				return nil, err
			}
		}
		if when.Immediate && r.EvaluatedAfter == first[k] {
			immediate := g
			immediate.protocol += ";eval-at=immediate"
			if err := add(immediate, r); err != nil {
				return nil, err
			}
		}
	}
	var out []store.Summary
	for _, g := range slices.SortedFunc(maps.Keys(groups), compareGroups) {
		parts := byPart(groups[g])
		for _, part := range slices.Sorted(maps.Keys(parts)) {
			rows := metricRows(parts[part])
			cells, err := metric.Summarise(rows)
			if err == nil && g.setting == string(edit.Single) { // rows of a batch or a chain depend on each other
				err = metric.AddIntervals(cells, rows, metric.Replicates, metric.IntervalSeed)
			}
			if err != nil {
				return nil, fmt.Errorf("stages: summarising %s %s: %w", g.method, g.setting, err)
			}
			for _, c := range cells {
				if part != "" && c.Axis == metric.Overall {
					continue // a score over all axes has no side question
				}
				row := store.Summary{
					Run: g.run, Model: g.model, Dataset: g.data, Method: g.method, Setting: g.setting,
					Axis: string(c.Axis) + part, Metric: c.Metric, ProtocolID: g.protocol, N: c.N, Mean: c.Mean,
				}
				if c.Interval != nil {
					row.Lo, row.Hi = &c.Interval.Lo, &c.Interval.Hi
				}
				out = append(out, row)
			}
		}
	}
	return out, nil
}

// byPart keeps the rows of side questions out of their axis's headline: they
// are summarised as AXIS/VARIANT. The headline's part is "".
func byPart(rows []store.Result) map[string][]store.Result {
	parts := map[string][]store.Result{}
	for _, r := range rows {
		part := ""
		if r.Apart {
			part = "/" + r.Variant
		}
		parts[part] = append(parts[part], r)
	}
	return parts
}

func groupOf(r store.Result) group {
	return group{r.RunID, r.Model, r.Dataset, r.Method, r.Setting, r.ProtocolID}
}

func compareGroups(a, b group) int {
	return cmp.Or(
		cmp.Compare(a.run, b.run), cmp.Compare(a.model, b.model), cmp.Compare(a.data, b.data),
		cmp.Compare(a.method, b.method), cmp.Compare(a.setting, b.setting), cmp.Compare(a.protocol, b.protocol),
	)
}

func metricRows(rows []store.Result) []metric.Row {
	out := make([]metric.Row, len(rows))
	for i, r := range rows {
		out[i] = metric.Row{
			Record: r.EditID, Probe: r.ProbeID, Cluster: r.Subject, Axis: dataset.Axis(r.Axis),
			Status: metric.Status(r.Status), Protocol: r.ProtocolID, Contrast: r.Alt != "", Scores: scoresOf(r),
		}
	}
	return out
}
