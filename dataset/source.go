package dataset

import (
	"errors"
	"fmt"
	"iter"
)

// Source yields records in a fixed order. An error that concerns one record is
// yielded with a zero Record as a *RecordError and the sequence goes on; any
// other error ends it.
type Source interface {
	Name() string
	Records() iter.Seq2[Record, error]
}

// RecordError says what is wrong with one record of a file. The records before
// and after it are not affected.
type RecordError struct {
	File   string
	Index  int    // position in the file, from 0
	Offset int64  // byte at which the record starts
	Field  string // path of the field, e.g. requested_rewrite.target_new.str; empty if the whole record is meant
	Err    error
}

func (e *RecordError) Error() string {
	field := ""
	if e.Field != "" {
		field = ", field " + e.Field
	}
	return fmt.Sprintf("dataset: %s: record %d (byte %d)%s: %v", e.File, e.Index, e.Offset, field, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

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

// ReadAll reads a source to its end. It returns the usable records, what was
// wrong with the others, and an error if the source itself broke off.
func ReadAll(s Source) ([]Record, []*RecordError, error) {
	var recs []Record
	var bad []*RecordError
	for rec, err := range s.Records() {
		var re *RecordError
		switch {
		case err == nil:
			recs = append(recs, rec)
		case errors.As(err, &re):
			bad = append(bad, re)
		default:
			return recs, bad, err
		}
	}
	return recs, bad, nil
}
