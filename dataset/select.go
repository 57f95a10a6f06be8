package dataset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Data is a data set as it was read.
type Data struct {
	Name    string
	Records []Record
}

// Selection says which records are under test. The zero Selection takes all of
// them in the data set's order.
type Selection struct {
	Limit     int      // first N after the other filters; 0 for all
	IDs       []string // edit ids; nil for all
	OrderSeed int64    // shuffles the records; 0 keeps their order
}

// Shown are the records a method may show to a model: the training split or,
// where the set has none, all of them.
func (d Data) Shown() []Record {
	var train []Record
	for _, r := range d.Records {
		if r.Edit.Split == "train" {
			train = append(train, r)
		}
	}
	if train == nil {
		return d.Records
	}
	return train
}

// Choose splits a data set into the records under test and those methods may
// learn from. Where the data set has a split for training, methods learn from
// the rest of that split only, and test on it only if asked to by id. An error
// names ids that are missing, empty or there twice, or says that no record is under
// test.
func (d Data) Choose(s Selection) (test, train []Record, err error) {
	seen := make(map[EditID]bool, len(d.Records))
	hasTrain := false
	for _, r := range d.Records {
		if r.Edit.ID == "" || seen[r.Edit.ID] {
			return nil, nil, fmt.Errorf("dataset: data set %s: edit id %q is empty or occurs twice", d.Name, r.Edit.ID)
		}
		seen[r.Edit.ID] = true
		hasTrain = hasTrain || r.Edit.Split == "train"
	}
	var missing []string
	want := map[EditID]bool{}
	for _, id := range s.IDs {
		want[EditID(id)] = true
		if !seen[EditID(id)] {
			missing = append(missing, id)
		}
	}
	if missing != nil {
		return nil, nil, fmt.Errorf("dataset: data set %s has no edit %s", d.Name, strings.Join(missing, ", "))
	}
	onlyTrain := !slices.ContainsFunc(d.Records, func(r Record) bool { return r.Edit.Split != "train" })
	var rest []Record
	for _, r := range d.Records {
		switch {
		case len(want) > 0 && !want[r.Edit.ID], len(want) == 0 && r.Edit.Split == "train" && !onlyTrain:
			rest = append(rest, r)
		default:
			test = append(test, r)
		}
	}
	if s.OrderSeed != 0 {
		rng := rand.New(rand.NewPCG(uint64(s.OrderSeed), 0))
		rng.Shuffle(len(test), func(i, j int) { test[i], test[j] = test[j], test[i] })
	}
	if s.Limit > 0 && s.Limit < len(test) {
		rest = append(rest, test[s.Limit:]...)
		test = test[:s.Limit]
	}
	if len(test) == 0 {
		return nil, nil, fmt.Errorf("dataset: data set %s: no records under test", d.Name)
	}
	for _, r := range rest {
		if !hasTrain || r.Edit.Split == "train" {
			train = append(train, r)
		}
	}
	return test, train, nil
}

// Split gives the records to learn from, and those of the split valid to validate
// on.
func (d Data) Split() (train, valid Source) {
	var a, b []Record
	for _, r := range d.Records {
		if r.Edit.Split == "valid" {
			b = append(b, r)
		} else {
			a = append(a, r)
		}
	}
	return List(d.Name, a), List(d.Name, b)
}
