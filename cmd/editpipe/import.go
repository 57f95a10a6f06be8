package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/dataset/importer"
	"editpipe/sets"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name:  "import",
		Usage: "import a published or custom data set file into a data set folder",
		Description: "Formats: " + formatNames() + " (editpipe list formats).\n" +
			"Broken records, and groups of questions of unknown kind, are reported and left out; the rest is kept and the exit code is 3.\n\n" +
			"Example: editpipe import --format counterfact --in counterfact.json --out data\n" +
			"         editpipe import --format custom --map prompt=question,subject=entity,target_new=answer --in facts.csv --out data",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`NAME` of the file's format; recognised from the file if not given", EnvVars: env("format")},
			&cli.StringSliceFlag{Name: "map", Usage: "`FIELD=COLUMN,...` for --format custom; fields: prompt, target_new (needed), subject, ground_truth, case_id, relation; any number of times rephrase_prompt, AXIS_prompt with AXIS_answer; a column of JSON may be a path, as in locality[].loc (docs/sources.md)", EnvVars: env("map")},
			&cli.StringFlag{Name: "in", Usage: "`FILE` to read: JSON, JSON lines, a table or Parquet, compressed or not", EnvVars: env("in")},
			languageFlag(),
			&cli.StringFlag{Name: "out", Usage: "data set `DIR` to write", EnvVars: env("out")},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the data set (default: the file's name)", EnvVars: env("name")},
			&cli.StringFlag{Name: "split", Usage: "train, valid or test", EnvVars: env("split")},
			&cli.StringFlag{Name: "licence", Usage: "licence of the file, kept with every edit", EnvVars: env("licence")},
			&cli.StringFlag{Name: "choices", Usage: "`FILE` of questions with choices (PIQA or {question, choices, label} lines) to attach as other_tasks", EnvVars: env("choices")},
			&cli.StringFlag{Name: "labels", Usage: "`FILE` of labels for --choices, one number per line", EnvVars: env("labels")},
			&cli.IntFlag{Name: "choices-per-edit", Usage: "number of questions of --choices attached to each edit", Value: 4, EnvVars: env("choices-per-edit")},
			&cli.Int64Flag{Name: "seed", Usage: "seed that decides which questions go to which edit", Value: 1, EnvVars: env("seed")},
		},
		Action: runImport,
	}
}

func languageFlag() cli.Flag {
	return &cli.StringFlag{Name: "language", Usage: "`CODE` of the language to read, if the file has its records in several", EnvVars: env("language")}
}

func formatNames() string {
	var names []string
	for _, f := range importer.Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// checkFormat refuses a --format that is none.
func checkFormat(c *cli.Context) error {
	format := c.String("format")
	if format != "" && !slices.ContainsFunc(importer.Formats(), func(f importer.Format) bool { return f.Name == format }) {
		return usagef("unknown --format %q (known: %s)", format, formatNames())
	}
	return nil
}

// fileFault adds to the error of a file that was opened what flag may help.
func fileFault(err error) error {
	var unknown *importer.FormatError
	switch {
	case errors.Is(err, importer.ErrLanguage):
		return usagef("--language: %w", err)
	case errors.As(err, &unknown) && unknown.Want == "":
		return fmt.Errorf("%w; if it is one of %s, name it with --format", err, formatNames())
	}
	return err
}

func runImport(c *cli.Context) error {
	in, err := importArguments(c)
	if err != nil {
		return err
	}
	in.LeftOut = func(fault string) { fmt.Fprintln(c.App.ErrWriter, fault) }
	done, err := in.Do(c.Context)
	if err != nil {
		return importFault(in, err)
	}
	writeImportReport(c.App.Writer, done.Report, in.Out)
	return leftOut(done)
}

// importArguments reads the flags.
func importArguments(c *cli.Context) (sets.Import, error) {
	in := sets.Import{
		In: c.String("in"), Format: c.String("format"), Out: c.String("out"), Version: version(),
		Options: importer.Options{Set: c.String("name"), Split: c.String("split"), Licence: c.String("licence"), Language: c.String("language")},
		Choices: sets.Choices{File: c.String("choices"), Labels: c.String("labels"), PerEdit: c.Int("choices-per-edit"), Seed: c.Int64("seed")},
	}
	if err := errors.Join(noArgs(c), need(c, "in", "out")); err != nil {
		return in, err
	}
	if s := in.Options.Split; s != "" && s != "train" && s != "valid" && s != "test" {
		return in, usagef("--split %q: want train, valid or test", s)
	}
	if err := checkFormat(c); err != nil {
		return in, err
	}
	if m := c.StringSlice("map"); len(m) > 0 {
		var err error
		if in.Options.Map, err = importer.ParseMap(strings.Join(m, ",")); err != nil {
			return in, usagef("--map: %w", err)
		}
	}
	if in.Choices.File == "" && in.Choices.Labels != "" {
		return in, usagef("--labels are those of --choices, which names no file")
	}
	if in.Choices.PerEdit < 0 {
		return in, usagef("--choices-per-edit must not be negative")
	}
	return in, writableSet(in.Out, sets.ManifestFile)
}

// importFault says which flag is at fault.
func importFault(in sets.Import, err error) error {
	var choices *sets.ChoicesError
	switch {
	case errors.Is(err, importer.ErrMap):
		return usagef("--map: %w", err)
	case errors.Is(err, importer.ErrPool):
		return usagef("%w; give it with --choices beside a file of edits", err)
	case errors.As(err, &choices):
		return fmt.Errorf("--choices %s with --choices-per-edit %d: %w", choices.File, choices.PerEdit, choices.Err)
	case errors.Is(err, sets.ErrNothing):
		return fmt.Errorf("import: %s: no record could be read; %w", in.In, sets.ErrNothing)
	}
	return fileFault(err)
}

// leftOut is the error of an import that is done and left something out.
func leftOut(done *sets.Imported) error {
	var lost []error
	for _, r := range []importer.Report{done.Report, done.Choices} {
		if len(r.Errors) > 0 {
			lost = append(lost, fmt.Errorf("import: %d of %d records of %s were left out: %w", len(r.Errors), r.Read, r.File, errFailedRows))
		}
	}
	if n := len(done.Groups); n > 0 {
		lost = append(lost, fmt.Errorf("import: %d groups of questions of %s were left out (%s): their names say no kind; name them as in docs/sources.md: %w",
			n, done.File, strings.Join(sortedKeys(done.Groups), ", "), errFailedRows))
	}
	return errors.Join(lost...)
}

func writeImportReport(w io.Writer, r importer.Report, out string) {
	fmt.Fprintf(w, "%s: %d records of format %s -> %s\n", r.File, r.Records, r.Format, out)
	writeProbeCounts(w, r.Probes)
	for _, k := range sortedKeys(r.Skipped) {
		fmt.Fprintf(w, "  not imported: %s (%d)\n", k, r.Skipped[k])
	}
	for _, k := range sortedKeys(r.Groups) {
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
