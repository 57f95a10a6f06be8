package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/file"
	"editpipe/report"
)

func reportCommand() *cli.Command {
	var formats []string
	for _, f := range report.Formats() {
		formats = append(formats, string(f))
	}
	return &cli.Command{
		Name:        "report",
		Usage:       "print tables of one or more runs",
		ArgsUsage:   "RUN...",
		Description: "Example: editpipe report --format md runs/gptj runs/llama",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: strings.Join(formats, ", "), Value: string(report.Text), EnvVars: env("format")},
			&cli.StringFlag{Name: "out", Usage: "`FILE` to write instead of standard output", EnvVars: env("out")},
		},
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return usagef("report needs at least one run folder")
			}
			format := report.Format(c.String("format"))
			if !strings.Contains(" "+strings.Join(formats, " ")+" ", " "+string(format)+" ") {
				return usagef("unknown --format %q (known: %s)", format, strings.Join(formats, ", "))
			}
			out := c.String("out")
			if out != "" {
				if err := writableFile("out", out); err != nil {
					return err
				}
			}
			r, err := report.Load(c.Context, c.Args().Slice()...)
			if err != nil {
				return err
			}
			for _, run := range r.Runs {
				for _, w := range run.Warnings {
					fmt.Fprintf(c.App.ErrWriter, "warning: %s: %s\n", run.Dir, w)
				}
			}
			if out != "" {
				var b bytes.Buffer
				if err := r.Write(&b, format); err != nil {
					return err
				}
				return file.Write(out, b.Bytes())
			}
			return r.Write(c.App.Writer, format)
		},
	}
}
