package importer

import (
	"errors"
	"fmt"
	"strings"

	"editpipe/dataset/importer/rows"
)

// Errors of importing.
var (
	// ErrMissing is returned when a required field is absent, null or blank.
	ErrMissing = errors.New("required field is missing or blank")
	// ErrEmpty is returned when a file holds no records.
	ErrEmpty = rows.ErrEmpty
	// ErrLanguage is returned where the language to read is not clear: the file has
	// several and none was named, it lacks the one that was, or its format has no
	// choice.
	ErrLanguage = errors.New("language")
	// ErrPool is returned when a file of choices is opened as a data set: it
	// holds questions but no edits. ReadChoices reads it, AttachChoices joins
	// its questions to the records of a data set.
	ErrPool = errors.New("file holds questions with choices but no edits: read it as a pool and attach it to a data set")
)

// FormatError is returned when a file is not of the format it was opened as.
type FormatError struct {
	File  string
	Want  string   // the format asked for; empty when detecting
	Looks string   // what the file looks like, in words; empty if nothing is recognised
	Keys  []string // top-level keys of its first record, if one can be read
	Fault error    // why none can be read; nil if one can
}

func (e *FormatError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "importer: %s: ", e.File)
	if e.Want != "" {
		fmt.Fprintf(&b, "not a %s file", e.Want)
	} else {
		b.WriteString("format not recognised")
	}
	switch {
	case e.Looks != "":
		fmt.Fprintf(&b, "; it looks like %s", e.Looks)
	case len(e.Keys) > 0:
		fmt.Fprintf(&b, "; its first record has the fields %s", strings.Join(e.Keys, ", "))
	case e.Fault != nil:
		fmt.Fprintf(&b, "; its first record cannot be read: %v", e.Fault)
	default:
		b.WriteString("; its first record has no fields")
	}
	return b.String()
}
