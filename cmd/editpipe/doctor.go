package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"editpipe/ask"
	"editpipe/demo"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/ort"
)

// finding is one line of the doctor's report.
type finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Note string `json:"note"`
}

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "check the runtime library, which providers load, the tokenizer, the model and the disk",
		Description: "Exit code 1 if something that every command needs is missing. A provider that does not load is not an error by itself.\n\n" +
			"Example: editpipe doctor",
		Flags: []cli.Flag{
			jsonFlag(),
			libraryFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			findings, err := examine(c)
			if c.Bool("json") {
				err = errors.Join(err, writeJSON(c.App.Writer, findings))
			} else {
				t := tabwriter.NewWriter(c.App.Writer, 0, 4, 2, ' ', 0)
				for _, f := range findings {
					mark := "ok"
					if !f.OK {
						mark = "--"
					}
					fmt.Fprintf(t, "%s\t%s\t%s\n", mark, f.What, f.Note)
				}
				err = errors.Join(err, t.Flush())
			}
			return err
		},
	}
}

// examine collects findings; the error is what stops every command.
func examine(c *cli.Context) ([]finding, error) {
	out := []finding{{"editpipe", true, fmt.Sprintf("%s, %s/%s, %d processors", version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}}
	cache, err := ort.CacheRoot()
	if err != nil {
		return append(out, finding{"cache", false, err.Error()}), err
	}
	out = append(out, disk("cache", cache))
	lib, err := findLibrary(c)
	if err != nil {
		return append(out, finding{"runtime library", false, err.Error()}), err
	}
	release := lib.Release
	if release == "" {
		release = "a build editpipe does not know by its hash"
	}
	out = append(out, finding{"runtime library", true, fmt.Sprintf("%s (found by %s; %s)", lib.Path, lib.Source, release)})
	e, err := ort.Open(c.Context, lib)
	if err != nil {
		return append(out, finding{"runtime", false, err.Error()}), err
	}
	out = append(out, finding{"runtime", true, "ONNX Runtime " + e.Version() + ", its telemetry off"})
	for _, p := range ort.KnownProviders() {
		f := finding{"provider " + p.Name, true, "loads"}
		if err := e.Probe(c.Context, ort.Provider{Name: p.Name}); err != nil {
			f.OK, f.Note = false, brief(err)
		}
		out = append(out, f)
	}
	f, modelErr := demoAnswers(c.Context, e, cache)
	return append(out, f), errors.Join(modelErr, e.Close())
}

// brief leaves out the runtime's own words where the missing file and what to
// do about it are known.
func brief(err error) string {
	var p *ort.ProviderError
	if !errors.As(err, &p) || p.Hint == "" {
		return err.Error()
	}
	if p.Missing != "" {
		return p.Missing + " is missing; " + p.Hint
	}
	return p.Hint
}

// demoAnswers asks the embedded model one thing it knows: tokenizer, graph and
// runtime have to work together for it.
func demoAnswers(ctx context.Context, e *ort.Env, cache string) (finding, error) {
	f := finding{What: "embedded model"}
	err := func() error {
		dir, err := demo.Extract(cache)
		if err != nil {
			return err
		}
		lm, err := models.Open(ctx, e, dir, models.Options{Name: demo.Name})
		if err != nil {
			return err
		}
		defer lm.Close()
		q := ask.Query{Prompt: demo.FactPrompt, Targets: []string{demo.FactAnswer}}
		answers, err := answer.Score(ctx, lm, []answer.Row{{Query: q}})
		if err != nil {
			return err
		}
		if err := answers[0].Err; err != nil {
			return err
		}
		for i, id := range answers[0].Targets[0].IDs {
			if answers[0].Targets[0].Argmax[i] != id {
				return fmt.Errorf("%q is not continued by %q", q.Prompt, q.Targets[0])
			}
		}
		f.OK, f.Note = true, fmt.Sprintf("%s: %q is continued by %q", demo.Name, q.Prompt, q.Targets[0])
		return nil
	}()
	if err != nil {
		f.Note = err.Error()
	}
	return f, err
}

// disk says how much space a folder, or the nearest one above it, has left.
func disk(what, dir string) finding {
	free, ok := freeBytes(dir)
	if !ok {
		return finding{what, true, dir}
	}
	return finding{what, free > 1<<30, fmt.Sprintf("%s, %.1f GiB free", dir, float64(free)/(1<<30))}
}
