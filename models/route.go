package models

import (
	"context"
	"fmt"
	"slices"

	"editpipe/ask"
)

// Route is the part of a patch that puts other questions in the place of those
// that are asked, such as the same ones behind a text.
type Route interface {
	// Route says where each question goes; ways are parallel to questions. It is
	// asked once with all the questions of its patch and is pure: the same
	// questions in any grouping go the same ways. An error is that of all
	// questions and ends the call; one of a single question is its Way's.
	Route(ctx context.Context, m Reader, questions []ask.Query) ([]Way, error)
	// Kind names the decoder that LoadPatch needs to read it back.
	Kind() string
	// Save writes what Route needs into a folder.
	Save(dir string) error
}

// Way is where a question goes.
type Way struct {
	Query ask.Query // what is asked instead
	Model string    // of whom: "" the model itself, else a companion of the patch
	Skip  bool      // out of scope: asked as it came in, as if there were no patch
	Err   error     // why it cannot be asked; the answer's error
}

// Reader is what a route may ask of the model, which it leaves as it is.
type Reader interface {
	// PromptTokens is the number of tokens of a prompt with a target behind it.
	PromptTokens(prompt, target string) (int, error)
	// Context is the most tokens that a prompt and its longest target may have,
	// less those that are to be generated; 0 when unbounded.
	Context() int
	// Embed gives texts as vectors of one length, see LM.Embed.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}

// reader is the model as a route sees it.
type reader struct {
	*LM
	reserve int // tokens that are to be generated
}

func (r reader) Context() int {
	if c := r.LM.Context(); c > 0 {
		return max(c-r.reserve, 1)
	}
	return 0
}

// route sends the questions of rows the ways of their patches' routes, the last
// route first. Faults are parallel to rows, of those that cannot be asked; reserve
// is the number of tokens that are to be generated behind each.
func (lm *LM) route(ctx context.Context, rows []Row, reserve int) (routed []Row, faults []error, err error) {
	routed, faults = slices.Clone(rows), make([]error, len(rows))
	var patches []*Patch
	members := map[*Patch][]int{}
	for i, r := range rows {
		if r.Patch == nil || len(r.Patch.Routes) == 0 {
			continue
		}
		if members[r.Patch] == nil {
			patches = append(patches, r.Patch)
		}
		members[r.Patch] = append(members[r.Patch], i)
	}
	for _, p := range patches {
		left := members[p]
		for _, r := range slices.Backward(p.Routes) {
			if len(left) == 0 {
				break
			}
			questions := make([]ask.Query, len(left))
			for k, i := range left {
				questions[k] = routed[i].Query
			}
			ways, err := r.Route(ctx, reader{lm, reserve}, questions)
			if err == nil && len(ways) != len(questions) {
				err = fmt.Errorf("%d ways for %d questions", len(ways), len(questions))
			}
			if err != nil {
				return nil, nil, fmt.Errorf("models: asking through route %s: %w", r.Kind(), err)
			}
			var on []int // to the next route
			for k, i := range left {
				switch w := ways[k]; {
				case w.Err != nil:
					faults[i] = w.Err
				case w.Skip:
					routed[i].Query, routed[i].Patch = rows[i].Query, nil
				case w.Model != "":
					faults[i] = fmt.Errorf("models: route %s sends the question to the model %q, and the patch has no such companion", r.Kind(), w.Model)
				default:
					routed[i].Query = w.Query
					on = append(on, i)
				}
			}
			left = on
		}
	}
	return routed, faults, nil
}
