package pretrain

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"editpipe/dataset"
	"editpipe/dataset/corpus"
	"editpipe/demo"
	"editpipe/demo/world"
	"editpipe/generator"
)

// The embedded data set.
const (
	testEdits  = 200
	trainEdits = 200
	recordSeed = 1
	// candidates is how many edits are generated to choose from; about one in five
	// is of a reserved entity.
	candidates = 1400
)

// split is the part of the data set that an edit belongs to: test if its subject
// is reserved (package world), so that neither the model nor a method has met it
// in training; train if neither subject nor relation is; else none.
func split(e dataset.Edit) string {
	switch {
	case world.Held(e.SubjectID):
		return "test"
	case world.HeldRelation(e.RelationID):
		return ""
	}
	return "train"
}

// Records generates the embedded data set: edits of the world with probes for all
// nine axes, first those under test, then those that methods may learn from.
func (f *Facts) Records(ctx context.Context) ([]dataset.Record, error) {
	room := map[string]int{"test": testEdits, "train": trainEdits}
	at := map[dataset.EditID]int{}
	var out []dataset.Record
	_, err := generator.Generate(ctx, f.Base, generator.Options{N: candidates, Seed: recordSeed, SetName: demo.Name, Licence: world.Licence}, generator.Sink{
		Edit: func(e dataset.Edit) error {
			if e.Split = split(e); room[e.Split] > 0 {
				room[e.Split]--
				at[e.ID] = len(out)
				out = append(out, dataset.Record{Edit: e})
			}
			return nil
		},
		Probe: func(p dataset.Probe) error {
			if i, ok := at[p.EditID]; ok {
				out[i].Probes = append(out[i].Probes, p)
			}
			return nil
		},
		Reject: func(generator.Reject) error { return nil },
	})
	if err != nil {
		return nil, fmt.Errorf("pretrain: generating the data set: %w", err)
	}
	if len(out) < testEdits+trainEdits {
		return nil, fmt.Errorf("pretrain: generating the data set: %d edits, want %d for tests and %d to learn from", len(out), testEdits, trainEdits)
	}
	slices.SortStableFunc(out, func(a, b dataset.Record) int { return cmp.Compare(a.Edit.Split, b.Edit.Split) })
	return out, nil
}

// corpusSize is how many documents the embedded running text has: about 60,000
// tokens, which the embedded model's second moments take (docs/demo-model.md).
const corpusSize = 4000

const corpusStream = "corpus"

// ExportCorpus writes running text of the world into dir, JSON lines as package
// corpus reads them: documents like those the model was trained on.
func (f *Facts) ExportCorpus(dir string, seed uint64) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	r := source(seed, corpusStream)
	for range corpusSize {
		if err := enc.Encode(map[string]string{corpus.Field: f.Document(r, Second()).Text}); err != nil {
			return fmt.Errorf("pretrain: writing running text: %w", err)
		}
	}
	return writePacked(dir, demo.CorpusFile, b.Bytes())
}

// ExportRecords writes the embedded data set into dir.
func (f *Facts) ExportRecords(ctx context.Context, dir string) error {
	records, err := f.Records(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(records)
	if err != nil {
		return fmt.Errorf("pretrain: writing the data set: %w", err)
	}
	return writePacked(dir, demo.RecordsFile, data)
}
