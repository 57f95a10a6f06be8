package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/demo"
	"editpipe/edit"
	"editpipe/models"
)

// shownTokens is how much of a continuation is worth a line on a terminal.
const shownTokens = 12

func editCommand() *cli.Command {
	return &cli.Command{
		Name:  "edit",
		Usage: "make one edit and show the model before and after, side by side",
		Description: "Without --prompt, a fact of the embedded demo model is edited.\n\n" +
			"Example: editpipe edit --method ice --subject France --prompt \"The capital of France is\" --target Lyon \\\n" +
			"           --ask \"Paris is the capital of\"",
		Flags: append(runtimeFlags(),
			&cli.StringFlag{Name: "method", Usage: "`ID` of the method (editpipe list methods)", Value: "ice", EnvVars: env("method")},
			&cli.StringFlag{Name: "prompt", Usage: "text the target shall follow", EnvVars: env("prompt")},
			&cli.StringFlag{Name: "subject", Usage: "subject, as it stands in the prompt; methods that locate facts need it", EnvVars: env("subject")},
			&cli.StringFlag{Name: "target", Usage: "new object", EnvVars: env("target")},
			&cli.StringSliceFlag{Name: "ask", Usage: "further `PROMPT` to ask before and after, repeatable", EnvVars: env("ask")},
			&cli.StringFlag{Name: "data", Usage: "data set `DIR` a method may draw demonstrations from (default with the embedded model: its data)", EnvVars: env("data")},
			&cli.StringFlag{Name: "artifacts", Usage: "`DIR` that prepare wrote", EnvVars: env("artifacts")},
			&cli.StringFlag{Name: "save", Usage: "write the patch to `FILE` (safetensors, with JSON beside it)", EnvVars: env("save")},
			&cli.Int64Flag{Name: "seed", Usage: "seed of the method's random choices", Value: 1, EnvVars: env("seed")},
			setFlag(), jsonFlag(),
		),
		Action: runEdit,
	}
}

// request reads the edit off the flags.
func request(c *cli.Context) (dataset.Edit, error) {
	// White space around a text is no part of it, as import has it.
	e := dataset.Edit{ID: "edit", Set: "command line", Source: "custom", Mode: dataset.Counterfactual,
		Prompt: strings.TrimSpace(c.String("prompt")), Subject: strings.TrimSpace(c.String("subject")), Target: strings.TrimSpace(c.String("target"))}
	if e.Prompt == "" && e.Subject == "" && e.Target == "" && c.String("model") == "" {
		e.Prompt, e.Subject, e.Target, e.GroundTruth = demo.FactPrompt, demo.FactSubject, demo.FactOther, demo.FactAnswer
	}
	for _, f := range []struct{ name, value string }{{"prompt", e.Prompt}, {"target", e.Target}} {
		if f.value == "" {
			return e, usagef("--%s is needed", f.name)
		}
	}
	m := dataset.FindName(e.Prompt, e.Subject)
	if e.Subject != "" && !m.Found() {
		return e, usagef("--subject %q does not stand in --prompt %q", e.Subject, e.Prompt)
	}
	e.SubjectStart, e.SubjectEnd = m.Start, m.End
	return e, nil
}

func runEdit(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	e, err := request(c)
	if err != nil {
		return err
	}
	method, err := methodNamed(c.String("method"))
	if err != nil {
		return err
	}
	keys, err := overrides(c, []edit.Method{method})
	if err != nil {
		return err
	}
	save := c.String("save")
	if save != "" {
		for _, path := range []string{save, models.Sidecar(save)} {
			if err := writableFile("save", path); err != nil {
				return err
			}
		}
	}
	train, err := trainSource(c)
	if err != nil {
		return err
	}
	return withTexts(c, func(ctx context.Context, m opened) error {
		lm := m.LM
		config, err := configure(method, lm.Info(), keys[method.Name])
		if err != nil {
			return err
		}
		if err := method.Supports(edit.Schedule{Kind: edit.Single}, lm.Info()); err != nil {
			return err
		}
		if err := method.Lacks(config, lm.Info()); err != nil {
			return err
		}
		in := edit.Env{LM: lm, Shown: train, Seed: c.Int64("seed")}
		if dir := c.String("artifacts"); dir != "" {
			in.Artifacts = filepath.Join(dir, method.Name)
		}
		editor, err := method.Open(ctx, config, in)
		if err != nil {
			return prepareFirst(c, err)
		}
		made, err := editor.Make(ctx, nil, [][]dataset.Edit{{e}})
		if err != nil {
			return err
		}
		if made[0].Err != nil {
			return made[0].Err
		}
		patch := made[0].Patch
		shown, err := compare(ctx, lm, patch, e, c.StringSlice("ask"))
		if err != nil {
			return err
		}
		if save != "" {
			meta := models.PatchMeta{Model: lm.Name(), ModelHash: lm.Hash(), TokenizerHash: lm.TokenizerHash(),
				Config: config.Map(), Prompts: []string{e.Prompt + " " + e.Target}}
			if err := patch.Save(save, meta); err != nil {
				return err
			}
			fmt.Fprintf(c.App.ErrWriter, "patch written to %s\n", save)
		}
		if c.Bool("json") {
			return writeJSON(c.App.Writer, shown)
		}
		return writeComparison(c.App.Writer, method.Name, shown)
	})
}

// trainSource is the data a method may draw demonstrations from; nil if none.
func trainSource(c *cli.Context) (dataset.Source, error) {
	if c.String("data") == "" && c.String("model") != "" {
		return nil, nil
	}
	data, err := openData(c)
	if err != nil {
		return nil, err
	}
	return dataset.List(data.Name, data.Records), nil
}

// comparison is one prompt asked of the unedited and of the edited model.
type comparison struct {
	Prompt       string   `json:"prompt"`
	Target       string   `json:"target,omitempty"`
	LogPBefore   *float64 `json:"logp_before,omitempty"` // sum over the target's tokens, nats
	LogPAfter    *float64 `json:"logp_after,omitempty"`
	AnswerBefore string   `json:"answer_before"`
	AnswerAfter  string   `json:"answer_after"`
}

// compare asks the edit's own prompt, with its target's log-probability, and
// the further prompts, with and without the patch.
func compare(ctx context.Context, lm *models.LM, patch *models.Patch, e dataset.Edit, further []string) ([]comparison, error) {
	prompts := append([]string{e.Prompt}, further...)
	var rows []models.Row
	for _, p := range prompts {
		q := ask.Query{Prompt: p}
		rows = append(rows, models.Row{Query: q}, models.Row{Query: q, Patch: patch})
	}
	texts, err := lm.Generate(ctx, rows, ask.Sampling{MaxNew: shownTokens, Stop: []string{"\n"}})
	if err != nil {
		return nil, err
	}
	q := ask.Query{Prompt: e.Prompt, Targets: []string{e.Target}}
	scores, err := lm.Score(ctx, []models.Row{{Query: q}, {Query: q, Patch: patch}})
	if err != nil {
		return nil, err
	}
	out := make([]comparison, len(prompts))
	for i, p := range prompts {
		before, after := texts[2*i], texts[2*i+1]
		for _, a := range []ask.Answer{before, after} {
			if a.Err != nil {
				return nil, fmt.Errorf("asking %q: %w", p, a.Err)
			}
		}
		out[i] = comparison{Prompt: p, AnswerBefore: before.Text, AnswerAfter: after.Text}
	}
	for _, a := range scores {
		if a.Err != nil {
			return nil, fmt.Errorf("scoring %q after %q: %w", e.Target, e.Prompt, a.Err)
		}
	}
	before, after := sum(scores[0].Targets[0].LogProbs), sum(scores[1].Targets[0].LogProbs)
	out[0].Target, out[0].LogPBefore, out[0].LogPAfter = e.Target, &before, &after
	return out, nil
}

func sum(values []float64) float64 {
	s := 0.0
	for _, v := range values {
		s += v
	}
	return s
}

func writeComparison(w io.Writer, method string, shown []comparison) error {
	first := shown[0]
	fmt.Fprintf(w, "edit (%s): %s -> %s\n", method, first.Prompt, first.Target)
	fmt.Fprintf(w, "log-probability of the target: %.3f before, %.3f after\n\n", *first.LogPBefore, *first.LogPAfter)
	t := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	fmt.Fprintln(t, "prompt\tbefore\tafter")
	for _, s := range shown {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Prompt, strings.TrimSpace(s.AnswerBefore), strings.TrimSpace(s.AnswerAfter))
	}
	return t.Flush()
}
