package ike

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"editpipe/ask"
	"editpipe/file"
	"editpipe/models"
)

// Kind names the wrap in saved patches.
const Kind = "ike.context"

// ErrNoText is the error of an answer to a question that was given as token
// ids: a context is text and can be put before text only.
var ErrNoText = errors.New("ike: question is given as token ids, a context goes before text only")

// Context is the wrap of IKE and ICE: text that goes before every question.
type Context struct {
	Edit  string   `json:"edit"`
	Fact  string   `json:"fact"`            // edit prompt and new object
	Demos []string `json:"demos,omitempty"` // in the order shown; the first go first where the model's context is short
	Own   string   `json:"own,omitempty"`   // the edit's own copy demonstration, shown last
}

// Kind is the name under which Decode is found.
func (c *Context) Kind() string { return Kind }

// text is what stands before a question with the given demonstrations.
func (c *Context) text(demos []string) string {
	return strings.Join(demos, "") + "New Fact: " + c.Fact + "\nPrompt: "
}

// Prefix is the whole text before a question, with every demonstration.
func (c *Context) Prefix() string { return c.text(append(slices.Clone(c.Demos), c.Own)) }

const contextFile = "context.json"

// Save writes the context as JSON into folder dir.
func (c *Context) Save(dir string) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("ike: saving context: %w", err)
	}
	if err := file.Write(filepath.Join(dir, contextFile), data); err != nil {
		return fmt.Errorf("ike: saving context: %w", err)
	}
	return nil
}

// Decode reads what Save wrote.
func Decode(dir string) (models.Wrap, error) {
	data, err := os.ReadFile(filepath.Join(dir, contextFile))
	if err != nil {
		return nil, fmt.Errorf("ike: loading context: %w", err)
	}
	var c Context
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("ike: loading context: %s: %w", filepath.Join(dir, contextFile), err)
	}
	if c.Fact == "" {
		return nil, fmt.Errorf("ike: loading context: %s: no fact in it", filepath.Join(dir, contextFile))
	}
	return &c, nil
}

// Around gives a scorer that puts the context before every question. With
// encoder-decoders the context is part of the encoder's text.
func (c *Context) Around(next models.Scorer) models.Scorer { return &scorer{c, next} }

// meter counts tokens, as models.LM does.
type meter interface {
	PromptTokens(prompt, target string) (int, error)
	Context() int
}

type scorer struct {
	c    *Context
	next models.Scorer
}

func (s *scorer) Score(ctx context.Context, rows []models.Row) ([]ask.Answer, error) {
	return s.each(rows, 0, func(rows []models.Row) ([]ask.Answer, error) { return s.next.Score(ctx, rows) })
}

func (s *scorer) Generate(ctx context.Context, rows []models.Row, o ask.Sampling) ([]ask.Answer, error) {
	return s.each(rows, o.MaxNew, func(rows []models.Row) ([]ask.Answer, error) { return s.next.Generate(ctx, rows, o) })
}

// each puts the context before every row that can take it and asks those.
func (s *scorer) each(rows []models.Row, reserve int, do func([]models.Row) ([]ask.Answer, error)) ([]ask.Answer, error) {
	answers := make([]ask.Answer, len(rows))
	var fit []models.Row
	var at []int
	for i, r := range rows {
		prompt, err := s.prompt(r.Query, reserve)
		if err != nil {
			answers[i].Err = err
			continue
		}
		r.Query.Prompt = prompt
		fit, at = append(fit, r), append(at, i)
	}
	if len(fit) == 0 {
		return answers, nil
	}
	got, err := do(fit)
	if err != nil {
		return nil, err
	}
	for j, a := range got {
		answers[at[j]] = a
	}
	return answers, nil
}

// prompt is the question with its context: without demonstrations of other
// records that contain the question, and without as many of the first ones as it
// takes to leave room for the question, its longest target and reserve tokens.
// The new fact always stays; where even that does not fit, the model says so.
func (s *scorer) prompt(q ask.Query, reserve int) (string, error) {
	if q.PromptIDs != nil {
		return "", ErrNoText
	}
	demos := make([]string, 0, len(s.c.Demos)+1)
	for _, d := range s.c.Demos {
		if q.Prompt == "" || !strings.Contains(d, q.Prompt) {
			demos = append(demos, d)
		}
	}
	if s.c.Own != "" { // it shows the edit prompt on purpose
		demos = append(demos, s.c.Own)
	}
	if len(demos) == 0 {
		return s.c.text(nil) + q.Prompt, nil
	}
	m, ok := s.next.(meter)
	if !ok {
		return "", fmt.Errorf("ike: %T counts no tokens, so the context cannot be fitted", s.next)
	}
	limit := m.Context()
	if limit <= 0 {
		return s.c.text(demos) + q.Prompt, nil
	}
	targets := q.Targets
	if len(targets) == 0 {
		targets = []string{""}
	}
	var fault error
	drop := sort.Search(len(demos), func(drop int) bool {
		for _, t := range targets {
			n, err := m.PromptTokens(s.c.text(demos[drop:])+q.Prompt, t)
			if err != nil {
				fault = err
				return true
			}
			if n+reserve > limit {
				return false
			}
		}
		return true
	})
	if fault != nil {
		return "", fmt.Errorf("ike: fitting the context: %w", fault)
	}
	return s.c.text(demos[drop:]) + q.Prompt, nil
}
