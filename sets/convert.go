package sets

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/dataset/exporter"
	"editpipe/file"
)

// Convert writes a data set as a file that other programs read: the way back of
// Import.
type Convert struct {
	Records []dataset.Record
	To      string // format, as exporter.Formats names it
	Out     string // file to write
}

// Do writes the file. Edits and questions that the format has no place for are
// left out, and are in the report; ErrNothing is returned, with the report, where
// no edit is left.
func (c Convert) Do() (exporter.Report, error) {
	var b bytes.Buffer
	report, err := exporter.Write(&b, c.To, c.Records)
	if err != nil {
		return report, err
	}
	if report.Records == 0 {
		why := strings.Join(slices.Sorted(maps.Keys(report.Refused)), ", ")
		return report, fmt.Errorf("sets: format %s has no place for edits %s: %w", c.To, why, ErrNothing)
	}
	return report, file.Write(c.Out, b.Bytes())
}
