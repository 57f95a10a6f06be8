package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"editpipe/demo"
	"editpipe/models"
	"editpipe/ort"
	"editpipe/token"
)

func modelFlag() cli.Flag {
	return &cli.StringFlag{Name: "model", Usage: "model folder `DIR` or one .onnx file (default: the embedded demo model)", EnvVars: env("model")}
}

func libraryFlag() cli.Flag {
	return &cli.StringFlag{Name: "ort-lib", Usage: "ONNX Runtime library `FILE`", EnvVars: env("ort-lib")}
}

// findLibrary leaves a path that comes from the environment to ort, so that
// messages say where it comes from.
func findLibrary(c *cli.Context) (ort.Library, error) {
	path := c.String("ort-lib")
	if path == os.Getenv(ort.EnvLibrary) {
		path = ""
	}
	return ort.Find(path)
}

// runtimeFlags are the flags of commands that run a model.
func runtimeFlags() []cli.Flag {
	return []cli.Flag{
		modelFlag(),
		&cli.StringFlag{Name: "provider", Usage: "execution provider `NAME[:key=value,...]`: cpu, cuda, tensorrt, webgpu, ...", Value: "cpu", EnvVars: env("provider")},
		&cli.IntFlag{Name: "threads", Usage: "processor threads of one run (default: physical cores)", EnvVars: env("threads")},
		libraryFlag(),
		&cli.Int64Flag{Name: "memory", Usage: "`MIB` that one run of the model may use in addition to the weights", EnvVars: env("memory")},
	}
}

// modelDir returns the folder --model names, or the embedded model's; embedded
// says which it was.
func modelDir(c *cli.Context) (dir string, embedded bool, err error) {
	if dir := c.String("model"); dir != "" {
		return dir, false, nil
	}
	dir, err = embeddedFolder()
	return dir, true, err
}

// embeddedFolder is the folder in the cache that holds the embedded model, its
// data and its text; they are put there if need be.
func embeddedFolder() (string, error) {
	cache, err := ort.CacheRoot()
	if err != nil {
		return "", err
	}
	dir, err := demo.Extract(cache)
	if err != nil {
		return "", fmt.Errorf("the embedded model goes into the cache folder %s, which %s moves: %w", cache, ort.EnvCache, err)
	}
	return dir, nil
}

// withTexts is withModel for commands that ask the model in words: it refuses a
// model without a tokenizer, which could answer nothing.
func withTexts(c *cli.Context, f func(ctx context.Context, m opened) error) error {
	return withModel(c, func(ctx context.Context, m opened) error {
		if m.TokenizerHash() == "" {
			return fmt.Errorf("no tokenizer in %s: copy %s from the checkpoint to the model", m.Info().Dir, token.Missing(m.Info().Dir))
		}
		return f(ctx, m)
	})
}

// mostThreads is more than any machine has cores for. The runtime starts as many
// as it is told to, with a stack each, before it fails.
const mostThreads = 4096

// withRuntime opens the runtime with the provider the flags name, calls f and
// closes it again. A provider that does not load is an error here, before any
// work is done.
func withRuntime(c *cli.Context, f func(ctx context.Context, e *ort.Env, p ort.Provider) error) (err error) {
	provider, err := ort.ParseProvider(c.String("provider"))
	if err != nil {
		return usagef("--provider: %w", err)
	}
	if c.Int("threads") < 0 || c.Int64("memory") < 0 {
		return usagef("--threads and --memory must not be negative")
	}
	if n := c.Int("threads"); n > mostThreads {
		return usagef("--threads %d: want at most %d; 0 takes the physical cores", n, mostThreads)
	}
	lib, err := findLibrary(c)
	if err != nil {
		return err
	}
	e, err := ort.Open(c.Context, lib)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := e.Probe(c.Context, provider); err != nil {
		return err
	}
	return f(c.Context, e, provider)
}

// opened is a model with what it runs on.
type opened struct {
	*models.LM
	runtime  string // version of the library
	provider ort.Provider
	budget   int64 // bytes one run may hold beside the weights
}

// withModel opens the model the flags name, calls f with it and closes it
// again.
func withModel(c *cli.Context, f func(ctx context.Context, m opened) error) error {
	dir, embedded, err := modelDir(c)
	if err != nil {
		return err
	}
	name := ""
	if embedded {
		name = demo.Name
	}
	budget := c.Int64("memory") << 20
	if budget == 0 {
		budget = models.DefaultMemoryBudget
	}
	return withRuntime(c, func(ctx context.Context, e *ort.Env, p ort.Provider) (err error) {
		lm, err := models.Open(ctx, e, dir, models.Options{Provider: p, Threads: c.Int("threads"), MemoryBudget: budget, Name: name})
		if err != nil {
			return err
		}
		for _, n := range lm.Info().Warnings {
			fmt.Fprintln(c.App.ErrWriter, "warning:", n)
		}
		defer func() {
			for _, what := range lm.Abandoned() {
				fmt.Fprintln(c.App.ErrWriter, what)
			}
			err = errors.Join(err, lm.Close())
		}()
		return f(ctx, opened{lm, e.Version(), p, budget})
	})
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// modelPath is the model as the user named it.
func modelPath(c *cli.Context) string {
	if dir := c.String("model"); dir != "" {
		return dir
	}
	return "embedded: " + demo.Name
}
