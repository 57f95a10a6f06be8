package locate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"editpipe/file"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/models/run"
	"editpipe/tensor"
)

// ContextsFile is the file of contexts that preparing a method writes.
const ContextsFile = "contexts.json"

// slot is where the prompt stands in a context.
const slot = "{}"

// bare is the context of a prompt that stands alone.
const bare = slot

// What sampled contexts start with.
const (
	Words     = "words"     // five common words (EasyEdit)
	EndOfText = "endoftext" // the token between texts (Meng et al. 2022)
)

// starters are the words.
func starters() []string { return []string{"The", "Therefore", "Because", "I", "You"} }

const (
	perLength = 10 // contexts of each length
	among     = 5  // most probable tokens that are sampled from
)

// lengths are those of the contexts in tokens, starters included.
func lengths() []int { return []int{5, 10} }

// Contexts samples texts from the unedited model to put prompts behind: 21, the
// first of them empty (Meng et al. 2022, section 3.1). Equal seeds give equal
// contexts.
func Contexts(ctx context.Context, lm *models.LM, start string, seed int64) ([]string, error) {
	return ContextsOf(ctx, lm, start, seed, perLength, lengths()...)
}

// ContextsOf samples, behind the empty context, a number of contexts of each
// length in tokens, starters included, as Contexts does.
func ContextsOf(ctx context.Context, lm *models.LM, start string, seed int64, each int, lengths ...int) ([]string, error) {
	if lm.Tokenizer() == nil {
		return nil, errors.New("locate: sampling contexts: the model has no tokenizer")
	}
	var begin [][]int64
	if start == EndOfText {
		if len(lm.EOS()) == 0 {
			return nil, errors.New("locate: sampling contexts: the model's configuration names no end-of-text token: start with words")
		}
		begin = append(begin, lm.EOS()[:1])
	} else {
		for _, w := range starters() {
			ids, _, err := run.Prompt(lm, w)
			if err != nil {
				return nil, fmt.Errorf("locate: sampling contexts: %w", err)
			}
			begin = append(begin, ids)
		}
	}
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	all := []string{bare}
	for _, length := range lengths {
		var texts [][]int64
		for i := range each {
			texts = append(texts, slices.Clone(begin[i%len(begin)]))
		}
		for {
			if err := extend(ctx, lm, texts, length, random); err != nil {
				return nil, fmt.Errorf("locate: sampling contexts: %w", err)
			}
			if !slices.ContainsFunc(texts, func(t []int64) bool { return len(t) < length }) {
				break
			}
		}
		for _, ids := range texts {
			text, err := lm.Tokenizer().Decode(ids, true)
			if err != nil {
				return nil, fmt.Errorf("locate: sampling contexts: %w", err)
			}
			text = strings.NewReplacer("\n\n", " ", "{", "", "}", "").Replace(text)
			all = append(all, strings.TrimSpace(text)+". "+slot)
		}
	}
	return all, nil
}

// extend adds a token to every text that is shorter than length.
func extend(ctx context.Context, lm *models.LM, texts [][]int64, length int, random *rand.Rand) error {
	var rows []loss.Row
	var short []int
	for i, ids := range texts {
		if len(ids) < length {
			rows = append(rows, loss.Row{IDs: ids, Terms: []loss.Term{{Position: len(ids) - 1}}, Distributions: true})
			short = append(short, i)
		}
	}
	losses, err := loss.At(ctx, lm, []arch.Site{{Point: arch.FFNOut}}, rows)
	if err != nil {
		return err
	}
	for k, l := range losses {
		if l.Err != nil {
			return l.Err
		}
		i := short[k]
		texts[i] = append(texts[i], sample(l.Distributions, random))
	}
	return nil
}

// sample draws one of the most probable tokens.
func sample(logProbs *tensor.Tensor, random *rand.Rand) int64 {
	v := logProbs.Float32s()
	order := make([]int64, len(v))
	for i := range order {
		order[i] = int64(i)
	}
	slices.SortStableFunc(order, func(a, b int64) int {
		switch {
		case v[a] > v[b]:
			return -1
		case v[a] < v[b]:
			return 1
		}
		return 0
	})
	order = order[:min(among, len(order))]
	total := 0.0
	for _, id := range order {
		total += math.Exp(float64(v[id]))
	}
	at := random.Float64() * total
	for _, id := range order {
		if at -= math.Exp(float64(v[id])); at < 0 {
			return id
		}
	}
	return order[len(order)-1]
}

// Texts are the contexts that an editor shows prompts in.
type Texts struct {
	sample func(context.Context) ([]string, error)
	mu     sync.Mutex
	list   []string // nil: not yet sampled
}

// OpenTexts gives the contexts in the file that the configuration names or, where
// it names none, in the one that preparing wrote to the folder of artifacts. Where
// that is not there either, they are sampled when they are first asked for.
func OpenTexts(path, artifacts string, sample func(context.Context) ([]string, error)) (*Texts, error) {
	if prepared := filepath.Join(artifacts, ContextsFile); path == "" && artifacts != "" {
		if _, err := os.Stat(prepared); err == nil {
			path = prepared
		}
	}
	t := &Texts{sample: sample}
	var err error
	if path != "" {
		t.list, err = ReadContexts(path)
	}
	return t, err
}

// All gives the contexts. Several goroutines may ask.
func (t *Texts) All(ctx context.Context) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.list == nil {
		t.list, err = t.sample(ctx)
	}
	return t.list, err
}

// ReadContexts reads a JSON list of contexts, each with one {} for the prompt.
func ReadContexts(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("locate: reading contexts: %w", err)
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("locate: reading contexts: %s: %w; want a JSON list of strings", path, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("locate: reading contexts: %s: the list is empty", path)
	}
	for i, c := range list {
		if strings.Count(c, slot) != 1 {
			return nil, fmt.Errorf("locate: reading contexts: %s: entry %d, %q: want exactly one %s", path, i, c, slot)
		}
	}
	if list[0] != bare {
		return nil, fmt.Errorf("locate: reading contexts: %s: the first entry is %q, want %q, the prompt alone", path, list[0], bare)
	}
	return list, nil
}

// WriteContexts writes what ReadContexts reads.
func WriteContexts(path string, list []string) error {
	data, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return fmt.Errorf("locate: writing contexts: %w", err)
	}
	if err := file.Write(path, append(data, '\n')); err != nil {
		return fmt.Errorf("locate: writing contexts: %w", err)
	}
	return nil
}
