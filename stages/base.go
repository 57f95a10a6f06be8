package stages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/models"
	"editpipe/ort"
	"editpipe/pipeline"
	"editpipe/store"
)

// base is the stage in which the unedited model answers every probe, once. All
// methods and settings are compared with these answers.
//
// Its units are chunks of records. A unit of evaluate that finds the answers it
// needs missing makes them itself, so that the stages can be shared out over
// processes without waiting for each other; both come to the same rows.
type base struct {
	*trial
	chunks []chunk
	ids    []string // parallel to chunks
}

func newBase(t *trial) *base {
	b := &base{trial: t, chunks: chunks(len(t.test), BaseRecords)}
	for _, c := range b.chunks {
		b.ids = append(b.ids, id("base", schema, t.asked, probesHash(t.test[c.lo:c.hi])))
	}
	return b
}

// probesHash covers all that is asked about records and all that their edits say.
func probesHash(recs []dataset.Record) string { return id(recs) }

func (b *base) Name() string { return "base" }

func (b *base) Plan(context.Context) ([]pipeline.Unit, error) {
	units := make([]pipeline.Unit, len(b.chunks))
	for i, c := range b.chunks {
		units[i] = pipeline.Unit{
			ID: b.ids[i], Label: fmt.Sprintf("unedited model, records %d-%d", c.lo+1, c.hi),
			Weight: c.hi - c.lo,
		}
	}
	return units, nil
}

func (b *base) Do(ctx context.Context, u pipeline.Unit) error {
	for i, unit := range b.ids {
		if unit == u.ID {
			_, err := b.make(ctx, i)
			return err
		}
	}
	return fmt.Errorf("stages: base has no unit %s", u.ID)
}

func (b *base) path(i int) string { return filepath.Join(b.dir, "base", b.ids[i]+".parquet") }

// make asks chunk i and writes its rows.
func (b *base) make(ctx context.Context, i int) ([]store.Base, error) {
	meter := ort.StartMeter()
	c := b.chunks[i]
	qs := questions(b.test[c.lo:c.hi])
	rows, err := b.ask(ctx, qs)
	if err != nil {
		return nil, fmt.Errorf("stages: asking the unedited model: %w", err)
	}
	cost := b.cost("base", b.ids[i], meter.Stop())
	cost.Probes = int32(len(qs))
	if err := b.writeCost(cost); err != nil {
		return nil, err
	}
	return rows, store.Write(b.path(i), rows, nil)
}

// rows gives the unedited answers for a range of the records under test,
// parallel to questions of that range. It makes what is missing.
func (b *base) rows(ctx context.Context, want chunk) ([]store.Base, error) {
	var out []store.Base
	for i, c := range b.chunks {
		lo, hi := max(c.lo, want.lo), min(c.hi, want.hi)
		if lo >= hi {
			continue
		}
		rows, err := store.Read[store.Base](b.path(i))
		if errors.Is(err, fs.ErrNotExist) {
			rows, err = b.make(ctx, i)
		}
		if err != nil {
			return nil, fmt.Errorf("stages: answers of the unedited model: %w", err)
		}
		before, within := len(questions(b.test[c.lo:lo])), len(questions(b.test[lo:hi]))
		if len(rows) < before+within {
			return nil, fmt.Errorf("stages: %s holds %d answers where %d were asked: delete it and run again", b.path(i), len(rows), before+within)
		}
		out = append(out, rows[before:before+within]...)
	}
	return out, nil
}

// ask puts questions to the unedited model.
func (b *base) ask(ctx context.Context, qs []question) ([]store.Base, error) {
	asked := make([]asked, len(qs))
	for i, q := range qs {
		asked[i].question = q
	}
	if err := b.put(ctx, asked); err != nil {
		return nil, err
	}
	rows := make([]store.Base, len(qs))
	for i, a := range asked {
		rows[i] = a.base(b.protocol)
	}
	return rows, nil
}

// asked is a question with the patch it is asked through and what came back.
type asked struct {
	question
	patch  *models.Patch // nil for the unedited model
	failed error         // set where the edit failed, so that nothing is asked

	scores *ask.Answer // nil where nothing was to be scored
	text   *ask.Answer // nil where nothing was generated
}

// err is the first reason why there are no numbers, nil if there are some.
func (a asked) err() error {
	switch {
	case a.failed != nil:
		return a.failed
	case a.scores != nil && a.scores.Err != nil:
		return a.scores.Err
	case a.text != nil:
		return a.text.Err
	}
	return nil
}

// put asks all questions in one call for the scores and one for the texts: rows
// carry their own patches, so edits share runs of the model.
func (t *trial) put(ctx context.Context, list []asked) error {
	var rows, texts []models.Row
	var rowOf, textOf []int
	for i, a := range list {
		if a.failed != nil {
			continue
		}
		row := models.Row{Query: a.query(), Patch: a.patch}
		if t.MaxNew > 0 && a.generated() {
			texts, textOf = append(texts, row), append(textOf, i)
		}
		if !a.scored() {
			continue
		}
		if a.patch != nil && a.compared() {
			plain := a.query()
			row.Versus = &plain
		}
		rows, rowOf = append(rows, row), append(rowOf, i)
	}
	answers, err := t.LM.Score(ctx, rows)
	if err != nil {
		return err
	}
	for j, i := range rowOf {
		list[i].scores = &answers[j]
	}
	if len(texts) == 0 {
		return nil
	}
	if answers, err = t.LM.Generate(ctx, texts, ask.Sampling{MaxNew: t.MaxNew, Stop: stopTexts}); err != nil {
		return err
	}
	for j, i := range textOf {
		list[i].text = &answers[j]
	}
	return nil
}

// stopTexts end a generated answer; a full stop does not, as it would cut
// "St. Louis".
var stopTexts = []string{"\n"}
