// Package none is the method that edits nothing: the unedited model in the
// place of an edited one. Its rows are the baseline every other method is read
// against, and a check of the evaluation itself: agreement with the unedited
// model must be 1 and the divergence 0.
package none

import (
	"context"
	"editpipe/models/arch"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
)

const name = "none"

// Method is the method "none".
func Method() edit.Method {
	return edit.Define(edit.Spec[struct{}]{
		Name: name, Title: "Unedited", Version: 1,
		Schedules: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Defaults:  func(*arch.Info) struct{} { return struct{}{} },
		New:       func(struct{}, edit.Inputs) (edit.Editor, error) { return editor{}, nil },
	})
}

type editor struct{}

// Edit returns what stood before, with the edits' names added.
func (editor) Edit(_ context.Context, on edit.Base, edits []dataset.Edit) (models.Patch, error) {
	if len(edits) == 0 {
		return models.Patch{}, edit.ErrNoEdits
	}
	p := on.Patch
	p.Method = name
	p.Edits = append([]string(nil), p.Edits...)
	for _, e := range edits {
		p.Edits = append(p.Edits, string(e.ID))
	}
	return p, nil
}
