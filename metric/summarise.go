package metric

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/row"
)

// Cell is the mean of one metric on one axis.
type Cell struct {
	Axis     dataset.Axis
	Metric   string // id, with the suffix of a variant
	Protocol string
	N        int64     // records the mean is over
	Failed   int64     // records of the axis with a failed row
	Mean     *float64  // nil if N is 0
	Interval *Interval // 95 %, nil unless AddIntervals found one
}

// ErrRepeated is returned when a probe of a record has two rows: rows of
// different settings, seeds or checkpoints must be summarised apart.
var ErrRepeated = errors.New("probe has more than one row")

// MixedProtocolError is returned when rows were asked under different
// protocols: their mean would mean nothing.
type MixedProtocolError struct {
	Rows map[string]int // rows with numbers, by protocol id
}

func (e *MixedProtocolError) Error() string {
	var parts []string
	for id, n := range e.Rows {
		parts = append(parts, fmt.Sprintf("%q (%d rows)", id, n))
	}
	slices.Sort(parts)
	return "metric: rows of different protocols cannot be averaged: " + strings.Join(parts, ", ")
}

// Sample is a metric's value for one record.
type Sample struct {
	Record  string
	Cluster string
	Value   float64
	Weight  float64 // 1, or the record's tokens for a micro average
}

// Summarise averages every metric over the rows of one model, method and
// schedule. The order of rows does not matter. A record is an edit with its
// probes; rows of one subject are not independent. Cells come in report order; an
// axis that occurs has at least the cell of its headline metric, with N 0 where
// no row has a number (a "-" in tables).
//
// A record's value is the mean over its probes; the cell is the mean over
// records, or with the suffix _micro the mean over target tokens. A failed row
// counts as 0 for metrics of success on reliability and generalization
// (intention to treat; with the suffix _completed it is left out), and is left
// out of every other mean. Unsupported and
// skipped rows are left out, and those that failed by a fault of the model.
func Summarise(results []row.Result) ([]Cell, error) {
	rows, protocol, err := prepare(results)
	if err != nil {
		return nil, err
	}
	var cells []Cell
	of := conditioned(rows)
	for _, axis := range slices.Concat(dataset.Axes(), dataset.FurtherAxes()) {
		on := ofAxis(rows, axis)
		if len(on) == 0 {
			continue
		}
		failed := failures(on)
		for _, d := range All() {
			for _, variant := range []string{"", Micro, Completed, Known, Edited} {
				id := d.ID + variant
				if !d.appliesTo(axis) || !d.has(variant, axis) {
					continue
				}
				samples, err := values(of(on, variant), axis, d, variant)
				if err != nil {
					return nil, err
				}
				if len(samples) == 0 && id != Headline(axis) {
					continue
				}
				cells = append(cells, Cell{Axis: axis, Metric: id, Protocol: protocol, N: int64(len(samples)), Failed: failed, Mean: Mean(samples)})
			}
		}
	}
	if s, ok := score(cells); ok {
		cells = append(cells, s)
	}
	return cells, nil
}

// Values gives a metric's value per record, in the order of record ids: what
// intervals and paired tests are computed from. Rows and id are as for
// Summarise, whose mean is Mean of the result.
func Values(results []row.Result, axis dataset.Axis, id string) ([]Sample, error) {
	d, variant, ok := Lookup(id)
	if !ok || d.get == nil || !d.appliesTo(axis) || !d.has(variant, axis) {
		return nil, fmt.Errorf("metric: no metric %q on axis %q", id, axis)
	}
	rows, _, err := prepare(results)
	if err != nil {
		return nil, err
	}
	return values(conditioned(rows)(ofAxis(rows, axis), variant), axis, d, variant)
}

// conditioned says which rows of an axis a variant is about: for Edited those of
// records whose edit took.
func conditioned(all []*row.Result) func(on []*row.Result, variant string) []*row.Result {
	took := map[string]bool{}
	for _, r := range all {
		if dataset.Axis(r.Axis) == dataset.AxisReliability {
			right := r.Status == row.OK && r.Scores.Exact != nil && *r.Scores.Exact
			before, seen := took[r.EditID]
			took[r.EditID] = right && (before || !seen)
		}
	}
	return func(on []*row.Result, variant string) []*row.Result {
		if variant != Edited {
			return on
		}
		return slices.DeleteFunc(slices.Clone(on), func(r *row.Result) bool { return !took[r.EditID] })
	}
}

// Mean is the weighted mean of the samples; nil if there are none.
func Mean(samples []Sample) *float64 {
	if len(samples) == 0 {
		return nil
	}
	v, w := make([]float64, len(samples)), make([]float64, len(samples))
	for i, s := range samples {
		v[i], w[i] = s.Value*s.Weight, s.Weight
	}
	return ptr(sum(v) / sum(w))
}

// HarmonicMean is CounterFact's way to combine scores; 0 if one of them is 0.
func HarmonicMean(scores ...float64) float64 {
	inverse := make([]float64, len(scores))
	for i, s := range scores {
		if s == 0 {
			return 0
		}
		inverse[i] = 1 / s
	}
	return float64(len(scores)) / sum(inverse)
}

// has says whether a variant of the metric exists on the axis.
func (d Def) has(variant string, axis dataset.Axis) bool {
	switch variant {
	case Micro:
		return d.Micro
	case Completed:
		return d.countsFailures(axis)
	case Known:
		return d.Known
	case Edited:
		return d.Edited && (axis.Family() == dataset.Generalization || axis.Family() == dataset.Portability)
	}
	return d.get != nil
}

// prepare sorts the rows, so that sums do not depend on their order, and refuses
// sets that cannot be averaged.
func prepare(results []row.Result) ([]*row.Result, string, error) {
	rows := make([]*row.Result, len(results))
	for i := range results {
		rows[i] = &results[i]
	}
	slices.SortFunc(rows, func(a, b *row.Result) int {
		return cmp.Or(cmp.Compare(a.EditID, b.EditID), cmp.Compare(a.ProbeID, b.ProbeID))
	})
	protocols := map[string]int{}
	for i, r := range rows {
		if dataset.Axis(r.Axis).Family() == "" {
			return nil, "", fmt.Errorf("metric: record %s, probe %s: unknown axis %q", r.EditID, r.ProbeID, r.Axis)
		}
		if i > 0 && rows[i-1].EditID == r.EditID && rows[i-1].ProbeID == r.ProbeID {
			return nil, "", fmt.Errorf("metric: record %s, probe %s: %w", r.EditID, r.ProbeID, ErrRepeated)
		}
		if r.Status == row.OK || hasFailed(r) && r.ProtocolID != "" {
			protocols[r.ProtocolID]++
		}
	}
	if len(protocols) > 1 {
		return nil, "", &MixedProtocolError{Rows: protocols}
	}
	for id := range protocols {
		return rows, id, nil
	}
	return rows, "", nil
}

func ofAxis(rows []*row.Result, axis dataset.Axis) []*row.Result {
	var on []*row.Result
	for _, r := range rows {
		if dataset.Axis(r.Axis) == axis {
			on = append(on, r)
		}
	}
	return on
}

// hasFailed says whether a row counts against its method: one that failed by a
// fault of the model counts for nothing.
func hasFailed(r *row.Result) bool { return r.Status == row.Failed && r.Fault != row.FaultModel }

func failures(rows []*row.Result) int64 {
	records := map[string]bool{}
	for _, r := range rows {
		if hasFailed(r) {
			records[r.EditID] = true
		}
	}
	return int64(len(records))
}

// values averages the sorted rows of one axis within each record.
func values(rows []*row.Result, axis dataset.Axis, d Def, variant string) ([]Sample, error) {
	// Whether texts were generated shows in the rows that came through.
	asked := slices.ContainsFunc(rows, func(r *row.Result) bool { return r.Status == row.OK && d.get(r.Scores) != nil })
	var out []Sample
	var v, w []float64
	flush := func(last *row.Result) {
		if len(v) > 0 {
			weight := 1.0
			if variant == Micro {
				weight = sum(w)
			}
			for i := range v {
				v[i] *= w[i]
			}
			out = append(out, Sample{Record: last.EditID, Cluster: cmp.Or(last.Subject, last.EditID), Value: sum(v) / sum(w), Weight: weight})
		}
		v, w = v[:0], w[:0]
	}
	for i, r := range rows {
		if i > 0 && rows[i-1].EditID != r.EditID {
			flush(rows[i-1])
		}
		x := d.value(r, axis, asked, variant)
		if x == nil {
			continue
		}
		if !finite(*x) {
			return nil, fmt.Errorf("metric: record %s, probe %s: %s is %v", r.EditID, r.ProbeID, d.ID, *x)
		}
		weight := 1.0
		if variant == Micro && r.Scores.Tokens != nil {
			weight = float64(*r.Scores.Tokens)
		}
		v, w = append(v, *x), append(w, weight)
	}
	if len(rows) > 0 {
		flush(rows[len(rows)-1])
	}
	return out, nil
}

// value is what a row adds to the mean; nil if nothing. asked says that rows of
// the axis have this metric.
func (d Def) value(r *row.Result, axis dataset.Axis, asked bool, variant string) *float64 {
	if r.Status != row.OK && !hasFailed(r) {
		return nil
	}
	if variant == Known && !(r.Scores.PreExact != nil && *r.Scores.PreExact || r.Scores.PreAcc != nil && *r.Scores.PreAcc) {
		return nil
	}
	x := d.get(r.Scores)
	if x != nil || r.Status == row.OK || variant == Completed || !d.countsFailures(axis) {
		return x
	}
	switch d.ID { // a failed row that would have had this metric counts as 0
	case "tf_token_acc", "tf_exact":
		return new(float64)
	case "success_prob":
		asked = r.Alt != ""
	}
	if asked {
		return new(float64)
	}
	return nil
}

// scoreAxes are the axes that CounterFact's S combines.
func scoreAxes() []dataset.Axis {
	return []dataset.Axis{dataset.AxisReliability, dataset.AxisGeneralization, dataset.AxisNeighbourhood}
}

// score is CounterFact's S, if its three parts are there.
func score(cells []Cell) (Cell, bool) {
	s := Cell{Axis: Overall, Metric: "cf_score"}
	var parts []float64
	for _, c := range cells {
		if !slices.Contains(scoreAxes(), c.Axis) || c.Metric != "success_prob" || c.Mean == nil {
			continue
		}
		if parts = append(parts, *c.Mean); len(parts) == 1 || c.N < s.N {
			s.N = c.N
		}
		s.Failed, s.Protocol = max(s.Failed, c.Failed), c.Protocol
	}
	if len(parts) != len(scoreAxes()) {
		return Cell{}, false
	}
	s.Mean = ptr(HarmonicMean(parts...))
	return s, true
}
