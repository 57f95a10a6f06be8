package moments

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"editpipe/edit"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/run"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

const (
	// textsAtOnce is how many texts go to the model together; it sorts them into
	// runs by length.
	textsAtOnce = 64
	// tokensPerSum bounds a float32 sum on the device before it is added to the
	// float64 sum here: rounding stays below 1e-4 of the sum.
	tokensPerSum = 1 << 16
	// saveEvery is how much work a killed collection loses at most, beside one
	// device sum.
	saveEvery = time.Minute
)

// How many keys are taken unless told otherwise: ten for each of a key's elements,
// which were found enough for any of the methods' uses, but no fewer than
// leastKeys: in a narrow model neurons that stand for single facts are active so
// seldom that a short text does not show them, and their moments have no inverse.
const (
	keysPerElement = 10
	leastKeys      = 60000
)

// ErrChanged is returned when a collection cannot go on because the running
// text is not the one it began with.
var ErrChanged = errors.New("the running text has changed")

// partialFile keeps the sums of an unfinished collection.
const partialFile = "moments.partial.npz"

// Arrays of partialFile beside one sum for each layer.
const (
	arrayTexts  = "texts"  // texts read
	arrayTokens = "tokens" // tokens among them
	arrayDigest = "digest" // SHA-256 of those texts
	arrayPlan   = "plan"   // what was being collected
)

func arrayLayer(l int) string { return fmt.Sprintf("sum.layer%d", l) }

// Prepare collects second moments of the keys of layers over running
// text and writes to folder out a file of moments and one of their factor for
// each layer, as ReadFactored reads them. tokens 0 takes ten times the width of
// a key, at least 60,000. A collection that was cut short goes on where it last saved its sums,
// and ends in the same bytes.
func Prepare(ctx context.Context, layers []int, tokens int64, in edit.PrepareEnv, out string) error {
	c := &collection{lm: in.LM, layers: layers, perSum: tokensPerSum, saveEvery: saveEvery}
	moments, err := c.collect(ctx, tokens, in, filepath.Join(out, partialFile))
	if err != nil {
		return err
	}
	for i, l := range layers {
		path := filepath.Join(out, File(l))
		if err := moments[i].Write(path); err != nil {
			return err
		}
		// From the file, as every later reader takes it.
		m, err := Read(path)
		if err != nil {
			return err
		}
		if err := keepFactor(path, m); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(out, partialFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("moments: removing the sums of a finished collection: %w", err)
	}
	return nil
}

// collection is a collection under way.
type collection struct {
	lm     *models.LM
	layers []int
	plan   string // what decides the sums beside the texts
	texts  int64
	tokens int64
	digest []byte      // of the texts in the sums
	sums   [][]float64 // by layer

	perSum    int64 // tokens
	saveEvery time.Duration
}

// collect takes second moments of the keys of all layers in one pass over
// texts, each cut to the model's context, until there are enough tokens.
func (c *collection) collect(ctx context.Context, tokens int64, in edit.PrepareEnv, partial string) ([]*Moments, error) {
	lm, layers := c.lm, c.layers
	bad := func(err error) ([]*Moments, error) {
		return nil, fmt.Errorf("moments: collecting second moments: %w", err)
	}
	if in.Texts == nil {
		return bad(errors.New("no running text was given to take them over"))
	}
	sites := make([]arch.Site, len(layers))
	widest := 0
	for i, l := range layers {
		f := lm.Info().FFN(arch.Decoder, l)
		if f == nil {
			return bad(fmt.Errorf("%w: the model has no layer %d", ErrMisfit, l))
		}
		sites[i] = arch.Site{Layer: l, Point: arch.FFNAct}
		c.sums = append(c.sums, make([]float64, f.Down.In*f.Down.In))
		widest = max(widest, f.Down.In)
	}
	if tokens == 0 {
		tokens = max(keysPerElement*int64(widest), leastKeys)
	}
	c.plan = fmt.Sprintf("model %s layers %v tokens %d", lm.Hash(), layers, tokens)
	if err := c.resume(partial); err != nil {
		return bad(err)
	}
	gram, err := activation.OpenSums(ctx, lm, sites...)
	if err != nil {
		return bad(err)
	}
	defer gram.Close()
	if err := c.run(ctx, gram, in, tokens, partial); err != nil {
		return bad(err)
	}
	out := make([]*Moments, len(layers))
	for i, l := range layers {
		m := &Moments{Width: lm.Info().FFN(arch.Decoder, l).Down.In, Count: c.tokens, C: c.sums[i], Model: lm.Hash()}
		if m.Count < int64(m.Width) {
			return bad(fmt.Errorf("%w: the texts have %d tokens, keys of layer %d have %d elements; give more text", ErrSingular, m.Count, l, m.Width))
		}
		for j := range m.C {
			m.C[j] /= float64(m.Count)
		}
		out[i] = m
	}
	return out, nil
}

// run reads texts until the sums are over enough tokens.
func (c *collection) run(ctx context.Context, gram *activation.Sums, in edit.PrepareEnv, tokens int64, partial string) error {
	next, stop := iter.Pull2(in.Texts)
	defer stop()
	digest := sha256.New()
	read := func() (string, bool, error) {
		text, err, ok := next()
		if ok && err == nil {
			fmt.Fprintf(digest, "%d\n%s", len(text), text)
		}
		return text, ok, err
	}
	for range c.texts {
		if _, ok, err := read(); err != nil {
			return err
		} else if !ok {
			break
		}
	}
	if c.texts > 0 && string(digest.Sum(nil)) != string(c.digest) {
		return fmt.Errorf("%w: %s holds the sums of another; give the first text again, or remove the file to begin anew", ErrChanged, partial)
	}
	texts, counted, saved := c.texts, c.tokens, time.Now()
	var waiting [][]int64
	onDevice := int64(0)
	for more := true; more; {
		text, ok, err := read()
		if err != nil {
			return err
		}
		if ok {
			ids, _, err := run.Prompt(c.lm, text)
			if err != nil {
				return err
			}
			if n := c.lm.Context(); n > 0 {
				ids = ids[:min(len(ids), n)]
			}
			waiting = append(waiting, ids)
			texts, counted, onDevice = texts+1, counted+int64(len(ids)), onDevice+int64(len(ids))
		}
		more = ok && counted < tokens
		if more && len(waiting) < textsAtOnce {
			continue
		}
		if err := gram.Add(ctx, waiting); err != nil {
			return err
		}
		waiting = waiting[:0]
		if more && onDevice < c.perSum {
			continue
		}
		if err := c.take(ctx, gram); err != nil {
			return err
		}
		c.texts, c.tokens, c.digest, onDevice = texts, counted, digest.Sum(nil), 0
		if in.Progress != nil {
			in.Progress(c.tokens, tokens)
		}
		if more && time.Since(saved) > c.saveEvery {
			if err := c.save(partial); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	return nil
}

// take adds the device's sums to those here.
func (c *collection) take(ctx context.Context, gram *activation.Sums) error {
	sums, err := gram.Take(ctx)
	if err != nil {
		return err
	}
	for i, s := range sums {
		for j, x := range s.Float32s() {
			c.sums[i][j] += float64(x)
		}
	}
	return nil
}

// save writes what resume reads.
func (c *collection) save(path string) error {
	arrays := map[string]*tensor.Tensor{
		arrayTexts: tensor.FromInt64s([]int64{c.texts}, 1), arrayTokens: tensor.FromInt64s([]int64{c.tokens}, 1),
		arrayDigest: bytesOf(c.digest), arrayPlan: bytesOf([]byte(c.plan)),
	}
	for i, l := range c.layers {
		t := tensor.New(tensor.F64, len(c.sums[i]))
		copy(t.Float64s(), c.sums[i])
		arrays[arrayLayer(l)] = t
	}
	return npz.Write(path, arrays)
}

// resume takes over the sums of a collection that was cut short; those of
// another model, other layers or another number of tokens are passed over.
func (c *collection) resume(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	arrays, err := npz.Read(path)
	if err != nil {
		return fmt.Errorf("reading an unfinished collection: %w; remove the file to begin anew", err)
	}
	if p := arrays[arrayPlan]; p == nil || string(p.Data) != c.plan {
		return nil
	}
	damaged := fmt.Errorf("reading an unfinished collection: %s: %w: it is damaged; remove the file to begin anew", path, ErrMisfit)
	for _, name := range []string{arrayTexts, arrayTokens} {
		if n := arrays[name]; n == nil || n.DType != tensor.I64 || n.Len() != 1 {
			return damaged
		}
	}
	if arrays[arrayDigest] == nil {
		return damaged
	}
	for i, l := range c.layers {
		t := arrays[arrayLayer(l)]
		if t == nil || t.DType != tensor.F64 || t.Len() != len(c.sums[i]) || !t.Finite() {
			return damaged
		}
		copy(c.sums[i], t.Float64s())
	}
	c.texts, c.tokens, c.digest = arrays[arrayTexts].Int64s()[0], arrays[arrayTokens].Int64s()[0], arrays[arrayDigest].Data
	return nil
}

func bytesOf(b []byte) *tensor.Tensor {
	t := tensor.New(tensor.U8, len(b))
	copy(t.Data, b)
	return t
}
