package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/dataset"
	"editpipe/generator/kb"
	"editpipe/sets"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:  "generate",
		Usage: "generate edits with probes for the survey's nine axes from a knowledge base",
		Description: "Without --kb the bundled invented world is used. Equal inputs give equal bytes.\n\n" +
			"Examples:\n" +
			"  editpipe generate --n 200 --out out/sets\n" +
			"  editpipe generate --kb latest-all.json.gz --as-of 2026-11-01 --relations relations.yaml --n 2000 --out sets",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "kb", Usage: "knowledge base `SRC`: a folder that kb build wrote, a Wikidata JSON dump (plain, gz, bz2, zst), a folder of dumps, or \"world\"", Value: sets.World, EnvVars: env("kb")},
			&cli.StringFlag{Name: "out", Usage: "data set `DIR` to write", EnvVars: env("out")},
			&cli.IntFlag{Name: "n", Usage: "number of edits", Value: 200, EnvVars: env("n")},
			&cli.Int64Flag{Name: "seed", Usage: "seed of all random choices", Value: 1, EnvVars: env("seed")},
			&cli.StringFlag{Name: "relations", Usage: "relation catalogue `FILE` (default: the world's own, or the built-in one for Wikidata)", EnvVars: env("relations")},
			&cli.StringSliceFlag{Name: "sets", Usage: "axes, or families of axes, to build, separated by commas, or repeated (default: the nine axes of the survey)", EnvVars: env("sets")},
			&cli.StringFlag{Name: "as-of", Usage: "`DAY` at which facts are current, YYYY-MM-DD (default: the day of the newest change in the knowledge base)", EnvVars: env("as-of")},
			&cli.StringFlag{Name: "mode", Usage: "counterfactual or update", Value: string(dataset.Counterfactual), EnvVars: env("mode")},
			&cli.StringFlag{Name: "later", Usage: "`DAY` of the new values, for --mode update", EnvVars: env("later")},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the data set", EnvVars: env("name")},
			&cli.StringFlag{Name: "licence", Usage: "licence of the knowledge base (default: CC0-1.0)", EnvVars: env("licence")},
			&cli.StringFlag{Name: "phraser", Usage: "`CMD` that rewords questions: one JSON line in, one out (docs/generator.md)", EnvVars: env("phraser")},
			jsonFlag(),
		},
		Action: runGenerate,
	}
}

func runGenerate(c *cli.Context) error {
	if err := errors.Join(noArgs(c), need(c, "out")); err != nil {
		return err
	}
	g := sets.Generate{
		KB: c.String("kb"), Out: c.String("out"), N: c.Int("n"), Seed: c.Int64("seed"), Relations: c.String("relations"),
		AsOf: c.String("as-of"), Mode: dataset.Mode(c.String("mode")), Later: c.String("later"),
		Name: c.String("name"), Licence: c.String("licence"), Phraser: c.String("phraser"), Version: version(),
	}
	if g.N < 1 {
		return usagef("--n must be at least 1")
	}
	if g.Mode != dataset.Counterfactual && g.Mode != dataset.Update {
		return usagef("--mode %q: want %s or %s", g.Mode, dataset.Counterfactual, dataset.Update)
	}
	if c.IsSet("sets") {
		var err error
		if g.Sets, err = splitList(c, "sets"); err != nil {
			return err
		}
		for _, name := range g.Sets {
			if dataset.AxesOf(name) == nil {
				return usagef("--sets: unknown axis %q (known: %s)", name, axisNames())
			}
		}
	}
	for _, flag := range []string{"as-of", "later"} {
		if day := c.String(flag); day != "" {
			if _, err := kb.ParseDate(day); err != nil {
				return usagef("--%s: %w", flag, err)
			}
		}
	}
	switch {
	case g.Mode == dataset.Update && g.Later == "":
		return usagef("--mode update needs --later, the day of the new values")
	case g.Mode != dataset.Update && g.Later != "":
		return usagef("--later is for --mode update, not for %s", g.Mode)
	}
	if err := writableSet(g.Out, sets.ManifestFile, sets.CardFile); err != nil {
		return err
	}
	set, err := g.Do(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return writeJSON(c.App.Writer, set)
	}
	writeGenerated(c.App.Writer, set, g.Out)
	return nil
}

func axisNames() string {
	var names []string
	for _, a := range slices.Concat(dataset.Axes(), dataset.FurtherAxes()) {
		names = append(names, string(a))
	}
	return strings.Join(names, ", ")
}

func writeGenerated(w io.Writer, set *sets.Generated, out string) {
	fmt.Fprintf(w, "%s: %d edits from %s (%d entities), seed %d\n", out, set.Counts.Edits, set.DumpID, set.Entities, set.Arguments.Seed)
	for _, axis := range set.Arguments.Sets {
		fmt.Fprintf(w, "  %-24s %6d probes\n", axis, set.Counts.Probes[axis])
	}
	if n := set.Counts.FollowUps; n > 0 {
		fmt.Fprintf(w, "  %-24s %6d (evaluate with --setting sequential:N --eval-at immediate)\n", "edits on top of another", n)
	}
	total := 0
	for _, n := range set.Counts.Rejects {
		total += n
	}
	fmt.Fprintf(w, "  %-24s %6d (%s says why)\n", "rejected candidates", total, sets.RejectsFile)
	for _, warning := range set.Warnings {
		fmt.Fprintf(w, "  warning: %s\n", warning)
	}
}
