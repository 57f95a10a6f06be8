// Package none is the method that edits nothing: the unedited model in place of
// an edited one. Its rows are the baseline with which every other method is
// compared, and a check of the evaluation itself: agreement with the unedited
// model must be 1 and the divergence 0.
package none

import (
	"context"
	"slices"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models/patch"
)

const name = "none"

// Method is the method "none".
func Method() edit.Method {
	return edit.Define(edit.Spec[struct{}]{
		Name: name, Title: "Unedited", Version: 1,
		Schedules: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Open:      func(context.Context, struct{}, edit.Env) (edit.Editor, error) { return editor{}, nil },
	})
}

type editor struct{}

// Make returns what stood before, with the edits' names added.
func (editor) Make(_ context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	for i, edits := range groups {
		p := *on
		p.Method = name
		p.Edits = slices.Clone(p.Edits)
		for _, e := range edits {
			p.Edits = append(p.Edits, string(e.ID))
		}
		made[i].Patch = &p
	}
	return made, nil
}
