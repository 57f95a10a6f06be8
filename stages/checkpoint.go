package stages

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"editpipe/file"
	"editpipe/models/patch"
	"editpipe/row"
	"editpipe/store"
)

// CheckpointEdits is the number of edits after which a chain is saved, so that
// a killed run goes on from there.
const CheckpointEdits = 50

// checkpoint is a chain up to an edit. It lies in a folder of its own below the
// run's patches: patch, rows so far and, written last, this as JSON. A folder
// without the JSON file is not whole and is not used.
type checkpoint struct {
	Made   int               `json:"made"`
	Inside int               `json:"inside"`
	TEdit  float64           `json:"t_edit"`
	TAsk   float64           `json:"t_ask"`
	Failed map[int]*recalled `json:"failed"` // by edit
}

// recalled is the failure of an edit as a checkpoint holds it.
type recalled struct {
	Status row.Status `json:"status"`
	Fault  row.Fault  `json:"fault"`
	Detail string     `json:"detail"`
}

func (r *recalled) Error() string { return r.Detail }

// Files of a checkpoint.
const (
	chainFile   = "chain.json"
	patchFile   = "patch.safetensors"
	resultsFile = "results.parquet"
	appliedFile = "applied.parquet"
)

// noted are tensors that patches of older checkpoints hold beside a method's state:
// the efforts of their last step, which rows have.
var noted = []string{"effort.steps", "effort.loss"}

// checkpoints lists the folders of the unit's checkpoints, whole or not, by the
// number of edits made.
func (s *session) checkpoints() (map[int]string, error) {
	entries, err := os.ReadDir(s.folder.PatchDir())
	if err != nil {
		return nil, fmt.Errorf("looking for checkpoints: %w", err)
	}
	found := map[int]string{}
	for _, e := range entries {
		tail, ok := strings.CutPrefix(e.Name(), s.id+"-")
		if made, err := strconv.Atoi(tail); ok && err == nil {
			found[made] = filepath.Join(s.folder.PatchDir(), e.Name())
		}
	}
	return found, nil
}

// save writes a checkpoint and removes older ones.
func (s *session) save(p *patch.Patch, made int) error {
	dir := filepath.Join(s.folder.PatchDir(), fmt.Sprintf("%s-%d", s.id, made))
	if err := os.RemoveAll(dir); err != nil { // left over from a run that was killed here
		return fmt.Errorf("saving a checkpoint: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("saving a checkpoint: %w", err)
	}
	c := checkpoint{Made: made, Inside: s.inside, TEdit: s.tEdit, TAsk: s.tAsk, Failed: map[int]*recalled{}}
	for i, err := range s.errs[:made] {
		if err != nil {
			why := statusOf(err)
			c.Failed[i] = &recalled{why.status, why.fault, why.detail}
		}
	}
	meta := patch.Meta{Model: s.lm.Name(), ModelHash: s.lm.Hash(), TokenizerHash: s.lm.TokenizerHash(), Config: s.combo.config.Map()}
	data, err := json.Marshal(c)
	err = errors.Join(
		err,
		p.Save(filepath.Join(dir, patchFile), meta),
		store.Write(filepath.Join(dir, resultsFile), s.results, nil),
		store.Write(filepath.Join(dir, appliedFile), s.applied, nil),
	)
	if err == nil {
		err = file.Write(filepath.Join(dir, chainFile), data)
	}
	if err != nil {
		return fmt.Errorf("saving a checkpoint: %w", err)
	}
	return s.forget(made)
}

// forget removes the unit's checkpoints except the one after keep edits.
func (s *session) forget(keep int) error {
	found, err := s.checkpoints()
	if err != nil {
		return err
	}
	for made, dir := range found {
		if made == keep {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing a checkpoint: %w", err)
		}
	}
	return nil
}

// resume goes back to the unit's last whole checkpoint: it gives the patch and
// the number of edits made, 0 where there is none.
func (s *session) resume() (*patch.Patch, int, error) {
	found, err := s.checkpoints()
	if err != nil {
		return nil, 0, err
	}
	best := 0
	for made, dir := range found {
		if _, err := os.Stat(filepath.Join(dir, chainFile)); err == nil {
			best = max(best, made)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, 0, fmt.Errorf("looking for checkpoints: %w", err)
		}
	}
	if best == 0 {
		return &patch.Patch{}, 0, nil
	}
	dir := found[best]
	fail := func(err error) (*patch.Patch, int, error) {
		return nil, 0, fmt.Errorf("resuming from checkpoint %s (delete it to start the chain over): %w", dir, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, chainFile))
	if err != nil {
		return fail(err)
	}
	var c checkpoint
	if err := json.Unmarshal(data, &c); err != nil {
		return fail(err)
	}
	p, _, err := patch.Load(filepath.Join(dir, patchFile), s.combo.method.Decoders)
	if err != nil {
		return fail(err)
	}
	for _, name := range noted {
		delete(p.State, name)
	}
	if s.results, err = store.Read[row.Result](filepath.Join(dir, resultsFile)); err != nil {
		return fail(err)
	}
	if s.applied, err = store.Read[row.Applied](filepath.Join(dir, appliedFile)); err != nil {
		return fail(err)
	}
	s.inside, s.tEdit, s.tAsk = c.Inside, c.TEdit, c.TAsk
	for i, err := range c.Failed {
		s.errs[i] = err
	}
	return p, c.Made, nil
}
