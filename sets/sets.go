// Package sets does the work on data sets as folders of files: it generates a
// set from a knowledge base, imports one from a published file, audits one, and
// converts one to a file that other programs read. Files in, files out; package
// dataset defines what a set contains.
package sets

// Files of a generated data set.
const (
	EditsFile    = "edits.parquet"
	ProbesFile   = "probes.parquet"
	RejectsFile  = "rejects.parquet"
	EntitiesFile = "entities.parquet"
	FactsFile    = "facts.parquet"
	ManifestFile = "manifest.json"
	CardFile     = "README.md"
)
