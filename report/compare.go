package report

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"

	"editpipe/row"
	"editpipe/store"
)

// Comparison is how far the rows of two runs agree that asked the same
// questions: on two execution providers, machines or versions.
type Comparison struct {
	A         string  `json:"a"`
	B         string  `json:"b"`
	Tolerance float64 `json:"tolerance"` // nats
	Rows      int     `json:"rows"`      // rows in both
	Answered  int     `json:"answered"`  // of these, rows with numbers
	OnlyA     int     `json:"only_a"`
	OnlyB     int     `json:"only_b"`
	Status    int     `json:"status_differs"` // rows in both with another status
	// Argmax counts rows in which another token is the most probable one; Close
	// are those of them in which both runs have a position whose best two logits lie within the
	// tolerance. Generated text is not compared.
	Argmax  int               `json:"argmax_differs"`
	Close   int               `json:"argmax_differs_close"`
	Columns []ColumnDistance  `json:"columns"`
	Worst   []DifferingAnswer `json:"worst"` // at most worstShown, the largest distance first
}

// ColumnDistance is the distance of one column over all rows in which both runs
// have it.
type ColumnDistance struct {
	Column  string  `json:"column"`
	N       int     `json:"n"`
	Mean    float64 `json:"mean"`
	Largest float64 `json:"largest"`
	Beyond  int     `json:"beyond"` // rows beyond the tolerance, and rows in which one run alone has a number
}

// DifferingAnswer is a row that differs.
type DifferingAnswer struct {
	Method   string   `json:"method"`
	Setting  string   `json:"setting"`
	EditID   string   `json:"edit_id"`
	ProbeID  string   `json:"probe_id"`
	Column   string   `json:"column"`
	Distance *float64 `json:"distance"` // null where one run has no number
}

// size orders differing answers; none at all is the largest difference.
func (d DifferingAnswer) size() float64 {
	if d.Distance == nil {
		return math.Inf(1)
	}
	return *d.Distance
}

// worstShown is how many differing rows are named.
const worstShown = 5

// compared are the columns in nats.
var compared = []struct {
	name string
	of   func(*row.Result) *float64
}{
	{"pre_logp_mean", func(r *row.Result) *float64 { return r.PreLogPMean }},
	{"pre_logp_alt_mean", func(r *row.Result) *float64 { return r.PreLogPAltMean }},
	{"logp_mean", func(r *row.Result) *float64 { return r.LogPMean }},
	{"logp_alt_mean", func(r *row.Result) *float64 { return r.LogPAltMean }},
	{"kl", func(r *row.Result) *float64 { return r.KL }},
}

// question is what was asked.
type question struct {
	method, config, schedule, edit, probe string
	after                                 int32
}

// Compare compares the result rows of two run folders. The tolerance is in nats.
func Compare(ctx context.Context, a, b string, tolerance float64) (*Comparison, error) {
	c := &Comparison{A: a, B: b, Tolerance: tolerance, Worst: []DifferingAnswer{}}
	left, err := answers(ctx, a)
	if err != nil {
		return nil, err
	}
	right, err := answers(ctx, b)
	if err != nil {
		return nil, err
	}
	theirs := map[question]*row.Result{}
	for i := range right {
		theirs[asked(&right[i])] = &right[i]
	}
	for _, col := range compared {
		c.Columns = append(c.Columns, ColumnDistance{Column: col.name})
	}
	met := map[question]bool{}
	for i := range left {
		r := &left[i]
		s := theirs[asked(r)]
		if s == nil {
			c.OnlyA++
			continue
		}
		met[asked(r)] = true
		c.Rows++
		c.add(r, s)
	}
	c.OnlyB = len(theirs) - len(met)
	for i := range c.Columns {
		if n := c.Columns[i].N; n > 0 {
			c.Columns[i].Mean /= float64(n)
		}
	}
	slices.SortStableFunc(c.Worst, func(x, y DifferingAnswer) int { return cmp.Compare(y.size(), x.size()) })
	c.Worst = c.Worst[:min(len(c.Worst), worstShown)]
	return c, nil
}

// answers reads the rows of a run, finished or not.
func answers(ctx context.Context, dir string) ([]row.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	run, err := store.OpenRun(dir)
	if err != nil {
		return nil, fmt.Errorf("report: comparing: reading run %s: %w", dir, err)
	}
	rows, err := store.ReadDir[row.Result](run.TableDir(store.TableResults))
	if err != nil {
		return nil, fmt.Errorf("report: comparing: %w", err)
	}
	return rows, nil
}

func asked(r *row.Result) question {
	return question{r.Method, r.Config, r.Setting, r.EditID, r.ProbeID, r.EvaluatedAfter}
}

// add compares one row of both runs.
func (c *Comparison) add(r, s *row.Result) {
	if r.Status != s.Status {
		c.Status++
		return
	}
	if r.Status == row.OK {
		c.Answered++
	}
	if !slices.Equal(r.ArgmaxIDs, s.ArgmaxIDs) {
		c.Argmax++
		if near := func(gap *float64) bool { return gap != nil && *gap <= c.Tolerance }; near(r.MinGap) && near(s.MinGap) {
			c.Close++
		}
	}
	for i, col := range compared {
		x, y, d := col.of(r), col.of(s), &c.Columns[i]
		var distance *float64
		if x == nil && y == nil {
			continue
		}
		if x != nil && y != nil {
			distance = new(math.Abs(*x - *y))
			d.N++
			d.Mean += *distance
			d.Largest = max(d.Largest, *distance)
			if *distance <= c.Tolerance {
				continue
			}
		}
		d.Beyond++
		c.Worst = append(c.Worst, DifferingAnswer{r.Method, r.Setting, r.EditID, r.ProbeID, col.name, distance})
	}
}

// Agree says whether the runs have the same rows, some of them answered, with
// every number within the tolerance and no argmax that differs by more than it.
func (c *Comparison) Agree() bool {
	for _, d := range c.Columns {
		if d.Beyond > 0 {
			return false
		}
	}
	return c.Answered > 0 && c.OnlyA == 0 && c.OnlyB == 0 && c.Status == 0 && c.Argmax == c.Close
}

// Write prints the comparison as text.
func (c *Comparison) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "rows in both runs\t%d\nwith numbers\t%d\nonly in %s\t%d\nonly in %s\t%d\ndifferent status\t%d\n", c.Rows, c.Answered, c.A, c.OnlyA, c.B, c.OnlyB, c.Status)
	fmt.Fprintf(t, "different most probable token\t%d (%d of them with two logits within %g)\n", c.Argmax, c.Close, c.Tolerance)
	fmt.Fprintf(t, "\ncolumn\trows\tmean difference\tlargest\tbeyond %g nats\n", c.Tolerance)
	for _, d := range c.Columns {
		fmt.Fprintf(t, "%s\t%d\t%.2g\t%.2g\t%d\n", d.Column, d.N, d.Mean, d.Largest, d.Beyond)
	}
	for _, x := range c.Worst {
		distance := "(one run has no number)"
		if x.Distance != nil {
			distance = fmt.Sprintf("by %.2g", *x.Distance)
		}
		fmt.Fprintf(t, "\n%s %s: edit %s, probe %s: %s differs %s", x.Method, x.Setting, x.EditID, x.ProbeID, x.Column, distance)
	}
	if len(c.Worst) > 0 {
		fmt.Fprintln(t)
	}
	return t.Flush()
}
