// Package store keeps what an evaluation produces: Parquet tables, the folder
// of a run with its manifest and ledger, and the folder of a data set.
//
// It is the only package that reads and writes Parquet. A table is a slice of
// structs whose parquet tags are its columns; embedded structs are flat. The
// package does not know which tables a run has. A list column is a standard
// three-level LIST that is never NULL, so a nil and an empty slice are the
// same, and both are read back as an empty slice that is not nil. A column that
// may be NULL is a pointer or has the tag optional, which for a plain string
// makes "" and NULL the same.
//
// Files are written whole: next to their place, made durable, then renamed. A
// file that is not as expected gives an error that names the file and the
// column.
package store

import "errors"

// SchemaVersion counts changes to the meaning of columns, of the manifest and
// of the ledger; it is written into every file.
const SchemaVersion = "1"

// Errors of reading and writing; each comes wrapped with the file.
var (
	// ErrCorrupt is returned when a file is no Parquet file, is cut short or has damaged pages.
	ErrCorrupt = errors.New("not a whole Parquet file")
	// ErrColumn is returned when a file lacks a required column, or has it in another type.
	ErrColumn = errors.New("columns do not fit")
	// ErrNotFinite is returned when a row to be written holds NaN or an infinity:
	// readers would trust statistics that leave such values out. A number that
	// does not exist is NULL.
	ErrNotFinite = errors.New("number is not finite")
)
