package sets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"editpipe/audit"
	"editpipe/dataset"
	"editpipe/store"
	"editpipe/token"
)

// Files of an audit.
const (
	FindingsFile = "findings.parquet"
	ChecksFile   = "checks.parquet"
)

// Audit looks for faults in a data set.
type Audit struct {
	Source    dataset.Source
	KB        string             // as in Generate; empty for none
	Relations string             // catalogue file; by default as in Generate
	AsOf      string             // day at which facts are current; by default the edits' own, then as in Generate
	Tokenizer string             // tokenizer.json, or a folder with one; empty for none
	Limits    map[string]float64 // as in audit.Options
	Out       string             // folder for the findings and checks; empty for none
}

// Do audits the set and, where Out is given, writes every finding and the
// tallies of the checks. The data set itself is only read.
func (a Audit) Do(ctx context.Context) (*audit.Report, error) {
	o := audit.Options{Limits: a.Limits}
	if a.KB != "" {
		from := source{a.KB, a.Relations, a.AsOf}
		if from.asOf == "" {
			from.asOf = a.editsDay()
		}
		known, err := from.read(ctx)
		if err != nil {
			return nil, err
		}
		o.KB = known.Base
	}
	if a.Tokenizer != "" {
		path := a.Tokenizer
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if path = token.Find(a.Tokenizer); path == "" {
				return nil, fmt.Errorf("sets: %s holds neither tokenizer.json nor vocab.json with merges.txt", a.Tokenizer)
			}
		}
		var err error
		if o.Tokenizer, err = token.Open(path); err != nil {
			return nil, err
		}
	}
	if a.Out == "" {
		return audit.Run(ctx, a.Source, o)
	}
	if err := os.MkdirAll(a.Out, 0o755); err != nil {
		return nil, fmt.Errorf("sets: making the folder of the audit: %w", err)
	}
	meta := map[string]string{"dataset": a.Source.Name()}
	findings, err := store.NewWriter[audit.Finding](filepath.Join(a.Out, FindingsFile), meta)
	if err != nil {
		return nil, err
	}
	defer findings.Abort()
	o.Find = func(f audit.Finding) error { return findings.Append(f) }
	report, err := audit.Run(ctx, a.Source, o)
	if err != nil {
		return nil, err
	}
	if err := findings.Close(); err != nil {
		return nil, err
	}
	return report, store.Write(filepath.Join(a.Out, ChecksFile), report.Tallies, meta)
}

// editsDay is the day at which the first edit's truth holds; empty where it
// states none. A source that breaks off says so when it is audited.
func (a Audit) editsDay() string {
	for r, err := range a.Source.Records() {
		var broken *dataset.RecordError
		if err == nil {
			return r.Edit.AsOf
		}
		if !errors.As(err, &broken) {
			break
		}
	}
	return ""
}
