package stages

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"editpipe/dataset"
)

// Data is a data set as it was read.
type Data struct {
	Name    string
	Records []dataset.Record
}

// Selection says which records are under test. The zero Selection takes all of
// them in the data set's order.
type Selection struct {
	Limit     int      // first N after the other filters; 0 for all
	IDs       []string // edit ids; nil for all
	OrderSeed int64    // shuffles the records; 0 keeps their order
}

// shown is the training split or, where the data set has none, all records.
func (d Data) shown() []dataset.Record {
	var train []dataset.Record
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

// choose splits a data set into the records under test and those methods may
// learn from. Where the data set has a split for training, methods learn from
// the rest of that split only, and test on it only if asked to by id.
func (d Data) choose(s Selection) (test, train []dataset.Record, err error) {
	seen := make(map[dataset.EditID]bool, len(d.Records))
	hasTrain := false
	for _, r := range d.Records {
		if r.Edit.ID == "" || seen[r.Edit.ID] {
			return nil, nil, fmt.Errorf("stages: data set %s: edit id %q is empty or occurs twice", d.Name, r.Edit.ID)
		}
		seen[r.Edit.ID] = true
		hasTrain = hasTrain || r.Edit.Split == "train"
	}
	var missing []string
	want := map[dataset.EditID]bool{}
	for _, id := range s.IDs {
		want[dataset.EditID(id)] = true
		if !seen[dataset.EditID(id)] {
			missing = append(missing, id)
		}
	}
	if missing != nil {
		return nil, nil, fmt.Errorf("stages: data set %s has no edit %s", d.Name, strings.Join(missing, ", "))
	}
	onlyTrain := !slices.ContainsFunc(d.Records, func(r dataset.Record) bool { return r.Edit.Split != "train" })
	var rest []dataset.Record
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
		return nil, nil, fmt.Errorf("stages: data set %s: no records under test", d.Name)
	}
	for _, r := range rest {
		if !hasTrain || r.Edit.Split == "train" {
			train = append(train, r)
		}
	}
	return test, train, nil
}

// unasked lists the edits that have no question.
func unasked(recs []dataset.Record) []dataset.EditID {
	var ids []dataset.EditID
	for _, r := range recs {
		if len(r.Probes) == 0 {
			ids = append(ids, r.Edit.ID)
		}
	}
	return ids
}

// superseded gives, for each of the edits made so far, the id of the latest one
// that contradicts it, or "". Edits contradict each other if they share a
// conflict group, or subject and relation, and differ in the new object. Edits
// that failed (errs) contradict nothing.
func superseded(edits []dataset.Edit, errs []error) []dataset.EditID {
	latest := map[string]dataset.Edit{}
	out := make([]dataset.EditID, len(edits))
	for i := len(edits) - 1; i >= 0; i-- {
		e := edits[i]
		fact := e.ConflictGroup
		if relation := cmp.Or(e.RelationID, e.RelationLabel); fact == "" && relation != "" && e.Subject != "" {
			fact = strings.ToLower(e.Subject) + "\x00" + relation
		}
		if fact == "" || errs[i] != nil {
			continue
		}
		if last, ok := latest[fact]; !ok {
			latest[fact] = e
		} else if !strings.EqualFold(last.Target, e.Target) {
			out[i] = last.ID
		}
	}
	return out
}
