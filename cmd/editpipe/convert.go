package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/dataset"
	"editpipe/dataset/exporter"
	"editpipe/sets"
)

func convertCommand() *cli.Command {
	return &cli.Command{
		Name:  "convert",
		Usage: "write a data set in a format that other programs read (the reverse of import)",
		Description: "Formats: " + targetNames() + " (editpipe list formats). Questions and names that the format has no place for are\n" +
			"left out and counted; if it has no place for some edits, the exit code is 3.\n\n" +
			"Example: editpipe convert --data sets --to easyedit --out requests.json",
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringFlag{Name: "to", Usage: "`NAME` of the format to write", EnvVars: env("to")},
			&cli.StringFlag{Name: "out", Usage: "`FILE` to write", EnvVars: env("out")},
		},
		Action: runConvert,
	}
}

func targetNames() string {
	var names []string
	for _, f := range exporter.Formats() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func runConvert(c *cli.Context) error {
	if err := errors.Join(noArgs(c), need(c, "to", "out")); err != nil {
		return err
	}
	if !slices.ContainsFunc(exporter.Formats(), func(f exporter.Format) bool { return f.Name == c.String("to") }) {
		return usagef("unknown --to %q (known: %s)", c.String("to"), targetNames())
	}
	if err := writableFile("out", c.String("out")); err != nil {
		return err
	}
	data, err := openData(c)
	if err != nil {
		return err
	}
	report, err := sets.Convert{Records: data.Records, To: c.String("to"), Out: c.String("out")}.Do()
	if errors.Is(err, sets.ErrNothing) {
		return fmt.Errorf("convert: format %s has no place for edits %s; %w", report.Format, strings.Join(sortedKeys(report.Refused), ", "), sets.ErrNothing)
	}
	if err != nil {
		return err
	}
	writeConvertReport(c.App.Writer, report, data.Name, c.String("out"))
	if n := len(data.Records) - report.Records; n > 0 {
		return fmt.Errorf("convert: %d of %d edits were left out: %w", n, len(data.Records), errFailedRows)
	}
	return nil
}

func writeConvertReport(w io.Writer, r exporter.Report, name, out string) {
	fmt.Fprintf(w, "%s: %d records as %s -> %s\n", name, r.Records, r.Format, out)
	writeProbeCounts(w, r.Probes)
	for _, what := range sortedKeys(r.Refused) {
		fmt.Fprintf(w, "  left out: edits %s (%d)\n", what, r.Refused[what])
	}
	for _, what := range sortedKeys(r.LeftOut) {
		fmt.Fprintf(w, "  left out: %s (%d)\n", what, r.LeftOut[what])
	}
}

func writeProbeCounts(w io.Writer, probes map[dataset.Axis]int) {
	for _, axis := range dataset.Axes() {
		if n := probes[axis]; n > 0 {
			fmt.Fprintf(w, "  %-24s %d probes\n", axis, n)
		}
	}
}
