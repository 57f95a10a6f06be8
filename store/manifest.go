package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Manifest says what a run folder is about and what made it. It is manifest.json.
type Manifest struct {
	SchemaVersion string    `json:"schema_version"` // set by CreateRun
	RunID         string    `json:"run_id"`         // derived from what the run is about where it is empty
	ToolVersion   string    `json:"tool_version"`
	Created       time.Time `json:"created"`

	Model          ModelInfo   `json:"model"`
	Dataset        DatasetInfo `json:"dataset"`
	Provider       string      `json:"provider"`        // with its options
	RuntimeVersion string      `json:"runtime_version"` // of the shared library
	DType          string      `json:"dtype"`
	ProtocolID     string      `json:"protocol_id"`
	Seed           int64       `json:"seed"`

	Methods  []MethodInfo `json:"methods"`
	Settings []string     `json:"settings"`
	Commands []Command    `json:"commands"` // in the order they were first given

	Device string `json:"device,omitempty"` // what the provider ran on
	Host   Host   `json:"host"`             // of the process that made the folder
}

// ModelInfo names a model.
type ModelInfo struct {
	Name          string `json:"name"`
	Path          string `json:"path"`
	Family        string `json:"family"`
	Hash          string `json:"hash"` // graph, weights and configuration
	TokenizerHash string `json:"tokenizer_hash"`
}

// DatasetInfo names a data set.
type DatasetInfo struct {
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"`
	Hash   string `json:"hash"` // of all its rows, whatever part of it is asked
	Edits  int    `json:"edits"`
	Probes int    `json:"probes"`
}

// MethodInfo is a method with its effective configuration.
type MethodInfo struct {
	Name       string            `json:"name"`
	Config     map[string]string `json:"config,omitempty"`
	ConfigHash string            `json:"config_hash"`
}

// Command is one command given for the run.
type Command struct {
	At     time.Time         `json:"at"`
	Args   []string          `json:"args"`
	Config map[string]string `json:"config,omitempty"` // effective values of all flags
}

// Host is the machine a run was made on.
type Host struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Cores  int    `json:"cores"`            // logical processors this process may use
	Memory *int64 `json:"memory,omitempty"` // bytes; null where the system does not tell
}

// ThisHost returns the facts of this machine.
func ThisHost() Host {
	h := Host{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU()}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return h // only Linux has it
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				b := kib << 10
				h.Memory = &b
			}
		}
	}
	return h
}

// MismatchError is returned when a run folder is about something else than what
// is asked of it.
type MismatchError struct {
	Dir   string
	Field string // e.g. model hash
	Have  string // in the folder
	Want  string // of the command
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("store: run folder %s has %s %q, this command has %q: use another --out, or --fresh to start it over", e.Dir, e.Field, e.Have, e.Want)
}

// about lists what may not change within a run: rows that differ in it cannot
// stand in one table of results.
func (m *Manifest) about() [][2]string {
	return [][2]string{
		{"model hash", m.Model.Hash},
		{"tokenizer hash", m.Model.TokenizerHash},
		{"data set hash", m.Dataset.Hash},
		{"protocol", m.ProtocolID},
		{"provider", m.Provider},
		{"runtime version", m.RuntimeVersion},
		{"dtype", m.DType},
		{"seed", strconv.FormatInt(m.Seed, 10)},
	}
}

// derivedID is a run id that equal commands share, so that shards made in
// folders of their own can be merged.
func (m *Manifest) derivedID() string {
	h := sha256.New()
	for _, f := range m.about() {
		fmt.Fprintf(h, "%s=%q\n", f[0], f[1])
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// extend adds what a further command brings. It returns a MismatchError where
// that command is about something else.
func (m *Manifest) extend(dir string, by Manifest) error {
	have, want := m.about(), by.about()
	for i := range have {
		if have[i][1] != want[i][1] {
			return &MismatchError{dir, have[i][0], have[i][1], want[i][1]}
		}
	}
	if by.RunID != "" && by.RunID != m.RunID {
		return &MismatchError{dir, "run id", m.RunID, by.RunID}
	}
	for _, n := range by.Methods {
		i := slices.IndexFunc(m.Methods, func(o MethodInfo) bool { return o.Name == n.Name })
		if i < 0 {
			m.Methods = append(m.Methods, n)
		} else if have := m.Methods[i].ConfigHash; have != n.ConfigHash {
			return &MismatchError{dir, "configuration of " + n.Name, have, n.ConfigHash}
		}
	}
	for _, s := range by.Settings {
		if !slices.Contains(m.Settings, s) {
			m.Settings = append(m.Settings, s)
		}
	}
	for _, c := range by.Commands {
		if !slices.ContainsFunc(m.Commands, func(o Command) bool { return slices.Equal(o.Args, c.Args) }) {
			m.Commands = append(m.Commands, c)
		}
	}
	return nil
}

// bytes encodes the manifest.
func (m *Manifest) bytes() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(m)
	return b.Bytes(), err
}
