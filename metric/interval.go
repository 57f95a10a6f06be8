package metric

import (
	"errors"
	"fmt"

	"editpipe/dataset"
	"editpipe/row"
)

// Replicates and IntervalSeed are those of the intervals in summaries: fixed, so
// that equal rows give equal intervals.
const (
	Replicates   = 10_000
	IntervalSeed = 1
)

// AddIntervals sets the 95 % intervals of the cells that Summarise made of the
// rows: percentile bootstrap over clusters, and of cf_score by resampling S
// itself, since it is no mean of anything. A cell of fewer than two clusters has
// none. The rows of a batch or a sequence are not independent and need runs in
// several orders in place of this.
func AddIntervals(cells []Cell, results []row.Result, replicates int, seed int64) error {
	rows, _, err := prepare(results)
	if err != nil {
		return err
	}
	byAxis := map[dataset.Axis][]*row.Result{}
	for _, r := range rows {
		axis := dataset.Axis(r.Axis)
		byAxis[axis] = append(byAxis[axis], r)
	}
	for i, c := range cells {
		var got Interval
		var err error
		if c.Axis == Overall {
			got, err = scoreInterval(byAxis, replicates, seed)
		} else {
			d, variant, ok := Lookup(c.Metric)
			if !ok {
				return fmt.Errorf("metric: no metric %q", c.Metric)
			}
			var samples []Sample
			if samples, err = values(byAxis[c.Axis], c.Axis, d, variant); err == nil {
				got, err = Bootstrap(samples, replicates, seed)
			}
		}
		if errors.Is(err, ErrTooFew) {
			continue
		}
		if err != nil {
			return err
		}
		cells[i].Interval = &got
	}
	return nil
}

// scoreInterval is the interval of CounterFact's S.
func scoreInterval(byAxis map[dataset.Axis][]*row.Result, replicates int, seed int64) (Interval, error) {
	d, variant, _ := Lookup("success_prob")
	type part struct{ sum, weight float64 }
	axes := scoreAxes()
	at := map[string]int{} // position of a cluster
	var parts [][]part     // by cluster, then by axis
	for k, axis := range axes {
		samples, err := values(byAxis[axis], axis, d, variant)
		if err != nil {
			return Interval{}, err
		}
		for _, s := range samples {
			i, ok := at[s.Cluster]
			if !ok {
				i = len(parts)
				at[s.Cluster], parts = i, append(parts, make([]part, len(axes)))
			}
			parts[i][k].sum += s.Value * s.Weight
			parts[i][k].weight += s.Weight
		}
	}
	return BootstrapOf(len(parts), replicates, seed, func(draw []int) (float64, bool) {
		means := make([]float64, len(axes))
		for k := range axes {
			var all part
			for _, i := range draw {
				all.sum += parts[i][k].sum
				all.weight += parts[i][k].weight
			}
			if all.weight == 0 {
				return 0, false
			}
			means[k] = all.sum / all.weight
		}
		return HarmonicMean(means...), true
	})
}
