// Package ike edits in context: it puts the new fact, and for IKE also
// demonstrations of how to treat new facts, before every prompt. The model's
// weights do not change.
//
// IKE: Zheng et al. 2023, "Can We Edit Factual Knowledge by In-Context
// Learning?", section 3.2. Each demonstration is one of
//
//	copy    New Fact: {fact}\nPrompt: {edit prompt} {new object}
//	update  New Fact: {fact}\nPrompt: {paraphrase} {new object}
//	retain  New Fact: {fact}\nPrompt: {neighbouring prompt} {its own answer}
//
// and the question follows as "New Fact: {edit prompt} {new object}\nPrompt:
// {question}". ICE is the same without demonstrations (Cohen et al. 2023,
// "Evaluating the Ripple Effects of Knowledge Editing in Language Models",
// section 5).
//
// The scope is oracle: an edit's own statement is put before every question of
// its record, related or not, as in the literature. With several edits in force
// a question would first have to find its edit, so batch and sequential are
// unsupported in this scope.
package ike

import (
	"context"
	"errors"
	"fmt"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models/patch"
)

// The modes of IKE.
const (
	// Paper follows the authors: K demonstrations from K records, copy, update
	// and retain as 1:3:4, the most similar last, then the edit's own copy
	// demonstration, so that the answer to the edit prompt is shown verbatim.
	Paper = "paper"
	// EasyEdit follows the port in EasyEdit: the K best-ranked of up to three
	// sentences per record in ranking order, no quota and no own demonstration.
	EasyEdit = "easyedit"
)

// Oracle is the scope in which an edit's own statement precedes every question.
const Oracle = "oracle"

// Demonstrations shown where Config.K is 0.
const (
	PaperK    = 32
	EasyEditK = 16
)

// Config is the configuration of IKE.
type Config struct {
	Mode  string `set:"mode" oneof:"paper|easyedit" doc:"how demonstrations are chosen and formatted"`
	K     int    `set:"k" doc:"number of demonstrations; 0: that of the mode (paper 32, easyedit 16)"`
	Scope string `set:"scope" oneof:"oracle" doc:"which statement precedes a question: oracle, that of the record's own edit"`
}

// Methods are "ike" and "ice".
func Methods() []edit.Method {
	decoders := map[string]patch.RouteDecoder{Kind: Decode}
	return []edit.Method{
		edit.Define(edit.Spec[Config]{
			Name: "ike", Title: "IKE", Version: 1,
			Paper:     "Zheng et al. 2023, Can We Edit Factual Knowledge by In-Context Learning?",
			Schedules: []edit.Kind{edit.Single},
			Base:      Config{Mode: Paper, Scope: Oracle},
			Validate: func(c Config) error {
				if c.K < 0 {
					return fmt.Errorf("ike.k=%d: want 0 or more", c.K)
				}
				return nil
			},
			Open:      openIKE,
			UsesShown: true, Decoders: decoders,
		}),
		edit.Define(edit.Spec[struct{}]{
			Name: "ice", Title: "ICE", Version: 1,
			Paper:     "Cohen et al. 2023, Evaluating the Ripple Effects of Knowledge Editing in Language Models",
			Schedules: []edit.Kind{edit.Single},
			Open:      func(context.Context, struct{}, edit.Env) (edit.Editor, error) { return &editor{method: "ice"}, nil },
			Decoders:  decoders,
		}),
	}
}

// openIKE reads the records that demonstrations are drawn from.
func openIKE(_ context.Context, c Config, in edit.Env) (edit.Editor, error) {
	if c.K == 0 {
		c.K = map[string]int{Paper: PaperK, EasyEdit: EasyEditK}[c.Mode]
	}
	pool, err := readPool(in.Shown)
	if err != nil {
		return nil, err
	}
	return &editor{method: "ike", mode: c.Mode, k: c.K, pool: pool, seed: in.Seed}, nil
}

// editor makes contexts; k is 0 for ICE.
type editor struct {
	method, mode string
	k            int
	pool         []source
	seed         int64
}

// Make gives every edit a patch with one route that holds its context.
func (ed *editor) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	for i, edits := range groups {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		made[i].Patch, made[i].Err = ed.alone(on, edits[0])
	}
	return made, nil
}

func (ed *editor) alone(on *patch.Patch, e dataset.Edit) (*patch.Patch, error) {
	if len(on.Edits) > 0 {
		return nil, fmt.Errorf("%w: several edits in force together, as scope %s cannot tell which one a question is about", edit.ErrUnsupported, Oracle)
	}
	c := &Context{Edit: string(e.ID), Fact: fact(e)}
	if ed.k > 0 {
		if c.Demos = ed.demonstrations(e); len(c.Demos) == 0 {
			return nil, errors.New("no demonstrations are left once those that tell of the edit are taken out: give a larger data set, or use method ice, which needs none")
		}
		if ed.mode == Paper {
			c.Own = demo(fact(e), e.Prompt, e.Target)
		}
	}
	return on.Then(&patch.Patch{Method: ed.method, Edits: []string{string(e.ID)}, Routes: []patch.Route{c}}), nil
}
