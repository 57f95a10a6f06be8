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
		Usage:       "say what a metric is and how it is computed",
		ArgsUsage:   "METRIC",
		Description: "Example: editpipe explain tf_token_acc",
		Action: func(c *cli.Context) error {
			var ids []string
			for _, m := range metric.All() {
				if c.NArg() == 1 && m.ID == c.Args().First() {
					var axes []string
					for _, a := range m.Axes {
						axes = append(axes, string(a))
					}
					_, err := fmt.Fprintf(c.App.Writer, "%s: %s\n\n%s\n\naxes: %s\n%s\n", m.ID, m.Title, m.Definition, strings.Join(axes, ", "), m.Direction)
					return err
				}
				ids = append(ids, m.ID)
			}
			return usagef("explain which metric? one of: %s", strings.Join(ids, ", "))
		},
	}
}
