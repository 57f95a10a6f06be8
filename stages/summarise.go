package stages

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"editpipe/edit"
	"editpipe/metric"
	"editpipe/row"
)

// group is what rows must share to be averaged.
type group struct {
	run, model, data, method, schedule, protocol string
	at                                           evalAt
}

// evalAt says when the edits of a chain were asked about; zero for other schedules.
type evalAt struct {
	kind  string // final, immediate, after
	edits int32  // of after
}

// evalOrder is the order of summaries: what counts for a chain comes first.
var evalOrder = []string{evalFinal, evalImmediate, evalAfter}

// String is what stands behind ";eval-at=" in a protocol id.
func (a evalAt) String() string {
	if a.kind == evalAfter {
		return fmt.Sprintf("%s:%d", a.kind, a.edits)
	}
	return a.kind
}

// The kinds of evalAt.
const (
	evalFinal     = "final"
	evalImmediate = "immediate"
	evalAfter     = "after"
)

// checkpoints sorts the rows of chains by when they were asked. step is the
// number of edits made at once.
func checkpoints(rows []row.Result, step int) map[evalAt][]row.Result {
	own := func(r row.Result) int32 { return (r.EditIndex/int32(step) + 1) * int32(step) } // a shorter last step ends before it
	first, last := map[string]int32{}, map[string]int32{}
	several, later := false, false // chains of several steps; edits of earlier steps were asked
	for _, r := range rows {
		if at, ok := first[r.EditID]; !ok || r.EvaluatedAfter < at {
			first[r.EditID] = r.EvaluatedAfter
		}
		last[r.EditID] = max(last[r.EditID], r.EvaluatedAfter)
		several = several || r.EvaluatedAfter > int32(step)
		later = later || r.EvaluatedAfter > own(r)
	}
	immediate := several
	between := map[int32]bool{} // where edits of earlier steps were asked, but not for the last time
	for _, r := range rows {
		immediate = immediate && first[r.EditID] <= own(r)
		if own(r) < r.EvaluatedAfter && r.EvaluatedAfter < last[r.EditID] {
			between[r.EvaluatedAfter] = true
		}
	}
	out := map[evalAt][]row.Result{}
	add := func(at evalAt, r row.Result) { out[at] = append(out[at], r) }
	for _, r := range rows {
		if r.EvaluatedAfter == last[r.EditID] && (later || !immediate) {
			add(evalAt{kind: evalFinal}, r)
		}
		if r.EvaluatedAfter == first[r.EditID] && immediate {
			add(evalAt{kind: evalImmediate}, r)
		}
		if between[r.EvaluatedAfter] {
			add(evalAt{evalAfter, r.EvaluatedAfter}, r)
		}
	}
	return out
}

// Summarise averages result rows by model, method, schedule and axis. The order
// of rows does not matter: equal sets of rows give bit-equal summaries, sorted
// by group, then in report order of axes and metrics.
//
// In a chain an edit may have been asked about several times. Each time is
// summarised apart, told by ";eval-at=" at the end of the protocol id: final, the
// last time; immediate, right after the edit's own step, where every edit was
// asked then and that was not the last time; after:N, where edits of earlier
// steps too were asked after N edits of the chain, before its end.
func Summarise(rows []row.Result) ([]row.Summary, error) {
	groups := map[group][]row.Result{}
	configs := map[group]string{}
	for _, r := range rows {
		g := groupOf(r)
		if c, ok := configs[g]; ok && c != r.Config {
			return nil, fmt.Errorf("stages: rows of %s %s come from two configurations, %s and %s: they cannot be averaged", g.method, g.schedule, c, r.Config)
		}
		configs[g], groups[g] = r.Config, append(groups[g], r)
	}
	for _, g := range slices.Collect(maps.Keys(groups)) {
		set, err := edit.ParseSchedule(g.schedule)
		if err != nil {
			return nil, fmt.Errorf("stages: summarising: %w", err)
		}
		if set.Kind != edit.Sequential {
			continue
		}
		for at, rows := range checkpoints(groups[g], max(1, set.Step)) {
			apart := g
			apart.at = at
			groups[apart] = rows
		}
		delete(groups, g)
	}
	var out []row.Summary
	for _, g := range slices.SortedFunc(maps.Keys(groups), compareGroups) {
		parts := byPart(groups[g])
		for _, part := range slices.Sorted(maps.Keys(parts)) {
			rows := parts[part]
			cells, err := metric.Summarise(rows)
			if err == nil && g.schedule == string(edit.Single) { // rows of a batch or a chain depend on each other
				err = metric.AddIntervals(cells, rows, metric.Replicates, metric.IntervalSeed)
			}
			if err != nil {
				return nil, fmt.Errorf("stages: summarising %s %s: %w", g.method, g.schedule, err)
			}
			for _, c := range cells {
				if part != "" && c.Axis == metric.Overall {
					continue // a score over all axes has no side question
				}
				mean := row.Summary{
					Run: g.run, Model: g.model, Dataset: g.data, Method: g.method, Setting: g.schedule,
					Axis: string(c.Axis) + part, Metric: c.Metric, ProtocolID: g.protocolID(), N: c.N, Mean: c.Mean,
				}
				if c.Interval != nil {
					mean.Lo, mean.Hi = &c.Interval.Lo, &c.Interval.Hi
				}
				out = append(out, mean)
			}
		}
	}
	return out, nil
}

// byPart keeps the rows of side questions out of their axis's headline: they
// are summarised as AXIS/VARIANT. The headline's part is "".
func byPart(rows []row.Result) map[string][]row.Result {
	parts := map[string][]row.Result{}
	for _, r := range rows {
		part := ""
		if r.Apart {
			part = "/" + r.Variant
		}
		parts[part] = append(parts[part], r)
	}
	return parts
}

func groupOf(r row.Result) group {
	return group{run: r.RunID, model: r.Model, data: r.Dataset, method: r.Method, schedule: r.Setting, protocol: r.ProtocolID}
}

func (g group) protocolID() string {
	if g.at.kind == "" {
		return g.protocol
	}
	return g.protocol + ";eval-at=" + g.at.String()
}

func compareGroups(a, b group) int {
	return cmp.Or(
		cmp.Compare(a.run, b.run), cmp.Compare(a.model, b.model), cmp.Compare(a.data, b.data),
		cmp.Compare(a.method, b.method), cmp.Compare(a.schedule, b.schedule), cmp.Compare(a.protocol, b.protocol),
		cmp.Compare(slices.Index(evalOrder, a.at.kind), slices.Index(evalOrder, b.at.kind)), cmp.Compare(a.at.edits, b.at.edits),
	)
}
