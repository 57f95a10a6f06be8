// Command patched is an example of a program that uses a saved edit: it opens a
// model on ONNX Runtime, loads the patch that editpipe edit --save wrote,
// checks that the two belong together, and asks one question with and without
// it.
//
//	editpipe edit --model DIR --method rome --save paris.safetensors --prompt ... --subject ... --target ...
//	go run ./examples/patched DIR paris.safetensors "The Eiffel Tower is in" Rome Paris
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/patch"
	"editpipe/ort"
)

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: patched MODEL-DIR PATCH PROMPT ANSWER...")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := open(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "patched:", err)
		os.Exit(1)
	}
}

func open(ctx context.Context) (err error) {
	lib, err := ort.Find("")
	if err != nil {
		return err
	}
	env, err := ort.Open(ctx, lib)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	return run(ctx, os.Stdout, env, os.Args[1], os.Args[2], os.Args[3], os.Args[4:])
}

// run prints the log-probability of each answer to the prompt, without the
// patch and with it.
func run(ctx context.Context, out io.Writer, env *ort.Env, model, patchPath, prompt string, answers []string) (err error) {
	lm, err := models.Open(ctx, env, model, models.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lm.Close()) }()

	// Patches that put text before the prompt (in-context editing) need their
	// decoders here; changes of weights need none.
	p, meta, err := patch.Load(patchPath, nil)
	if err != nil {
		return err
	}
	if err := lm.Fits(p, meta); err != nil {
		return err
	}
	q := ask.Query{Prompt: prompt, Targets: answers}
	rows, err := answer.Score(ctx, lm, []answer.Row{{Query: q}, {Query: q, Patch: p}})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.Err != nil {
			return fmt.Errorf("%q: %w", prompt, r.Err)
		}
	}
	fmt.Fprintf(out, "%-24s %10s %10s\n", prompt, "before", "after")
	for i, a := range answers {
		fmt.Fprintf(out, "%-24s %10.3f %10.3f\n", a, sum(rows[0].Targets[i].LogProbs), sum(rows[1].Targets[i].LogProbs))
	}
	return nil
}

func sum(v []float64) (total float64) {
	for _, x := range v {
		total += x
	}
	return total
}
