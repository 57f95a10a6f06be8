package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"reflect"

	"editpipe/dataset"
	"editpipe/file"
)

// ErrRecord is returned, with the id, when edits and probes do not make up records.
var ErrRecord = errors.New("edits and probes do not fit together")

// ErrRun is returned for a data set that is to be written into a run folder,
// whose manifest it would replace.
var ErrRun = errors.New("is a run folder: name another for the data set")

// RefuseRun returns ErrRun if dir is a run folder.
func RefuseRun(dir string) error {
	var other *MismatchError
	if _, err := OpenRun(dir); err == nil || errors.As(err, &other) {
		return fmt.Errorf("store: %s %w", filepath.Clean(dir), ErrRun)
	}
	return nil
}

// IsFolder says whether dir is a folder of a run, of a data set or of a knowledge
// base. Another program may have a manifest.json too: it is no such folder.
func IsFolder(dir string) bool {
	if file.Exists(filepath.Join(dir, editsName)) {
		return true
	}
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	var m struct {
		SchemaVersion string `json:"schema_version"`   // of a run and of a data set
		Catalogue     string `json:"catalogue_sha256"` // of what kb build and generate wrote
	}
	return err == nil && json.Unmarshal(data, &m) == nil && m.SchemaVersion+m.Catalogue != ""
}

const (
	editsName  = "edits.parquet"
	probesName = "probes.parquet"
)

// DatasetManifest says where a data set comes from. It is the manifest.json of
// a data set folder.
type DatasetManifest struct {
	SchemaVersion string `json:"schema_version"` // set by WriteDataset
	Name          string `json:"name"`
	Source        string `json:"source,omitempty"` // format or generator it was made from
	File          string `json:"file,omitempty"`   // what was read
	Version       string `json:"version,omitempty"`

	Hash   string `json:"hash"` // of the rows; see HashRecords; set by WriteDataset
	Edits  int    `json:"edits"`
	Probes int    `json:"probes"`
}

// WriteDataset writes a data set folder: edits.parquet, probes.parquet and
// manifest.json, which goes last. It makes the folder where there is none. It
// returns ErrRecord for records that ReadDataset would refuse.
func WriteDataset(dir string, records []dataset.Record, m DatasetManifest) error {
	if err := RefuseRun(dir); err != nil {
		return err
	}
	var edits []dataset.Edit
	var probes []dataset.Probe
	for _, r := range records {
		for _, p := range r.Probes {
			if p.EditID != r.Edit.ID {
				return fmt.Errorf("store: writing %s: %w: probe %s of edit %s says that it belongs to %q", dir, ErrRecord, p.ID, r.Edit.ID, p.EditID)
			}
		}
		edits = append(edits, r.Edit)
		probes = append(probes, r.Probes...)
	}
	joined, err := join(edits, probes)
	if err != nil {
		return fmt.Errorf("store: writing %s: %w", dir, err)
	}
	m.SchemaVersion = SchemaVersion
	m.Hash, m.Edits, m.Probes = HashRecords(joined), len(edits), len(probes)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("store: writing %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("store: writing data set: %w", err)
	}
	meta := map[string]string{"dataset": m.Name, "dataset_hash": m.Hash}
	if err := Write(filepath.Join(dir, editsName), edits, meta); err != nil {
		return err
	}
	if err := Write(filepath.Join(dir, probesName), probes, meta); err != nil {
		return err
	}
	return file.Write(filepath.Join(dir, manifestName), b.Bytes())
}

// ReadDataset reads a data set folder: its records in the order of the edits,
// and its manifest. A folder without manifest.json is named by the folder; hash
// and counts are those of the rows that are there, whatever the manifest says.
// It returns ErrRecord, naming the id, where a probe has no edit or an id comes twice.
func ReadDataset(dir string) ([]dataset.Record, DatasetManifest, error) {
	m := DatasetManifest{SchemaVersion: SchemaVersion, Name: filepath.Base(filepath.Clean(dir))}
	path := filepath.Join(dir, manifestName)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, m, fmt.Errorf("store: reading data set: %w", err)
	default:
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, m, fmt.Errorf("store: reading %s: %w", path, err)
		}
	}
	edits, err := Read[dataset.Edit](filepath.Join(dir, editsName))
	if err != nil {
		return nil, m, err
	}
	probes, err := Read[dataset.Probe](filepath.Join(dir, probesName))
	if err != nil {
		return nil, m, err
	}
	records, err := join(edits, probes)
	if err != nil {
		return nil, m, fmt.Errorf("store: reading %s: %w", dir, err)
	}
	m.Hash, m.Edits, m.Probes = HashRecords(records), len(edits), len(probes)
	return records, m, nil
}

// join puts probes to their edits, in the order of both.
func join(edits []dataset.Edit, probes []dataset.Probe) ([]dataset.Record, error) {
	records := make([]dataset.Record, len(edits))
	at := make(map[dataset.EditID]int, len(edits))
	for i, e := range edits {
		if e.ID == "" {
			return nil, fmt.Errorf("%w: edit %d has no id", ErrRecord, i)
		}
		if first, ok := at[e.ID]; ok {
			return nil, fmt.Errorf("%w: edits %d and %d have the same id %s", ErrRecord, first, i, e.ID)
		}
		at[e.ID] = i
		records[i].Edit = e
	}
	seen := make(map[dataset.ProbeID]bool, len(probes))
	for i, p := range probes {
		if p.ID == "" || seen[p.ID] {
			return nil, fmt.Errorf("%w: probe %d has no id or one that came before: %q", ErrRecord, i, p.ID)
		}
		seen[p.ID] = true
		to, ok := at[p.EditID]
		if !ok {
			return nil, fmt.Errorf("%w: probe %s belongs to edit %q, which is not in %s", ErrRecord, p.ID, p.EditID, editsName)
		}
		records[to].Probes = append(records[to].Probes, p)
	}
	return records, nil
}

// HashRecords returns the SHA-256, in hexadecimal, of a data set's rows. It does
// not depend on the files they lie in, nor on columns that hold nothing, so that
// a column added later changes no hash of a set that lacks it.
func HashRecords(records []dataset.Record) string {
	h := &rowHash{Hash: sha256.New()}
	for i := range records {
		h.structure(reflect.ValueOf(&records[i].Edit).Elem())
		h.number(uint64(len(records[i].Probes)))
		for j := range records[i].Probes {
			h.structure(reflect.ValueOf(&records[i].Probes[j]).Elem())
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// rowHash writes values so that different rows give different bytes: every
// text and list comes behind its length.
type rowHash struct {
	hash.Hash
	buf []byte
}

func (h *rowHash) number(n uint64) {
	h.buf = binary.LittleEndian.AppendUint64(h.buf[:0], n)
	h.Write(h.buf)
}

func (h *rowHash) text(s string) {
	h.number(uint64(len(s)))
	h.buf = append(h.buf[:0], s...)
	h.Write(h.buf)
}

func (h *rowHash) structure(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 {
			continue
		}
		h.text(columnName(v.Type().Field(i)))
		h.value(f)
	}
	h.text("") // no column has this name: the row ends
}

func (h *rowHash) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		h.text(v.String())
	case reflect.Int32, reflect.Int64:
		h.number(uint64(v.Int()))
	case reflect.Bool:
		if v.Bool() {
			h.number(1)
		} else {
			h.number(0)
		}
	case reflect.Slice:
		h.number(uint64(v.Len()))
		for i := range v.Len() {
			h.value(v.Index(i))
		}
	case reflect.Struct:
		h.structure(v)
	default:
		// Only the row types of package dataset come here.
		panic(fmt.Sprintf("store: hashing a column of type %v", v.Type()))
	}
}
