package dataset

import "iter"

// list is records in memory as a Source.
type list struct {
	name    string
	records []Record
}

// List is a Source of records that are already read.
func List(name string, records []Record) Source { return list{name, records} }

func (l list) Name() string { return l.name }

func (l list) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, r := range l.records {
			if !yield(r, nil) {
				return
			}
		}
	}
}
