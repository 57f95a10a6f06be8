package pretrain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"editpipe/file"
	"editpipe/ort"
	"editpipe/tensor"
	"editpipe/tensor/safetensors"
	"editpipe/token"
	"editpipe/train"
)

// Plan is everything that decides the trained weights, besides the number of
// threads.
type Plan struct {
	Size  Size    `json:"size"`
	Seed  uint64  `json:"seed"`
	Steps int     `json:"steps"`
	Turn  int     `json:"turn"`  // the first step whose episodes are of the Second mix
	Rate  float64 `json:"rate"`  // the highest learning rate
	Decay float64 `json:"decay"` // AdamW's weight decay, of matrices
}

// Schedule of the learning rate: it rises over warmUp steps, stays, and falls in
// a straight line to lastRate of its height over the last part of the steps (Hu et
// al. 2024, MiniCPM, section 4).
const (
	warmUp   = 200
	falling  = 0.28
	lastRate = 0.02
)

func (p Plan) rate(step int) float64 {
	left := float64(p.Steps-step) / (falling * float64(p.Steps))
	return p.Rate * min(float64(step+1)/warmUp, 1, lastRate+(1-lastRate)*left)
}

// adam is Adam with a shorter memory of squares than usual, as the gradients of a
// small model change fast.
func (p Plan) adam() train.Adam {
	a := train.NewAdam(p.Rate)
	a.Beta2, a.Decay, a.Decoupled = 0.98, p.Decay, true
	return a
}

// Names of the files in a training folder besides the tokenizer's.
const (
	planFile  = "plan.json"
	stateFile = "state.safetensors"
)

// Parts of a weight's state in stateFile.
const (
	meanPart   = "mean/"
	squarePart = "square/"
)

// A Training is a folder with a model that is being trained.
type Training struct {
	Dir       string
	Plan      Plan
	Facts     *Facts
	Tokenizer *token.Tokenizer
	end       int64
}

// sampleDocuments is the size of the text that the vocabulary is learned from.
const sampleDocuments = 30000

// Begin makes a training folder, or opens the one that is there. ErrOtherPlan is
// returned where that one was made for another plan.
func Begin(dir string, p Plan) (*Training, error) {
	f, err := Load()
	if err != nil {
		return nil, err
	}
	t := &Training{Dir: dir, Plan: p, Facts: f}
	var have Plan
	data, err := os.ReadFile(filepath.Join(dir, planFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := t.create(); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, fmt.Errorf("pretrain: opening the training: %w", err)
	default:
		if err := json.Unmarshal(data, &have); err != nil {
			return nil, fmt.Errorf("pretrain: opening the training: %s: %w", planFile, err)
		}
		if have != p {
			return nil, fmt.Errorf("%w: %s holds %+v, wanted %+v; remove the folder or give another", ErrOtherPlan, dir, have, p)
		}
	}
	if t.Tokenizer, err = token.Open(filepath.Join(dir, "tokenizer.json")); err != nil {
		return nil, fmt.Errorf("pretrain: opening the training: %w", err)
	}
	id, ok := t.Tokenizer.ID(End)
	if !ok || t.Tokenizer.VocabSize() > p.Size.Vocab {
		return nil, fmt.Errorf("pretrain: opening the training: the tokenizer in %s is not this plan's", dir)
	}
	t.end = id
	return t, nil
}

// ErrOtherPlan says that a training folder was begun with another plan.
var ErrOtherPlan = errors.New("pretrain: the training in this folder follows another plan")

// create learns the vocabulary and writes the folder; the plan comes last, as
// the sign that the rest is there.
func (t *Training) create() error {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return fmt.Errorf("pretrain: making the training folder: %w", err)
	}
	var texts []string
	r := source(t.Plan.Seed, vocabularyStream)
	for range sampleDocuments {
		texts = append(texts, t.Facts.Document(r, First()).Text)
	}
	v, err := LearnBPE(texts, t.Plan.Size.Vocab)
	if err != nil {
		return err
	}
	files, err := v.Files(t.Plan.Size.Context)
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := file.Write(filepath.Join(t.Dir, name), data); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(t.Plan, "", "  ")
	if err != nil {
		return fmt.Errorf("pretrain: %w", err)
	}
	return file.Write(filepath.Join(t.Dir, planFile), append(data, '\n'))
}

// state is the last checkpoint, or the initial weights.
func (t *Training) state() (train.State, error) {
	all, meta, err := safetensors.Read(filepath.Join(t.Dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		w, err := t.Plan.Size.Initial(t.Plan.Seed)
		return train.State{Weights: w}, err
	}
	if err != nil {
		return train.State{}, fmt.Errorf("pretrain: reading the checkpoint: %w", err)
	}
	s := train.State{Weights: train.Values{}, Means: train.Values{}, Squares: train.Values{}}
	if s.Steps, err = strconv.Atoi(meta["steps"]); err != nil {
		return train.State{}, fmt.Errorf("pretrain: reading the checkpoint: its number of steps: %w", err)
	}
	for name, v := range all {
		if w, ok := strings.CutPrefix(name, meanPart); ok {
			s.Means[w] = v
		} else if w, ok := strings.CutPrefix(name, squarePart); ok {
			s.Squares[w] = v
		} else {
			s.Weights[name] = v
		}
	}
	return s, nil
}

func (t *Training) save(s train.State) error {
	all := map[string]*tensor.Tensor{}
	for w, v := range s.Weights {
		all[w], all[meanPart+w], all[squarePart+w] = v, s.Means[w], s.Squares[w]
	}
	if err := safetensors.Write(filepath.Join(t.Dir, stateFile), all, map[string]string{"steps": strconv.Itoa(s.Steps)}); err != nil {
		return fmt.Errorf("pretrain: writing the checkpoint: %w", err)
	}
	return nil
}

// Weights are the weights of the last checkpoint, and the steps behind them.
func (t *Training) Weights() (train.Values, int, error) {
	s, err := t.state()
	return s.Weights, s.Steps, err
}

// Progress is told after every LogEvery steps, and after a checkpoint.
type Progress struct {
	Step     int     `json:"step"`
	Loss     float64 `json:"loss"` // mean of the steps since the last line
	Norm     float64 `json:"gradient_norm"`
	Rate     float64 `json:"rate"`
	Tokens   int64   `json:"tokens"` // since this process began
	Seconds  float64 `json:"seconds"`
	Measured Scores  `json:"measured,omitempty"`
}

// Options say how a training is carried out; they do not change its result on one
// kind of processor.
type Options struct {
	Threads    int // of measurements; a shard of a step has one
	Provider   ort.Provider
	Checkpoint time.Duration // between two checkpoints
	Progress   func(Progress)
}

const logEvery = 50

// Run trains from the last checkpoint to the plan's last step. When ctx ends it
// stops; what was done since the last checkpoint is done again by the next Run.
func (t *Training) Run(ctx context.Context, env *ort.Env, o Options) error {
	from, err := t.state()
	if err != nil {
		return err
	}
	if from.Steps >= t.Plan.Steps {
		return nil
	}
	d, err := t.descent(ctx, env, from, o)
	if err != nil {
		return err
	}
	defer d.close()
	began, saved := time.Now(), time.Now()
	p := Progress{}
	lines := 0
	for d.Steps < t.Plan.Steps {
		p.Rate = t.Plan.rate(d.Steps)
		loss, norm, used, err := d.step(ctx, p.Rate)
		if err != nil {
			return err
		}
		p.Loss, p.Norm, p.Tokens, lines = p.Loss+loss, p.Norm+norm, p.Tokens+int64(used), lines+1
		checkpoint := d.Steps == t.Plan.Steps || time.Since(saved) >= o.Checkpoint
		if checkpoint {
			if err := t.save(d.State); err != nil {
				return err
			}
			if p.Measured, err = t.Measure(ctx, env, d.Weights, quick, o.Threads); err != nil {
				return err
			}
			saved = time.Now()
		}
		if checkpoint || d.Steps%logEvery == 0 {
			p.Step, p.Seconds = d.Steps, time.Since(began).Seconds()
			p.Loss, p.Norm = p.Loss/float64(lines), p.Norm/float64(lines)
			if o.Progress != nil {
				o.Progress(p)
			}
			p, lines = Progress{Tokens: p.Tokens}, 0
		}
	}
	return nil
}

// Demo is the plan of the embedded model.
func Demo() Plan {
	return Plan{Seed: 1, Steps: 35000, Turn: 16300, Rate: 2.5e-3, Decay: 0.03, Size: Size{Layers: 6, Width: 128, Heads: 4, FFN: 1024, Vocab: 3072, Context: 256}}
}
