package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/dataset"
	"editpipe/dataset/exporter"
	"editpipe/file"
)

func convertCommand() *cli.Command {
	return &cli.Command{
		Name:  "convert",
		Usage: "write a data set as a file that other programs read: the way back of import",
		Description: "Formats: " + targetNames() + " (editpipe list formats). Questions and names that the format has no place for are\n" +
			"left out and counted; edits it has no place for make the exit code 3.\n\n" +
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
	var b bytes.Buffer
	report, err := exporter.Write(&b, c.String("to"), data.Records)
	if err != nil {
		return err
	}
	if report.Records == 0 {
		return fmt.Errorf("convert: format %s has no place for edits %s; nothing was written", report.Format, reasons(report.Refused))
	}
	if err := file.Write(c.String("out"), b.Bytes()); err != nil {
		return err
	}
	writeConvertReport(c.App.Writer, report, data.Name, c.String("out"))
	if n := len(data.Records) - report.Records; n > 0 {
		return fmt.Errorf("convert: %d of %d edits were left out: %w", n, len(data.Records), errFailedRows)
	}
	return nil
}

// reasons names what kept edits out.
func reasons(refused map[string]int) string {
	return strings.Join(slices.Sorted(maps.Keys(refused)), ", ")
}

func writeConvertReport(w io.Writer, r exporter.Report, name, out string) {
	fmt.Fprintf(w, "%s: %d records as %s -> %s\n", name, r.Records, r.Format, out)
	writeProbeCounts(w, r.Probes)
	for _, what := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(w, "  left out: edits %s (%d)\n", what, r.Refused[what])
	}
	for _, what := range slices.Sorted(maps.Keys(r.LeftOut)) {
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
