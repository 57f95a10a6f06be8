package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"editpipe/dataset"
	"editpipe/demo"
	"editpipe/store"
)

func dataFlag() cli.Flag {
	return &cli.StringFlag{Name: "data", Usage: "data set `DIR` that import or generate wrote (default: the embedded demo data)", EnvVars: env("data")}
}

// openData reads the data set --data names, or the embedded one.
func openData(c *cli.Context) (dataset.Data, error) {
	dir := c.String("data")
	if dir == "" {
		dir, err := embeddedFolder()
		if err != nil {
			return dataset.Data{}, err
		}
		records, err := demo.Load(c.Context, dir)
		return dataset.Data{Name: demo.Name, Records: records}, err
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return dataset.Data{}, usagef("--data %s is a file: read it into a data set folder with editpipe import first", dir)
	}
	records, m, err := store.ReadDataset(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dataset.Data{}, fmt.Errorf("--data %s is no data set folder, as import and generate write them: %w", dir, err)
	}
	if err != nil {
		return dataset.Data{}, err
	}
	if len(records) == 0 {
		return dataset.Data{}, fmt.Errorf("--data %s holds no edits: import or generate it again", dir)
	}
	return dataset.Data{Name: m.Name, Records: records}, nil
}
