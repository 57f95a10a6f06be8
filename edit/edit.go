// Package edit defines a method of knowledge editing.
//
// A method turns requested changes (dataset.Edit) into a patch.Patch. The patch
// is a value: an editor reads the model it is given and never changes it. To
// roll back an edit, the patch is left out; the model before and after an edit
// is the same model, asked without and with the patch.
//
// Each method has a folder of its own below this one and exports a function
// Method or Methods built with Define; edit/all lists them.
package edit

import (
	"context"
	"fmt"
	"iter"

	"editpipe/dataset"
	"editpipe/models"
	"editpipe/models/patch"
)

// Env is what an editor works with for as long as it lives: one model, and what
// it may draw on besides its configuration.
type Env struct {
	LM        *models.LM
	Artifacts string         // folder Prepare wrote for this method; may not exist
	Train     dataset.Source // records that are not under test, to learn from; nil where there are none
	// Shown holds records whose text may be put before the model as it is: the
	// data set's training split or, where it has none, all its records. A method
	// leaves out what tells of the edit in hand, and learns nothing from them.
	Shown dataset.Source
	Seed  int64 // of the run
}

// Editor makes edits of the model it was opened with.
//
// Make makes groups of edits on top of a patch, nil for the unedited model: the
// edits of a group together, the groups apart from each other, side by side where
// the method can. Single edits are groups of one and a batch is one group; in a
// sequence every group stands on the patch of the one before.
//
// It returns one Made for each group, in their order. What becomes of a group
// does not depend on its neighbours, and the same arguments give the same. Neither
// the model nor the patch or its tensors are changed. The error is the context's,
// once that has ended; every other fault is a group's.
type Editor interface {
	Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]Made, error)
}

// Made is what became of a group of edits.
type Made struct {
	// Patch is all that stands after the edits: what stood before and their own
	// changes. It is nil where Err is set.
	Patch   *patch.Patch
	Efforts []Effort // of the group's edits, in order; nil for methods that do not search
	// Err says why the group was not made. It is an *Error; where that names one
	// edit of several, the others may be made without it. It wraps ErrUnsupported
	// where the method does not define what is asked, and is ErrNoEdits for a group
	// of none.
	Err error
}

// Effort is what an optimising method spent on an edit.
type Effort struct {
	Steps     int32
	FinalLoss float32 // nats
}

// Apart makes every edit a group of its own.
func Apart(edits []dataset.Edit) [][]dataset.Edit {
	groups := make([][]dataset.Edit, len(edits))
	for i := range edits {
		groups[i] = edits[i : i+1]
	}
	return groups
}

// PrepareEnv is what a method may learn from before it edits. None of it is
// under test.
type PrepareEnv struct {
	LM         *models.LM
	Train, Val dataset.Source
	Texts      iter.Seq2[string, error] // running text, for statistics; nil where there is none
	Seed       int64
	Progress   func(done, want int64) // told of the tokens read, if not nil
}

// checked is an editor as callers have it: what all methods have in common is
// done here, so that an editor of a method has to do with sound groups only.
type checked struct {
	Editor
	method   string
	together bool // several edits can be made at once
}

// Make implements Editor for callers.
func (c *checked) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]Made, error) {
	made := make([]Made, len(groups))
	var sound [][]dataset.Edit
	var place []int // of the sound groups
	for i, g := range groups {
		switch {
		case len(g) == 0:
			made[i].Err = ErrNoEdits
		case len(g) > 1 && !c.together:
			made[i].Err = Wrap(c.method, "", fmt.Errorf("%w: several edits at once; make them one after another", ErrUnsupported))
		default:
			sound, place = append(sound, g), append(place, i)
		}
	}
	if err := ctx.Err(); err != nil || len(sound) == 0 {
		return made, err
	}
	if on == nil {
		on = &patch.Patch{}
	}
	got, err := c.Editor.Make(ctx, on, sound)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for k, i := range place {
		if k < len(got) {
			made[i] = got[k]
		}
		m := &made[i]
		if m.Err == nil && m.Patch == nil {
			m.Err = err // it kept all from being made that have no fault of their own
		}
		if m.Err != nil {
			id := dataset.EditID("")
			if len(groups[i]) == 1 {
				id = groups[i][0].ID
			}
			*m = Made{Err: Wrap(c.method, id, Refused(m.Err))}
		}
	}
	return made, nil
}
