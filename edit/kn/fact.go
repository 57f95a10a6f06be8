package kn

import (
	"context"
	"slices"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit/locate"
	"editpipe/models/answer"
	"editpipe/models/patch"
	"editpipe/models/run"
)

// fact is an edit as token ids.
type fact struct {
	prompts [][]int64 // that state it, template included; the edit's own first
	gold    []int64   // the old object; nil where the edit does not know it
	target  []int64   // the new object
	// greedy is what the model goes on with behind the first prompt, as many
	// tokens as are needed.
	greedy []int64
}

// newFact tokenises an edit.
func (ed *editor) newFact(e dataset.Edit) (*fact, error) {
	if err := locate.NeedSubject(e); err != nil { // its prompts are said of a subject
		return nil, err
	}
	f := &fact{}
	texts := []string{e.Prompt}
	if ed.c.refines() {
		for _, text := range append([]string{e.PromptCloze, e.PromptQuestion}, ed.relation(e).fill(e.Subject)...) {
			if text != "" && !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
		}
	}
	for _, text := range texts {
		ids, _, err := run.Prompt(ed.lm, text)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return nil, ask.ErrNoPrompt
		}
		f.prompts = append(f.prompts, ids)
	}
	var err error
	if f.target, err = locate.Object(ed.lm, e.Prompt, e.Target, !ed.c.addsSpace()); err != nil {
		return nil, err
	}
	if e.GroundTruth != "" {
		f.gold, err = locate.Object(ed.lm, e.Prompt, e.GroundTruth, !ed.c.addsSpace())
	}
	return f, err
}

// relation is what was prepared of an edit's relation, nil if nothing was.
func (ed *editor) relation(e dataset.Edit) *relation { return ed.relations[e.RelationID] }

// predict lets the model go on with the prompts, token by token, and takes its
// answer for the old object where that is not known.
func (ed *editor) predict(ctx context.Context, on *patch.Patch, facts []*fact, errs []error) error {
	for step := 0; ; step++ {
		var asking []int
		var questions []answer.Row
		for i, f := range facts {
			if errs[i] != nil || step >= ed.foresight(f) {
				continue
			}
			asking = append(asking, i)
			questions = append(questions, answer.Row{Patch: on, Query: ask.Query{
				PromptIDs: slices.Concat(f.prompts[0], f.greedy), TargetIDs: [][]int64{{f.target[0]}},
			}})
		}
		if len(asking) == 0 {
			break
		}
		answers, err := answer.Score(ctx, ed.lm, questions)
		if err != nil {
			return err
		}
		for k, i := range asking {
			if errs[i] = answers[k].Err; errs[i] == nil {
				facts[i].greedy = append(facts[i].greedy, answers[k].Targets[0].Argmax[0])
			}
		}
	}
	for i, f := range facts {
		if errs[i] == nil && f.gold == nil {
			f.gold = f.greedy[:len(f.target)]
		}
	}
	return nil
}

// foresight is how many tokens of the model's own answer are needed.
func (ed *editor) foresight(f *fact) int {
	switch {
	case f.gold == nil || ed.c.Variant == EasyEdit:
		return len(f.target)
	case ed.c.Variant == Port:
		return 1
	}
	return 0
}
