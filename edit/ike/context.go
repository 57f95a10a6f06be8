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
	"editpipe/models/patch"
)

// Kind names the route in saved patches.
const Kind = "ike.context"

// ErrNoText is the error of an answer to a question that was given as token
// ids: a context is text and can be put before text only.
var ErrNoText = errors.New("ike: question is given as token ids, a context goes before text only")

// Context is the route of IKE and ICE: text that goes before every question.
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
func Decode(dir string) (patch.Route, error) {
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

// Route puts the context before every question. With encoder-decoders the
// context is part of the encoder's text.
func (c *Context) Route(_ context.Context, m patch.Reader, questions []ask.Query) ([]patch.Way, error) {
	ways := make([]patch.Way, len(questions))
	for i, q := range questions {
		ways[i].Query = q
		ways[i].Query.Prompt, ways[i].Err = c.prompt(m, q)
	}
	return ways, nil
}

// prompt is the question with its context: without demonstrations of other
// records that contain the question, and without as many of the first ones as it
// takes to leave room for the question and its longest target.
// The new fact always stays; where even that does not fit, the model says so.
func (c *Context) prompt(m patch.Reader, q ask.Query) (string, error) {
	if q.PromptIDs != nil {
		return "", ErrNoText
	}
	demos := make([]string, 0, len(c.Demos)+1)
	for _, d := range c.Demos {
		if q.Prompt == "" || !strings.Contains(d, q.Prompt) {
			demos = append(demos, d)
		}
	}
	if c.Own != "" { // it shows the edit prompt on purpose
		demos = append(demos, c.Own)
	}
	if len(demos) == 0 {
		return c.text(nil) + q.Prompt, nil
	}
	limit := m.Context()
	if limit <= 0 {
		return c.text(demos) + q.Prompt, nil
	}
	targets := q.Targets
	if len(targets) == 0 {
		targets = []string{""}
	}
	var fault error
	drop := sort.Search(len(demos), func(drop int) bool {
		for _, t := range targets {
			n, err := m.PromptTokens(c.text(demos[drop:])+q.Prompt, t)
			if err != nil {
				fault = err
				return true
			}
			if n > limit {
				return false
			}
		}
		return true
	})
	if fault != nil {
		return "", fmt.Errorf("ike: fitting the context: %w", fault)
	}
	return c.text(demos[drop:]) + q.Prompt, nil
}
