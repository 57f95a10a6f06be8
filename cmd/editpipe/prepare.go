package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/dataset/corpus"
	"editpipe/demo"
	"editpipe/edit"
	"editpipe/store"
)

func prepareCommand() *cli.Command {
	return &cli.Command{
		Name:  "prepare",
		Usage: "compute what a method needs to know about a model: contexts, covariances, trained networks",
		Description: "Writes DIR/METHOD; give DIR to eval and edit as --artifacts. Statistics over running text are\n" +
			"computed for all layers in one pass; after an interruption the same command resumes.\n\n" +
			"Example: editpipe prepare --model gpt2-onnx --method rome --corpus wikipedia.txt --out artifacts",
		Flags: append(runtimeFlags(),
			&cli.StringFlag{Name: "method", Usage: "`ID` of the method (editpipe list methods)", EnvVars: env("method")},
			&cli.StringFlag{Name: "corpus", Usage: "`FILE` of running text: .txt with one text per line, .jsonl or .parquet (default with the embedded model: text about its world)", EnvVars: env("corpus")},
			&cli.StringFlag{Name: "corpus-field", Usage: "`NAME` of the JSONL field or Parquet column that holds the text", Value: corpus.Field, EnvVars: env("corpus-field")},
			&cli.StringFlag{Name: "data", Usage: "data set `DIR` to learn from; its split valid, where it has one, is kept for validation", EnvVars: env("data")},
			&cli.StringFlag{Name: "out", Usage: "artifacts `DIR`", EnvVars: env("out")},
			&cli.Int64Flag{Name: "seed", Usage: "seed of random choices", Value: 1, EnvVars: env("seed")},
			setFlag(),
		),
		Action: runPrepare,
	}
}

func runPrepare(c *cli.Context) error {
	if err := errors.Join(noArgs(c), need(c, "method", "out")); err != nil {
		return err
	}
	method, keys, err := oneMethod(c)
	if err != nil {
		return err
	}
	if !method.HasPrepare {
		return usagef("method %s needs no preparation", method.Name)
	}
	in := edit.PrepareEnv{Seed: c.Int64("seed")}
	path := c.String("corpus")
	if path == "" && c.String("model") == "" {
		if path, err = demoCorpus(); err != nil {
			return err
		}
	}
	if path != "" {
		if in.Texts, err = corpus.Open(path, c.String("corpus-field"), store.Texts); err != nil {
			return fmt.Errorf("--corpus: %w", err)
		}
		in.Progress = func(done, want int64) {
			fmt.Fprintf(c.App.ErrWriter, "read %d of %d tokens\n", done, max(done, want))
		}
	}
	if c.String("data") != "" {
		data, err := openData(c)
		if err != nil {
			return err
		}
		in.Train, in.Val = data.Split()
	}
	out := filepath.Join(c.String("out"), method.Name)
	if err := writable(out); err != nil {
		return err
	}
	return withTexts(c, func(ctx context.Context, m opened) error {
		config, err := configure(method, m.Info(), keys)
		if err != nil {
			return err
		}
		if err := method.Lacks(config, m.Info()); err != nil { // running text may take hours
			return err
		}
		in.LM = m.LM
		if err := method.Prepare(ctx, config, in, out); err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.App.Writer, "%s: prepared for %s on %s\n", out, method.Name, m.Name())
		return err
	})
}

// demoCorpus is the running text that comes with the embedded model.
func demoCorpus() (string, error) {
	dir, err := embeddedFolder()
	return filepath.Join(dir, demo.CorpusFile), err
}

// unpreparedError is a method that was not prepared, with the command that does it.
type unpreparedError struct {
	err   error
	hints []string
}

func (e *unpreparedError) Error() string { return e.err.Error() }
func (e *unpreparedError) Unwrap() error { return e.err }

// prepareFirst adds to the error of a command whose methods were not prepared what
// to type, with the flags in use.
func prepareFirst(c *cli.Context, err error) error {
	methods := edit.Unprepared(err)
	if methods == nil {
		return err
	}
	out := c.String("artifacts")
	again := "then this command again"
	if out == "" {
		out = "artifacts"
		again += " with --artifacts " + out
	}
	e := &unpreparedError{err: err}
	for _, m := range methods {
		words := []string{"editpipe", "prepare", "--method", m}
		for _, flag := range []string{"model", "provider", "threads", "memory", "ort-lib", "seed"} {
			value := fmt.Sprint(c.Value(flag))
			if c.IsSet(flag) && os.Getenv(variable(flag)) != value { // the environment stays
				words = append(words, "--"+flag, value)
			}
		}
		for _, s := range c.StringSlice("set") {
			if strings.HasPrefix(s, m+".") {
				words = append(words, "--set", s)
			}
		}
		if c.String("model") != "" {
			words = append(words, "--corpus", "FILE") // of running text, which only the user has
		}
		e.hints = append(e.hints, commandLine(append(words, "--out", out)))
	}
	if c.String("model") != "" {
		again += "; FILE is running text like that the model was trained on (.txt, .jsonl or .parquet)"
	}
	e.hints = append(e.hints, again)
	return e
}

// commandLine writes words as a shell reads them.
func commandLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n'\"\\$`&|;<>()*?[]#~!{}") {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
