package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/metric"
)

func explainCommand() *cli.Command {
	return &cli.Command{
		Name:        "explain",
		Usage:       "explain what a metric is and how it is computed",
		ArgsUsage:   "METRIC",
		Description: "Example: editpipe explain tf_token_acc",
		Action: func(c *cli.Context) error {
			if c.NArg() == 1 {
				if text, err := metric.Explain(c.Args().First()); err == nil {
					_, err = fmt.Fprintln(c.App.Writer, strings.TrimSpace(text))
					return err
				}
			}
			var ids []string
			for _, m := range metric.All() {
				ids = append(ids, m.ID)
			}
			return usagef("explain which metric? one of: %s", strings.Join(ids, ", "))
		},
	}
}
