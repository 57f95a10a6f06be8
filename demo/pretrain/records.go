package pretrain

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"editpipe/dataset"
	"editpipe/dataset/corpus"
	"editpipe/demo"
	"editpipe/demo/world"
	"editpipe/generator"
)

// The embedded data set.
const (
	recordCount = 200
	recordSeed  = 1
	// candidates is how many edits are generated to choose from; about two in five
	// are reserved ones.
	candidates = 900
)

// Records generates the embedded data set: edits of the world whose subject or
// relation is reserved (package world), so that no method was trained on them,
// with probes for all nine axes.
func (f *Facts) Records(ctx context.Context) ([]dataset.Record, error) {
	at := map[dataset.EditID]int{}
	var out []dataset.Record
	_, err := generator.Generate(ctx, f.Base, generator.Options{N: candidates, Seed: recordSeed, SetName: demo.Name, Licence: world.Licence}, generator.Sink{
		Edit: func(e dataset.Edit) error {
			if len(out) < recordCount && (world.Held(e.SubjectID) || world.HeldRelation(e.RelationID)) {
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
	if len(out) < recordCount {
		return nil, fmt.Errorf("pretrain: generating the data set: %d edits, want %d", len(out), recordCount)
	}
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
		if err := enc.Encode(map[string]string{corpus.Field: f.Document(r).Text}); err != nil {
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
