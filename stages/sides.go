package stages

import (
	"context"
	"fmt"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/patch"
)

// Sides is one prompt asked of the unedited and of the edited model.
type Sides struct {
	Prompt       string   `json:"prompt"`
	Target       string   `json:"target,omitempty"`
	LogPBefore   *float64 `json:"logp_before,omitempty"` // sum over the target's tokens, nats
	LogPAfter    *float64 `json:"logp_after,omitempty"`
	AnswerBefore string   `json:"answer_before"`
	AnswerAfter  string   `json:"answer_after"`
}

// AskSides asks an edit's own prompt, with its target's log-probability, and
// further prompts, with and without the patch. An answer is at most maxNew tokens
// of the first line. The error names the prompt that could not be asked.
func AskSides(ctx context.Context, lm *models.LM, with *patch.Patch, e dataset.Edit, further []string, maxNew int) ([]Sides, error) {
	prompts := append([]string{e.Prompt}, further...)
	var rows []answer.Row
	for _, p := range prompts {
		q := ask.Query{Prompt: p}
		rows = append(rows, answer.Row{Query: q}, answer.Row{Query: q, Patch: with})
	}
	texts, err := answer.Generate(ctx, lm, rows, ask.Sampling{MaxNew: maxNew, Stop: stopTexts()})
	if err != nil {
		return nil, err
	}
	q := ask.Query{Prompt: e.Prompt, Targets: []string{e.Target}}
	scores, err := answer.Score(ctx, lm, []answer.Row{{Query: q}, {Query: q, Patch: with}})
	if err != nil {
		return nil, err
	}
	out := make([]Sides, len(prompts))
	for i, p := range prompts {
		before, after := texts[2*i], texts[2*i+1]
		for _, a := range []ask.Answer{before, after} {
			if a.Err != nil {
				return nil, fmt.Errorf("stages: asking %q: %w", p, a.Err)
			}
		}
		out[i] = Sides{Prompt: p, AnswerBefore: before.Text, AnswerAfter: after.Text}
	}
	var sums [2]float64
	for i, a := range scores {
		if a.Err != nil {
			return nil, fmt.Errorf("stages: scoring %q after %q: %w", e.Target, e.Prompt, a.Err)
		}
		for _, p := range a.Targets[0].LogProbs {
			sums[i] += p
		}
	}
	out[0].Target, out[0].LogPBefore, out[0].LogPAfter = e.Target, &sums[0], &sums[1]
	return out, nil
}
