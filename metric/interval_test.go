package metric

import (
	"fmt"
	"math"
	"testing"

	"editpipe/dataset"
	"editpipe/row"
)

// TestIntervals: the interval of a cell is that of its own samples, of S that of
// its parts resampled together, and one record has none.
func TestIntervals(t *testing.T) {
	var rows []row.Result
	axes := []dataset.Axis{dataset.AxisReliability, dataset.AxisGeneralization, dataset.AxisNeighbourhood}
	for i := range 40 {
		for k, axis := range axes {
			success := i%(k+2) != 0
			rows = append(rows, row.Result{EditID: fmt.Sprintf("e%02d", i), ProbeID: fmt.Sprint(k), Axis: string(axis), Status: row.OK, Alt: "other", Scores: row.Scores{Success: &success}})
		}
	}
	cells, err := Summarise(rows)
	if err != nil {
		t.Fatal(err)
	}
	const replicates, seed = 500, 3
	if err := AddIntervals(cells, rows, replicates, seed); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, c := range cells {
		if c.N == 0 {
			if c.Interval != nil {
				t.Errorf("%s %s has no value and the interval %v", c.Axis, c.Metric, c.Interval)
			}
			continue
		}
		if c.Interval == nil || !(c.Interval.Lo < *c.Mean && *c.Mean < c.Interval.Hi) {
			t.Fatalf("%s %s: mean %v in %v", c.Axis, c.Metric, *c.Mean, c.Interval)
		}
		if c.Axis == Overall {
			// S of three proportions near 0.5, 0.67 and 0.75 from 40 records: by the
			// delta method its standard error is about 0.05.
			if w := c.Interval.Hi - c.Interval.Lo; w < 0.1 || w > 0.35 {
				t.Errorf("S: interval %v", *c.Interval)
			}
			seen++
			continue
		}
		samples, err := Values(rows, c.Axis, c.Metric)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := Bootstrap(samples, replicates, seed); err != nil || want != *c.Interval {
			t.Errorf("%s %s: %v, want %v, %v", c.Axis, c.Metric, *c.Interval, want, err)
		}
		// The normal approximation of a proportion's interval.
		half := Z95 * math.Sqrt(*c.Mean*(1-*c.Mean)/float64(c.N))
		if math.Abs(c.Interval.Hi-(*c.Mean+half)) > 0.06 || math.Abs(c.Interval.Lo-(*c.Mean-half)) > 0.06 {
			t.Errorf("%s %s: %v, want about %v +- %v", c.Axis, c.Metric, *c.Interval, *c.Mean, half)
		}
		seen++
	}
	if seen != 6 { // three axes, two of them with and without failed rows, and S
		t.Errorf("%d cells with a mean, want 6", seen)
	}
	one := rows[:1]
	if cells, err = Summarise(one); err != nil {
		t.Fatal(err)
	}
	if err := AddIntervals(cells, one, replicates, seed); err != nil {
		t.Fatal(err)
	}
	for _, c := range cells {
		if c.Interval != nil {
			t.Errorf("%s %s of one record: %v", c.Axis, c.Metric, *c.Interval)
		}
	}
}
