package main

import (
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"editpipe/report"
)

// compareTolerance bounds what float32 rounding on another provider moves.
const compareTolerance = 1e-3

func compareCommand() *cli.Command {
	return &cli.Command{
		Name:      "compare",
		Usage:     "compare two runs of the same questions, made on two providers, machines or versions",
		ArgsUsage: "RUN RUN",
		Description: "Exit code 3 if a log-probability differs by more than the tolerance or a row is missing from one run.\n\n" +
			"Example: editpipe compare runs/cpu runs/cuda",
		Flags: []cli.Flag{
			&cli.Float64Flag{Name: "tolerance", Usage: "largest difference in `NATS`", Value: compareTolerance, EnvVars: env("tolerance")},
			&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usagef("compare needs two run folders")
			}
			if !(c.Float64("tolerance") >= 0) {
				return usagef("--tolerance: want 0 or more")
			}
			r, err := report.Compare(c.Context, c.Args().Get(0), c.Args().Get(1), c.Float64("tolerance"))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				enc := json.NewEncoder(c.App.Writer)
				enc.SetIndent("", "  ")
				err = enc.Encode(r)
			} else {
				err = r.Write(c.App.Writer)
			}
			if err == nil && !r.Agree() {
				err = fmt.Errorf("%w: %s and %s do not agree within %g nats", errOverLimit, r.A, r.B, r.Tolerance)
			}
			return err
		},
	}
}
