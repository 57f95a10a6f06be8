package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"editpipe/demo"
	"editpipe/stages"
	"editpipe/store"
)

func dataFlag() cli.Flag {
	return &cli.StringFlag{Name: "data", Usage: "data set `DIR` that import or generate wrote (default: the embedded demo data)", EnvVars: env("data")}
}

// openData reads the data set --data names, or the embedded one.
func openData(c *cli.Context) (stages.Data, error) {
	dir := c.String("data")
	if dir == "" {
		dir, err := embeddedFolder()
		if err != nil {
			return stages.Data{}, err
		}
		records, err := demo.Load(c.Context, dir)
		return stages.Data{Name: demo.Name, Records: records}, err
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return stages.Data{}, usagef("--data %s is a file: read it into a data set folder with editpipe import first", dir)
	}
	records, m, err := store.ReadDataset(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return stages.Data{}, fmt.Errorf("--data %s is no data set folder, as import and generate write them: %w", dir, err)
	}
	if err != nil {
		return stages.Data{}, err
	}
	if len(records) == 0 {
		return stages.Data{}, fmt.Errorf("--data %s holds no edits: import or generate it again", dir)
	}
	return stages.Data{Name: m.Name, Records: records}, nil
}
