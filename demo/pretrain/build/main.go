// Command build trains the embedded model, measures it, and writes it with its
// data set and its report in the form in which they are embedded. `task
// demo-model` runs it; a run that was killed resumes where it stopped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"editpipe/demo/pretrain"
	"editpipe/file"
	"editpipe/ort"
)

// checkpoint is the time between two checkpoints.
const checkpoint = 3 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	p := pretrain.Demo()
	dir := flag.String("dir", filepath.Join("out", "demo-model"), "training folder: tokenizer, checkpoint, log")
	out := flag.String("out", filepath.Join("demo", "model"), "folder of the embedded form")
	report := flag.String("report", filepath.Join("docs", "demo-model.md"), "file whose tables are written anew")
	library := flag.String("ort-lib", "", "ONNX Runtime library; found as editpipe finds it by default")
	provider := flag.String("provider", "cpu", "execution provider of the training")
	inContext := flag.String("in-context", "ice", "method that edits in context, for the figures on what methods find")
	inWeights := flag.String("in-weights", "rome", "method that edits weights, for the same")
	threads := flag.Int("threads", runtime.NumCPU(), "threads of the measurements; training uses two")
	flag.Uint64Var(&p.Seed, "seed", p.Seed, "seed of text and weights")
	flag.IntVar(&p.Steps, "steps", p.Steps, "updates")
	flag.Parse()
	t, err := pretrain.Begin(*dir, p)
	if err != nil {
		return err
	}
	lib, err := ort.Find(*library)
	if err != nil {
		return err
	}
	env, err := ort.Open(ctx, lib)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	by, err := ort.ParseProvider(*provider)
	if err != nil {
		return err
	}
	if err := t.Run(ctx, env, pretrain.Options{Threads: *threads, Provider: by, Checkpoint: checkpoint, Progress: print}); err != nil {
		return err
	}
	w, revived, err := t.Released(ctx, env)
	if err != nil {
		return err
	}
	fmt.Printf("%d dead neurons revived\n", revived)
	if err := t.Export(*out, w); err != nil {
		return err
	}
	if err := errors.Join(t.Facts.ExportRecords(ctx, *out), t.Facts.ExportCorpus(*out, p.Seed)); err != nil {
		return err
	}
	scores, err := t.Measure(ctx, env, w, pretrain.Whole, *threads)
	if err != nil {
		return err
	}
	found, err := methods(ctx, env, t, *out, *threads, *inContext, *inWeights)
	if err != nil {
		return err
	}
	return rewrite(*report, t.Facts.Tables(scores)+"\n"+found)
}

// The tables of the report stand between these lines.
const (
	tablesBegin = "<!-- written by task demo-model -->\n"
	tablesEnd   = "<!-- end -->"
)

// rewrite puts new tables into the report.
func rewrite(path, tables string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), tablesBegin)
	_, after, found := strings.Cut(rest, tablesEnd)
	if !ok || !found {
		return fmt.Errorf("%s has no place for the tables: a line %q and a line %q", path, strings.TrimSpace(tablesBegin), tablesEnd)
	}
	return file.Write(path, []byte(before+tablesBegin+"\n"+tables+"\n"+tablesEnd+after))
}

func print(x pretrain.Progress) {
	fmt.Printf("step %d  loss %.4f  gradient %.2f  rate %.5f  %.0f tokens/s\n", x.Step, x.Loss, x.Norm, x.Rate, float64(x.Tokens)/x.Seconds)
	for _, test := range pretrain.Tests() {
		if s, ok := x.Measured[string(test)]; ok {
			fmt.Printf("  %-12s %5.1f %%\n", test, 100*s.Share())
		}
	}
}
