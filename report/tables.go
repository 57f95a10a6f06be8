package report

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/metric"
)

// column is one axis of the survey's table under its short heading.
type column struct {
	head   string
	axis   dataset.Axis
	metric string
}

// columns is the survey's table: what was asked to change is judged by
// accuracy, what was asked to stay by agreement with the unedited model.
var columns = []column{
	headline("rel", dataset.AxisReliability),
	headline("gen", dataset.AxisGeneralization),
	headline("alias", dataset.AxisSubjectReplace),
	headline("reversed", dataset.AxisReversedRelation),
	headline("one-hop", dataset.AxisOneHop),
	headline("other-rel", dataset.AxisOtherRelations),
	headline("neighb", dataset.AxisNeighbourhood),
	headline("distract", dataset.AxisDistractNeighbourhood),
	headline("tasks", dataset.AxisOtherTasks),
}

func headline(head string, axis dataset.Axis) column {
	return column{head, axis, metric.Headline(axis)}
}

// counterfact is ROME's table: success by probability (S), and by how much (M).
var counterfact = []column{
	{"ES", dataset.AxisReliability, "success_prob"},
	{"PS", dataset.AxisGeneralization, "success_prob"},
	{"NS", dataset.AxisNeighbourhood, "success_prob"},
	{"EM", dataset.AxisReliability, "prob_diff"},
	{"PM", dataset.AxisGeneralization, "prob_diff"},
	{"NM", dataset.AxisNeighbourhood, "prob_diff"},
	{"S", metric.Overall, "cf_score"},
}

// further is the table of what the survey's criteria leave open.
var further = []column{
	headline("yes-no", dataset.AxisBeliefYesNo),
	headline("negation", dataset.AxisNegation),
	headline("choice", dataset.AxisMultipleChoice),
	headline("time", dataset.AxisTimeSlice),
	headline("round", dataset.AxisRoundEdit),
	headline("conflict", dataset.AxisConflict),
}

// rowKey names a line of a table.
type rowKey struct{ dir, method, schedule, protocol string }

// cells indexes summary rows for table look-up.
type cells struct {
	order []rowKey
	at    map[rowKey]map[[2]string]Row
}

func index(rows []Row) cells {
	c := cells{at: map[rowKey]map[[2]string]Row{}}
	for _, s := range rows {
		k := rowKey{s.Dir, s.Method, s.Setting, s.ProtocolID}
		if c.at[k] == nil {
			c.at[k] = map[[2]string]Row{}
			c.order = append(c.order, k)
		}
		c.at[k][[2]string{s.Axis, s.Metric}] = s
	}
	return c
}

func (r *Report) tables() []grid {
	c := index(r.Rows)
	out := []grid{r.surveyTable(c)}
	for _, g := range []grid{
		r.optionalTable(c, "CounterFact scores (ES, PS, NS: share of probes with the desired answer more probable; EM, PM, NM: by how much; S: harmonic mean of ES, PS and NS)", counterfact),
		r.optionalTable(c, "Further axes, not among the survey's criteria (yes-no, negation, choice: share of right choices, acc; time, round, conflict: tf_token_acc)", further),
	} {
		if len(g.rows) > 0 {
			out = append(out, g)
		}
	}
	if len(r.Efficiency) > 0 {
		out = append(out, r.efficiencyTable())
	}
	if len(r.Problems) > 0 {
		out = append(out, r.problemTable())
	}
	return out
}

func (r *Report) surveyTable(c cells) grid {
	g := grid{title: r.title(), header: r.header(), left: len(r.header())}
	for _, col := range columns {
		g.header = append(g.header, col.head)
	}
	g.rows = r.lines(c, columns)
	g.notes = []string{
		"rel, gen, alias, reversed, one-hop: share of target tokens predicted (tf_token_acc), mean over records.",
		"other-rel, neighb, distract, tasks: share of tokens equal to the unedited model's (agree_tok).",
		"n: number of records with numbers on the axis, for the rows above. \"-\": none.",
	}
	return g
}

// title says which runs are shown, and what they count.
func (r *Report) title() string {
	var parts []string
	for _, run := range r.Runs {
		parts = append(parts, fmt.Sprintf("run %s (%s): model %s, data %s, %s on %s, ONNX Runtime %s\nprotocol %s\ncounted: %d rows of %d edits, of %d in the data set",
			run.ID, run.Dir, run.Model, run.Dataset, run.DType, run.Provider, run.Runtime, run.Protocol, run.Counted, run.Edits, run.Of))
		for _, w := range run.Warnings {
			parts = append(parts, "warning: "+w)
		}
	}
	return strings.Join(parts, "\n")
}

// header names the columns that name a line: the run's folder, and what tells it
// from other runs, only where there are several. Ids do not tell runs apart: those
// that differ in a method's keys share one.
func (r *Report) header() []string { return r.name("run", "method", "setting", "differs") }

func (r *Report) name(dir, method, schedule, differs string) []string {
	list := []string{method, schedule}
	if len(r.Runs) > 1 {
		list = append([]string{dir}, list...)
	}
	if slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Differs != "" }) {
		list = append(list, differs)
	}
	return list
}

// shown is a schedule with the time at which the edits of a chain were asked
// about. The last time is what counts for a chain, and goes without saying.
func shown(schedule, protocol string) string {
	_, at, ok := strings.Cut(protocol, ";eval-at=")
	if !ok || at == "final" {
		return schedule
	}
	return schedule + " " + at
}

// optionalTable shows the columns of the lines that have a number in one of them.
func (r *Report) optionalTable(c cells, title string, columns []column) grid {
	g := grid{title: title, header: r.header(), left: len(r.header())}
	for _, col := range columns {
		g.header = append(g.header, col.head)
	}
	for _, row := range r.lines(c, columns) {
		if slices.ContainsFunc(row[g.left:], func(cell string) bool { return cell != "-" }) {
			g.rows = append(g.rows, row)
		}
	}
	return g
}

// lines renders the lines of a table. Below the lines that count the same
// records stands one with the counts.
func (r *Report) lines(c cells, cols []column) [][]string {
	var rows [][]string
	var counts []string
	flush := func() {
		if counts != nil {
			rows = append(rows, append(r.name("", "n", "", ""), counts...))
		}
	}
	for _, k := range c.order {
		differs := ""
		for _, s := range c.at[k] { // the same in all
			differs = s.Differs
		}
		row := r.name(k.dir, k.method, shown(k.schedule, k.protocol), differs)
		var n []string
		for _, col := range cols {
			s, ok := c.at[k][[2]string{string(col.axis), col.metric}]
			if !ok || s.Mean == nil {
				row, n = append(row, "-"), append(n, "-")
				continue
			}
			row, n = append(row, fmt.Sprintf("%.3f", *s.Mean)), append(n, fmt.Sprint(s.N))
		}
		if counts != nil && !slices.Equal(n, counts) {
			flush()
		}
		rows, counts = append(rows, row), n
	}
	flush()
	return rows
}

func (r *Report) efficiencyTable() grid {
	g := grid{title: "Efficiency (seconds; a unit's time is divided evenly among its edits)",
		left:   len(r.header()),
		header: append(r.header(), "edits", "edit p50", "edit p90", "edits/s", "probes/s", "peak RSS", "peak VRAM")}
	num := func(v *float64, format string) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf(format, *v)
	}
	size := func(v *int64) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%.0f MiB", float64(*v)/(1<<20))
	}
	for _, e := range r.Efficiency {
		g.rows = append(g.rows, append(r.name(e.Dir, e.Method, e.Setting, e.Differs), fmt.Sprint(e.N),
			num(e.TEditP50, "%.3g"), num(e.TEditP90, "%.3g"), num(e.EditsPerSecond, "%.3g"), num(e.ProbesPerSecond, "%.3g"),
			size(e.PeakRSS), size(e.PeakVRAM)))
	}
	return g
}

func (r *Report) problemTable() grid {
	g := grid{title: "Rows without numbers (fault: cause)", header: []string{"method", "setting", "status", "fault", "rows", "first reason"}, left: 99}
	if len(r.Runs) > 1 {
		g.header = append([]string{"run"}, g.header...)
	}
	for _, p := range r.Problems {
		detail := p.Detail
		if p.Reasons > 1 {
			detail += fmt.Sprintf(" (the first of %d reasons)", p.Reasons)
		}
		row := []string{p.Method, p.Setting, string(p.Status), string(p.Fault), fmt.Sprint(p.N), detail}
		if len(r.Runs) > 1 {
			row = append([]string{p.Dir}, row...)
		}
		g.rows = append(g.rows, row)
	}
	return g
}
