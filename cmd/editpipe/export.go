package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"editpipe/edit"
	"editpipe/edit/all"
	"editpipe/models/patch"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:  "export",
		Usage: "bake a saved patch into plain ONNX: a model folder that any runtime reads",
		Description: "A patch that adds text to the prompt (ike, ice) cannot be baked in and is refused.\n\n" +
			"Example: editpipe export --model gpt2-onnx --patch paris.safetensors --out gpt2-edited",
		Flags: append(runtimeFlags(),
			&cli.StringFlag{Name: "patch", Usage: "`FILE` that edit --save wrote", EnvVars: env("patch")},
			&cli.StringFlag{Name: "out", Usage: "new model folder `DIR`", EnvVars: env("out")},
		),
		Action: func(c *cli.Context) error {
			if err := errors.Join(noArgs(c), need(c, "patch", "out")); err != nil {
				return err
			}
			if err := writable(c.String("out")); err != nil {
				return err
			}
			return withModel(c, func(ctx context.Context, m opened) error {
				p, meta, err := patch.Load(c.String("patch"), edit.Decoders(all.Methods()))
				if err != nil {
					return err
				}
				if err := m.Fits(p, meta); err != nil {
					return err
				}
				if err := m.Export(ctx, p, c.String("out")); err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.App.Writer, "%s: %s with %d edits of %s\n", c.String("out"), m.Name(), len(p.Edits), p.Method)
				return err
			})
		},
	}
}
