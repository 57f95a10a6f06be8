package dataset

import (
	"errors"
	"fmt"
	"iter"
	"testing"
)

func TestEveryAxisHasAFamily(t *testing.T) {
	families := map[Family]int{}
	seen := map[Axis]bool{}
	for _, a := range Axes() {
		if seen[a] || a.Family() == "" {
			t.Errorf("axis %q is listed twice or has no family", a)
		}
		seen[a] = true
		families[a.Family()]++
	}
	// The sets of the survey's table: one, one, three and four.
	for family, n := range map[Family]int{Reliability: 1, Generalization: 1, Portability: 3, Locality: 4} {
		if families[family] != n {
			t.Errorf("%d axes of %s, want %d", families[family], family, n)
		}
	}
	for _, a := range FurtherAxes() {
		if seen[a] || a.Family() == "" || families[a.Family()] != 0 {
			t.Errorf("further axis %q is listed twice, or has no family, or one of the survey's", a)
		}
		seen[a] = true
	}
	for name, want := range map[string]int{"reliability": 1, "portability": 3, "one_hop": 1, "belief": 3, "repeat": 2, "nonsense": 0, "": 0} {
		if got := AxesOf(name); len(got) != want {
			t.Errorf("%q stands for %v, want %d axes", name, got, want)
		}
	}
	if f := Axis("nonsense").Family(); f != "" {
		t.Errorf("unknown axis has the family %q", f)
	}
}

// steps is a source of records and errors in a given order.
type steps []error

func (steps) Name() string { return "steps" }

func (s steps) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for i, err := range s {
			var r Record
			if err == nil {
				r.Edit.ID = EditID(fmt.Sprint(i))
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func TestReadAllKeepsBrokenRecordsApart(t *testing.T) {
	broken := &RecordError{File: "f.json", Index: 1, Offset: 20, Field: "a.b", Err: errors.New("blank")}
	if got := broken.Error(); got != "dataset: f.json: record 1 (byte 20), field a.b: blank" {
		t.Errorf("message %q", got)
	}
	recs, bad, err := ReadAll(steps{nil, fmt.Errorf("wrapped: %w", broken), nil})
	if err != nil || len(recs) != 2 || recs[1].Edit.ID != "2" || len(bad) != 1 || bad[0] != broken {
		t.Errorf("records %v, broken %v, error %v", recs, bad, err)
	}
	gone := errors.New("disk gone")
	recs, bad, err = ReadAll(steps{nil, gone, nil})
	if !errors.Is(err, gone) || len(recs) != 1 || len(bad) != 0 {
		t.Errorf("records %v, broken %v, error %v; want the first record and the error", recs, bad, err)
	}
}

func TestListCanBeReadTwice(t *testing.T) {
	s := List("two", []Record{{Edit: Edit{ID: "a"}}, {Edit: Edit{ID: "b"}}})
	for range 2 {
		recs, bad, err := ReadAll(s)
		if err != nil || len(bad) != 0 || len(recs) != 2 || recs[0].Edit.ID != "a" || recs[1].Edit.ID != "b" {
			t.Errorf("records %v, broken %v, error %v", recs, bad, err)
		}
	}
	for range s.Records() {
		break // leaving early must not panic
	}
	if s.Name() != "two" {
		t.Errorf("name %q", s.Name())
	}
}
