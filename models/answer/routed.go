package answer

import (
	"context"
	"fmt"
	"slices"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/patch"
	"editpipe/models/run"
)

// reader is the model as a route sees it.
type reader struct {
	lm      *models.LM
	reserve int // tokens that are to be generated
}

func (r reader) PromptTokens(prompt, target string) (int, error) {
	return run.PromptTokens(r.lm, prompt, target)
}

func (r reader) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	return activation.Embed(ctx, r.lm, texts)
}

func (r reader) Context() int {
	if c := r.lm.Context(); c > 0 {
		return max(c-r.reserve, 1)
	}
	return 0
}

// route sends the questions of rows the ways of their patches' routes, the last
// route first. Faults are parallel to rows, of those that cannot be asked; reserve
// is the number of tokens that are to be generated behind each.
func route(ctx context.Context, lm *models.LM, rows []Row, reserve int) (routed []Row, faults []error, err error) {
	routed, faults = slices.Clone(rows), make([]error, len(rows))
	var patches []*patch.Patch
	members := map[*patch.Patch][]int{}
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
