// Package edit defines what a method of knowledge editing is.
//
// A method turns requested changes (dataset.Edit) into a models.Patch. The
// patch is a value: an editor reads the model it is given and never changes
// it, so that rolling back is leaving the patch out, and asking before and
// after is asking the same model twice.
//
// Each method lives in a folder of its own below this one and exports a
// function Method or Methods built with Define; edit/all lists them.
package edit

import (
	"context"
	"fmt"
	"iter"

	"editpipe/dataset"
	"editpipe/models"
)

// Base is what stands before an edit: a model and the patch already in force.
type Base struct {
	LM    *models.LM
	Patch models.Patch // the zero Patch for the unedited model
}

// Editor makes edits.
//
// Edit returns the patch that stands after edits are made together on top of
// on: the new whole patch, which includes what on.Patch held. It must not
// change on.LM or the tensors of on.Patch. The same arguments give the same
// patch. It returns ErrUnsupported (wrapped) where the method does not define
// what is asked, and ErrNoEdits for an empty list.
type Editor interface {
	Edit(ctx context.Context, on Base, edits []dataset.Edit) (models.Patch, error)
}

// Many is implemented by editors that can make independent edits side by side.
//
// EditEach makes every edit alone on top of on. Both slices it returns have one
// entry per edit; where the error is set the patch is meaningless. An edit's
// patch does not depend on its neighbours in the list.
type Many interface {
	EditEach(ctx context.Context, on Base, edits []dataset.Edit) ([]models.Patch, []error)
}

// Inputs is what an editor may draw on besides its configuration.
type Inputs struct {
	Artifacts string         // folder Prepare wrote for this method; may not exist
	Train     dataset.Source // records that are not under test, to learn from; nil where there are none
	// Shown holds records whose text may be put before the model as it is: the
	// data set's training split or, where it has none, all its records. A method
	// leaves out what tells of the edit in hand, and learns nothing from them.
	Shown dataset.Source
	Seed  int64 // of the run
}

// PrepareInput is what a method may learn from before it edits. None of it is
// under test.
type PrepareInput struct {
	Train, Val dataset.Source
	Texts      iter.Seq2[string, error] // running text, for statistics; nil where there is none
	Seed       int64
	Progress   func(done, want int64) // told of the tokens read, if not nil
}

// EachOf makes every edit alone on top of on: through EditEach where ed
// implements Many, one by one otherwise. It returns one patch and one error per
// edit, the latter as *Error. After ctx ends the remaining edits fail with its
// error.
func EachOf(ctx context.Context, method string, ed Editor, on Base, edits []dataset.Edit) ([]models.Patch, []error) {
	patches, errs := make([]models.Patch, len(edits)), make([]error, len(edits))
	if many, ok := ed.(Many); ok {
		patches, errs = many.EditEach(ctx, on, edits)
	} else {
		for i := range edits {
			if errs[i] = ctx.Err(); errs[i] == nil {
				patches[i], errs[i] = ed.Edit(ctx, on, edits[i:i+1])
			}
		}
	}
	for i, err := range errs {
		errs[i] = Wrap(method, edits[i].ID, err)
	}
	return patches, errs
}

// OneOf is Edit of an editor that makes one edit at a time: it makes that one
// through EditEach. Several are ErrUnsupported.
func OneOf(ctx context.Context, method string, ed Many, on Base, edits []dataset.Edit) (models.Patch, error) {
	switch len(edits) {
	case 0:
		return models.Patch{}, ErrNoEdits
	case 1:
		patches, errs := ed.EditEach(ctx, on, edits)
		return patches[0], Wrap(method, edits[0].ID, errs[0])
	}
	return models.Patch{}, Wrap(method, "", fmt.Errorf("%w: several edits at once; make them one after another", ErrUnsupported))
}

// Each is EditEach by way of fill, which sets the patches and errors of
// single edits and returns what keeps all of them from being made.
func Each(edits []dataset.Edit, fill func(patches []models.Patch, errs []error) error) ([]models.Patch, []error) {
	patches, errs := make([]models.Patch, len(edits)), make([]error, len(edits))
	if len(edits) == 0 {
		return patches, errs
	}
	if err := fill(patches, errs); err != nil {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = Refused(err)
			}
		}
	}
	return patches, errs
}
