package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/sets"
	"editpipe/store"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:  "import",
		Usage: "read a file of the field into a data set folder",
		Description: "Formats: " + formatNames() + " (editpipe list formats).\n" +
			"Broken records, and groups of questions of unknown kind, are reported and left out; the rest is kept and the exit code is 3.\n\n" +
			"Example: editpipe import --format counterfact --in counterfact.json --out data\n" +
			"         editpipe import --format custom --map prompt=question,subject=entity,target_new=answer --in facts.csv --out data",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`NAME` of the file's format; recognised from the file if not given", EnvVars: env("format")},
			&cli.StringSliceFlag{Name: "map", Usage: "`FIELD=COLUMN,...` for --format custom; fields: prompt, target_new (needed), subject, ground_truth, case_id, relation; any number of times rephrase_prompt, AXIS_prompt with AXIS_answer; a column of JSON may be a path, as in locality[].loc (docs/sources.md)", EnvVars: env("map")},
			&cli.StringFlag{Name: "in", Usage: "`FILE` to read: JSON, JSON lines, a table or Parquet, packed or not", EnvVars: env("in")},
			languageFlag(),
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

func languageFlag() cli.Flag {
	return &cli.StringFlag{Name: "language", Usage: "`CODE` of the language to read, where the file has its records in several", EnvVars: env("language")}
}

func formatNames() string {
	var names []string
	for _, f := range importer.Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// importFormat is the format that --format names, or that the file is of.
func importFormat(c *cli.Context, path string) (string, error) {
	format := c.String("format")
	if format != "" {
		if !slices.ContainsFunc(importer.Formats(), func(f importer.Format) bool { return f.Name == format }) {
			return "", usagef("unknown --format %q (known: %s)", format, formatNames())
		}
		return format, nil
	}
	format, err := importer.Detect(path, importer.Options{Parquet: store.Objects})
	var unknown *importer.FormatError
	if errors.As(err, &unknown) {
		return "", fmt.Errorf("%w; if it is one of %s, name it with --format", err, formatNames())
	}
	return format, err
}

func runImport(c *cli.Context) error {
	if err := errors.Join(noArgs(c), need(c, "in", "out")); err != nil {
		return err
	}
	if s := c.String("split"); s != "" && s != "train" && s != "valid" && s != "test" {
		return usagef("--split %q: want train, valid or test", s)
	}
	format, err := importFormat(c, c.String("in"))
	if err != nil {
		return err
	}
	var columns []importer.Column
	if m := c.StringSlice("map"); len(m) > 0 {
		var err error
		if columns, err = importer.ParseMap(strings.Join(m, ",")); err != nil {
			return usagef("--map: %w", err)
		}
	}
	if c.String("choices") == "" && c.String("labels") != "" {
		return usagef("--labels are those of --choices, which names no file")
	}
	if c.Int("choices-per-edit") < 0 {
		return usagef("--choices-per-edit must not be negative")
	}
	if err := writableSet(c.String("out"), sets.ManifestFile); err != nil {
		return err
	}
	file, err := importer.Open(format, c.String("in"), importer.Options{
		Set: c.String("name"), Split: c.String("split"), Licence: c.String("licence"), Map: columns,
		Language: c.String("language"), Parquet: store.Objects,
	})
	if errors.Is(err, importer.ErrLanguage) {
		return usagef("--language: %w", err)
	}
	if errors.Is(err, importer.ErrMap) {
		return usagef("--map: %w", err)
	}
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
	report := file.Report()
	var pool importer.Report
	if path := c.String("choices"); path != "" {
		var choices []dataset.Probe
		choices, pool, err = importer.ReadChoices(path, importer.Options{Labels: c.String("labels"), Parquet: store.Objects})
		if err != nil {
			return err
		}
		for _, f := range pool.Errors {
			fmt.Fprintln(c.App.ErrWriter, f.Text)
		}
		records, err = importer.AttachChoices(records, choices, c.Int("choices-per-edit"), c.Int64("seed"))
		if err != nil {
			return fmt.Errorf("--choices %s with --choices-per-edit %d: %w", path, c.Int("choices-per-edit"), err)
		}
		report.Probes[dataset.AxisOtherTasks] += len(records) * c.Int("choices-per-edit")
	}
	if err := store.WriteDataset(c.String("out"), records, store.DatasetManifest{
		Name: file.Name(), Source: report.Format, File: c.String("in"), Version: version(),
	}); err != nil {
		return err
	}
	writeImportReport(c.App.Writer, report, c.String("out"))
	var lost []error
	for _, r := range []importer.Report{report, pool} {
		if len(r.Errors) > 0 {
			lost = append(lost, fmt.Errorf("import: %d of %d records of %s were left out: %w", len(r.Errors), r.Read, r.File, errFailedRows))
		}
	}
	if n := len(report.Groups); n > 0 {
		lost = append(lost, fmt.Errorf("import: %d groups of questions of %s were left out (%s): their names say no kind; name them as in docs/sources.md: %w",
			n, report.File, strings.Join(slices.Sorted(maps.Keys(report.Groups)), ", "), errFailedRows))
	}
	return errors.Join(lost...)
}

func writeImportReport(w io.Writer, r importer.Report, out string) {
	fmt.Fprintf(w, "%s: %d records of format %s -> %s\n", r.File, r.Records, r.Format, out)
	writeProbeCounts(w, r.Probes)
	for _, k := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(w, "  not imported: %s (%d)\n", k, r.Skipped[k])
	}
	for _, k := range slices.Sorted(maps.Keys(r.Groups)) {
		fmt.Fprintf(w, "  not imported: unknown kind %s (%d)\n", k, r.Groups[k])
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
