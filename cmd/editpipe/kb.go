package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
	"editpipe/generator/shards"
	"editpipe/pipeline"
	"editpipe/sets"
)

// standardInput is the --dump that is read from a pipe.
const standardInput = "-"

// kbActions are what can be done with a knowledge base.
const kbActions = "build"

func kbCommand() *cli.Command {
	return &cli.Command{
		Name:      "kb",
		Usage:     "build a knowledge base from a Wikidata dump of any size",
		ArgsUsage: kbActions,
		Description: "The dump is read once, in bounded memory; what the catalogue needs from it becomes a folder of\n" +
			"Parquet files, which generate --kb reads. A build that was stopped is resumed by the same command.\n\n" +
			"Examples:\n" +
			"  editpipe kb build --dump latest-all.json.gz --out kb\n" +
			"  lbzip2 -dc latest-all.json.bz2 | editpipe kb build --dump - --out kb",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "dump", Usage: "Wikidata JSON dump `FILE` (plain, gz, bz2, zst), or - for standard input", EnvVars: env("dump")},
			&cli.StringFlag{Name: "out", Usage: "knowledge base `DIR` to write", EnvVars: env("out")},
			&cli.StringFlag{Name: "relations", Usage: "relation catalogue `FILE` (default: the built-in one)", EnvVars: env("relations")},
			&cli.StringFlag{Name: "as-of", Usage: "`DAY` at which facts are current, YYYY-MM-DD (default: the day of the newest change in the dump)", EnvVars: env("as-of")},
			&cli.IntFlag{Name: "min-sitelinks", Usage: "leave out items with fewer than `N` sitelinks", EnvVars: env("min-sitelinks")},
			&cli.IntFlag{Name: "max-errors", Usage: "number of unreadable lines to tolerate", Value: 1000, EnvVars: env("max-errors")},
			jsonFlag(),
		},
		Action: runKB,
	}
}

func runKB(c *cli.Context) error {
	if what := c.Args().First(); what != kbActions || c.NArg() > 1 {
		return usagef("kb does what? one of: %s", kbActions)
	}
	if err := need(c, "dump", "out"); err != nil {
		return err
	}
	b := shards.Build{Dump: c.String("dump"), Out: c.String("out"), MinSitelinks: c.Int("min-sitelinks"), MaxErrors: c.Int("max-errors"), Version: version()}
	for flag, n := range map[string]int{"min-sitelinks": b.MinSitelinks, "max-errors": b.MaxErrors} {
		if n < 0 {
			return usagef("--%s must not be negative", flag)
		}
	}
	if day := c.String("as-of"); day != "" {
		var err error
		if b.AsOf, err = kb.ParseDate(day); err != nil {
			return usagef("--as-of: %w", err)
		}
	}
	if b.Dump == standardInput {
		b.In = c.App.Reader
	}
	var err error
	if b.Catalogue, b.CatalogueHash, err = sets.ReadCatalogue(c.String("relations"), catalogue.General()); err != nil {
		return err
	}
	if err := writableData(b.Out); err != nil {
		return err
	}
	progress := pipeline.NewProgress(c.App.ErrWriter)
	b.Observe = func(p shards.Progress) { progress.Say(progressLine(p)) }
	m, err := b.Do(c.Context)
	progress.Interrupt()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = writeJSON(c.App.Writer, m)
	} else {
		writeKB(c.App.Writer, m, b.Out)
	}
	if m.BrokenLines() > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d lines of the dump could not be read: first_broken in manifest.json says which", errFailedRows, m.BrokenLines()))
	}
	return err
}

// progressLine says how far a build is, how fast it is, and how long it will
// take at that.
func progressLine(p shards.Progress) string {
	if p.Of > 0 {
		return fmt.Sprintf("%s: %d/%d files, %s", p.Step, p.Done, p.Of, p.Elapsed.Round(time.Second))
	}
	seconds := max(p.Elapsed.Seconds(), 1e-3)
	line := fmt.Sprintf("%s: %.1f GB at %.0f MB/s, %d lines, %d entities, %s", p.Step, float64(p.Bytes)/1e9, float64(p.Bytes)/1e6/seconds, p.Lines, p.Entities, p.Elapsed.Round(time.Second))
	if p.Size > 0 && p.Read > 0 {
		left := time.Duration(seconds * float64(p.Size-p.Read) / float64(p.Read) * float64(time.Second))
		line += fmt.Sprintf(", about %s left", left.Round(time.Second))
	}
	return line
}

func writeKB(w io.Writer, m *shards.Manifest, out string) {
	fmt.Fprintf(w, "%s: %d entities and %d facts from %s, current at %s\n", out, m.Entities, m.Facts, m.Arguments.Dump, m.AsOf)
	for _, row := range []struct {
		what string
		n    int
	}{
		{"lines read", m.Lines}, {"lines without a property of use", m.Filtered}, {"items that no fact names", m.Unnamed},
		{"items with too few sitelinks", m.Unpopular}, {"facts whose object has no label", m.Unlabelled}, {"lines that could not be read", m.BrokenLines()},
	} {
		fmt.Fprintf(w, "  %-32s %11d\n", row.what, row.n)
	}
	for _, l := range m.FirstBroken {
		fmt.Fprintf(w, "  line %d (%s): %s\n", l.Line, l.Fault, strings.TrimSpace(l.Error))
	}
	for _, warning := range m.Warnings {
		fmt.Fprintf(w, "  warning: %s\n", warning)
	}
}
