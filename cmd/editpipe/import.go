package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/store"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:  "import",
		Usage: "read a file of the field into a data set folder",
		Description: "Formats: " + formatNames() + " (editpipe list formats).\n" +
			"Broken records are reported by file and index and left out; the rest is kept and the exit code is 3.\n\n" +
			"Example: editpipe import --format counterfact --in counterfact.json --out data",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`NAME` of the file's format; recognised from the file if not given", EnvVars: env("format")},
			&cli.StringFlag{Name: "in", Usage: "`FILE` to read", EnvVars: env("in")},
			&cli.StringFlag{Name: "out", Usage: "data set `DIR` to write", EnvVars: env("out")},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the data set (default: the file's name)", EnvVars: env("name")},
			&cli.StringFlag{Name: "split", Usage: "train, valid or test", EnvVars: env("split")},
			&cli.StringFlag{Name: "licence", Usage: "licence of the file, kept with every edit", EnvVars: env("licence")},
			&cli.StringFlag{Name: "choices", Usage: "`FILE` of questions with choices (PIQA or {question, choices, label} lines) to attach as other_tasks", EnvVars: env("choices")},
			&cli.StringFlag{Name: "labels", Usage: "`FILE` of labels for --choices, a number per line", EnvVars: env("labels")},
			&cli.IntFlag{Name: "choices-per-edit", Usage: "questions of --choices attached to each edit", Value: 4, EnvVars: env("choices-per-edit")},
			&cli.Int64Flag{Name: "seed", Usage: "seed for which questions go to which edit", Value: 1, EnvVars: env("seed")},
		},
		Action: runImport,
	}
}

func formatNames() string {
	var names []string
	for _, f := range importer.Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func runImport(c *cli.Context) error {
	if err := errors.Join(noArgs(c), need(c, "in", "out")); err != nil {
		return err
	}
	if s := c.String("split"); s != "" && s != "train" && s != "valid" && s != "test" {
		return usagef("--split %q: want train, valid or test", s)
	}
	format := c.String("format")
	if format == "" {
		found, err := importer.Detect(c.String("in"))
		var unknown *importer.FormatError
		if errors.As(err, &unknown) {
			return fmt.Errorf("%w; if it is one of %s, name it with --format", err, formatNames())
		}
		if err != nil {
			return err
		}
		format = found
	} else if !slices.ContainsFunc(importer.Formats(), func(f importer.Format) bool { return f.Name == format }) {
		return usagef("unknown --format %q (known: %s)", format, formatNames())
	}
	if err := writableData(c.String("out")); err != nil {
		return err
	}
	file, err := importer.Open(format, c.String("in"), importer.Options{
		Set: c.String("name"), Split: c.String("split"), Licence: c.String("licence"),
	})
	if errors.Is(err, importer.ErrPool) {
		return usagef("%w; give it with --choices beside a file of edits", err)
	}
	if err != nil {
		return err
	}
	var records []dataset.Record
	for r, err := range file.Records() {
		var broken *dataset.RecordError
		switch {
		case errors.As(err, &broken):
			fmt.Fprintln(c.App.ErrWriter, broken)
			continue
		case err != nil:
			return err
		}
		if err := c.Context.Err(); err != nil {
			return err
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return fmt.Errorf("import: %s: no record could be read; nothing was written", c.String("in"))
	}
	if pool := c.String("choices"); pool != "" {
		choices, _, err := importer.ReadChoices(pool, importer.Options{Labels: c.String("labels")})
		if err != nil {
			return err
		}
		records, err = importer.AttachChoices(records, choices, c.Int("choices-per-edit"), c.Int64("seed"))
		if err != nil {
			return fmt.Errorf("--choices %s with --choices-per-edit %d: %w", pool, c.Int("choices-per-edit"), err)
		}
	}
	report := file.Report()
	if err := store.WriteDataset(c.String("out"), records, store.DatasetManifest{
		Name: file.Name(), Source: report.Format, File: c.String("in"), Version: version(),
	}); err != nil {
		return err
	}
	writeImportReport(c.App.Writer, report, c.String("out"))
	if len(report.Errors) > 0 {
		return fmt.Errorf("import: %d of %d records of %s were left out: %w",
			len(report.Errors), len(report.Errors)+report.Records, report.File, errFailedRows)
	}
	return nil
}

func writeImportReport(w io.Writer, r importer.Report, out string) {
	fmt.Fprintf(w, "%s: %d records of format %s -> %s\n", r.File, r.Records, r.Format, out)
	for _, axis := range dataset.Axes() {
		if n := r.Probes[axis]; n > 0 {
			fmt.Fprintf(w, "  %-24s %d probes\n", axis, n)
		}
	}
	var kinds []string
	for k := range r.Skipped {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	for _, k := range kinds {
		fmt.Fprintf(w, "  not imported: %s (%d)\n", k, r.Skipped[k])
	}
	codes := map[string]int{}
	var order []string
	for _, f := range r.Warnings {
		if codes[f.Code]++; codes[f.Code] == 1 {
			order = append(order, f.Code)
		}
	}
	for _, code := range order {
		for _, f := range r.Warnings {
			if f.Code == code {
				fmt.Fprintf(w, "  warning %s: %d records, first %d: %s\n", code, codes[code], f.Index, f.Text)
				break
			}
		}
	}
}
