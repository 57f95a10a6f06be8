package sets

import (
	"context"
	"errors"
	"fmt"
	"os"

	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/store"
)

// ErrNothing is returned where not one edit can be written.
var ErrNothing = errors.New("nothing was written")

// Import reads a file of the field into a data set folder.
type Import struct {
	In      string           // JSON, JSON lines, a table or Parquet, packed or not
	Format  string           // as importer.Formats names it; recognised from the file if empty
	Options importer.Options // what the file does not say of itself; Labels and Parquet are not needed
	Choices Choices          // questions with choices to attach; none by default
	Out     string           // folder to write; made if absent
	Version string           // version of the program, for the manifest

	// LeftOut is told in words of each broken record while the files are read;
	// nil if nobody wants to know.
	LeftOut func(fault string)
}

// Choices are questions with choices that an import attaches to each edit under
// the axis other_tasks.
type Choices struct {
	File    string // as importer.ReadChoices reads it; empty for none
	Labels  string // file of their labels; by default as in importer.Options
	PerEdit int
	Seed    int64 // of which questions go to which edit
}

// Imported is what an import read and left out.
type Imported struct {
	importer.Report                 // of the file, with the questions attached to its edits
	Choices         importer.Report // of the file of choices; zero without one
}

// ChoicesError is returned where the questions of a file of choices cannot be
// attached: there are fewer than each edit is to have.
type ChoicesError struct {
	Choices
	Err error
}

// Error names the file and the cause.
func (e *ChoicesError) Error() string {
	return fmt.Sprintf("sets: %d choices of %s for each edit: %v", e.PerEdit, e.File, e.Err)
}

// Unwrap gives the cause.
func (e *ChoicesError) Unwrap() error { return e.Err }

// Do reads the file and writes the set. Broken records are left out, and are in
// the report; ErrNothing is returned where no record is left, and a *ChoicesError
// where there are too few choices.
func (i Import) Do(ctx context.Context) (*Imported, error) {
	file, err := openFile(i.In, i.Format, i.Options)
	if err != nil {
		return nil, err
	}
	records, err := i.read(ctx, file)
	if err != nil {
		return nil, err
	}
	done := &Imported{Report: file.Report()}
	if i.Choices.File != "" {
		if records, err = i.attach(records, done); err != nil {
			return nil, err
		}
	}
	return done, store.WriteDataset(i.Out, records, store.DatasetManifest{
		Name: file.Name(), Source: done.Format, File: i.In, Version: i.Version,
	})
}

// read reads the records that can be used.
func (i Import) read(ctx context.Context, file *importer.File) ([]dataset.Record, error) {
	var records []dataset.Record
	for r, err := range file.Records() {
		var broken *dataset.RecordError
		switch {
		case errors.As(err, &broken):
			i.tell(broken.Error())
			continue
		case err != nil:
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("sets: importing %s: no record could be read: %w", i.In, ErrNothing)
	}
	return records, nil
}

// attach adds the questions with choices to the records and to the report.
func (i Import) attach(records []dataset.Record, done *Imported) ([]dataset.Record, error) {
	pool, report, err := importer.ReadChoices(i.Choices.File, importer.Options{Labels: i.Choices.Labels, Parquet: store.Objects})
	if err != nil {
		return nil, err
	}
	for _, f := range report.Errors {
		i.tell(f.Text)
	}
	records, err = importer.AttachChoices(records, pool, i.Choices.PerEdit, i.Choices.Seed)
	if err != nil {
		return nil, &ChoicesError{i.Choices, err}
	}
	done.Choices = report
	done.Probes[dataset.AxisOtherTasks] += len(records) * i.Choices.PerEdit
	return records, nil
}

func (i Import) tell(fault string) {
	if i.LeftOut != nil {
		i.LeftOut(fault)
	}
}

// openFile opens a file of the field, of the format it is of where none is named.
func openFile(path, format string, o importer.Options) (*importer.File, error) {
	o.Parquet = store.Objects
	if format == "" {
		var err error
		if format, err = importer.Detect(path, o); err != nil {
			return nil, err
		}
	}
	return importer.Open(format, path, o)
}

// Open opens a data set folder, or a file of the field as Import reads it; format
// and o are for files alone.
func Open(path, format string, o importer.Options) (dataset.Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("sets: opening a data set: %w", err)
	}
	if !info.IsDir() {
		file, err := openFile(path, format, o)
		if err != nil {
			return nil, err
		}
		return file, nil
	}
	records, m, err := store.ReadDataset(path)
	if err != nil {
		return nil, err
	}
	return dataset.List(m.Name, records), nil
}
