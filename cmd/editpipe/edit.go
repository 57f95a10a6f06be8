package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"editpipe/dataset"
	"editpipe/demo"
	"editpipe/edit"
	"editpipe/models/patch"
	"editpipe/stages"
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
			&cli.StringFlag{Name: "prompt", Usage: "text that the target should follow", EnvVars: env("prompt")},
			&cli.StringFlag{Name: "subject", Usage: "subject, as written in the prompt; methods that locate facts need it", EnvVars: env("subject")},
			&cli.StringFlag{Name: "target", Usage: "new object", EnvVars: env("target")},
			&cli.StringSliceFlag{Name: "ask", Usage: "further `PROMPT` to ask before and after the edit, repeatable", EnvVars: env("ask")},
			&cli.StringFlag{Name: "data", Usage: "data set `DIR` that a method may take demonstrations from (default with the embedded model: its data)", EnvVars: env("data")},
			&cli.StringFlag{Name: "artifacts", Usage: "`DIR` that prepare wrote", EnvVars: env("artifacts")},
			&cli.StringFlag{Name: "save", Usage: "write the patch to `FILE` (safetensors, and a JSON file next to it)", EnvVars: env("save")},
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
	method, keys, err := oneMethod(c)
	if err != nil {
		return err
	}
	save := c.String("save")
	if err := writablePatch(save); err != nil {
		return err
	}
	train, err := trainSource(c)
	if err != nil {
		return err
	}
	return withTexts(c, func(ctx context.Context, m opened) error {
		lm := m.LM
		config, err := configure(method, lm.Info(), keys)
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
		p := made[0].Patch
		shown, err := stages.AskSides(ctx, lm, p, e, c.StringSlice("ask"), shownTokens)
		if err != nil {
			return err
		}
		if save != "" {
			meta := patch.Meta{Model: lm.Name(), ModelHash: lm.Hash(), TokenizerHash: lm.TokenizerHash(),
				Config: config.Map(), Prompts: []string{e.Prompt + " " + e.Target}}
			if err := p.Save(save, meta); err != nil {
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

// writablePatch tries the files of a patch that is to be saved; an empty path is
// none.
func writablePatch(path string) error {
	if path == "" {
		return nil
	}
	if err := writableFile("save", path); err != nil {
		return err
	}
	return writableFile("save", patch.Sidecar(path))
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

func writeComparison(w io.Writer, method string, shown []stages.Sides) error {
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
