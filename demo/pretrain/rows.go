package pretrain

import (
	"fmt"
	"math"
	"math/rand/v2"

	"editpipe/tensor"
	"editpipe/token"
)

// Shape of a step.
const (
	shards      = 2 // parts of a step that are computed side by side
	shardTokens = 520
	shortRow    = 96  // row length of most steps
	longRow     = 256 // row length of steps with rows of demonstrations
	longEvery   = 8   // one step in so many has long rows
	mostDemos   = 9
	patience    = 16   // documents in a row that fit nowhere before a step is full
	otherShare  = 0.12 // of the places of a document that are neither answer nor end, so many count
	endShare    = 0.4
)

// enough is the probability of a right answer from memory beyond which it teaches
// no more. Facts that are stated over and over would be known ever more firmly, and
// those of reserved subjects more firmly than any new fact in the context can
// outweigh, as no episode ever contradicts them.
const enough = 0.9

// sample is a tokenized document: ids, how often each counts as a target, and how
// probable targets need become.
type sample struct {
	ids   []int64
	count []int
	goal  float64
}

// tokens makes the sample of a document, End included. Answers count in full;
// of the rest a random part does, which is as good as a small weight and spares
// the others the way through the vocabulary.
func tokens(t *token.Tokenizer, d Document, end int64, r *rand.Rand) (sample, error) {
	e, err := t.Encode(d.Text)
	if err != nil {
		return sample{}, fmt.Errorf("pretrain: encoding %q: %w", d.Text, err)
	}
	s := sample{ids: append(e.IDs, end), goal: enough}
	if d.Kind == Override {
		s.goal = 1
	}
	for _, span := range e.Spans {
		counts := 0
		if r.Float64() < otherShare {
			counts = 1
		}
		for _, a := range d.Answers {
			if span.End > a[0] && span.Start < a[1] {
				counts = d.Weight
			}
		}
		s.count = append(s.count, counts)
	}
	s.count = append(s.count, 0)
	if r.Float64() < endShare {
		s.count[len(e.IDs)] = 1
	}
	return s, nil
}

// rows packs samples into rows of a length.
type rows struct {
	count, length int
	free          []int // places left in each row
	documents     []int64
	ids           []int64
	places        []int64
	numbers       []int64
	targets       []int64
	picked        []int64   // places whose targets count
	goals         []float32 // log-probabilities beyond which they teach no more
	used          int
}

func newRows(count, length int, end int64) *rows {
	n := count * length
	p := &rows{count: count, length: length, free: make([]int, count), documents: make([]int64, count), ids: make([]int64, n),
		places: make([]int64, n), numbers: make([]int64, n), targets: make([]int64, n)}
	for i := range p.free {
		p.free[i] = length
	}
	for i := range p.ids {
		p.ids[i] = end // padding: document 0 of its row, without weight
	}
	return p
}

// add puts a sample into the first row with room for it and returns where it
// begins, or -1. A document begins at position 0 and does not see its
// neighbours: it is what the model sees when it is asked.
func (p *rows) add(s sample) int {
	n := len(s.ids) - 1 // the last token is a target only
	for r := range p.count {
		if p.free[r] < n {
			continue
		}
		at := (r+1)*p.length - p.free[r]
		p.free[r] -= n
		p.documents[r]++
		for i := range n {
			p.ids[at+i], p.places[at+i], p.numbers[at+i] = s.ids[i], int64(i), p.documents[r]
			p.targets[at+i] = s.ids[i+1]
			for range s.count[i+1] {
				p.picked, p.goals = append(p.picked, int64(at+i)), append(p.goals, float32(math.Log(s.goal)))
			}
		}
		p.used += n
		return at
	}
	return -1
}

// feed are the inputs of the graph for measurements.
func (p *rows) feed() map[string]*tensor.Tensor {
	return map[string]*tensor.Tensor{
		inIDs:       tensor.FromInt64s(p.ids, p.count, p.length),
		inPlaces:    tensor.FromInt64s(p.places, p.count, p.length),
		inDocuments: tensor.FromInt64s(p.numbers, p.count, p.length),
	}
}

// step are the inputs of the training graph.
func (p *rows) step() map[string]*tensor.Tensor {
	in := p.feed()
	targets := make([]int64, len(p.picked))
	for i, at := range p.picked {
		targets[i] = p.targets[at]
	}
	in[inPicked] = tensor.FromInt64s(p.picked, len(targets))
	in[inGoals] = tensor.FromFloat32s(p.goals, len(targets), 1)
	in[inTargets] = tensor.FromInt64s(targets, len(targets), 1)
	return in
}

// batch draws the rows of a shard of a step.
func (f *Facts) batch(t *token.Tokenizer, end int64, plan Plan, step, shard int) (*rows, error) {
	r := rand.New(rand.NewPCG(plan.Seed, uint64(step*shards+shard)))
	m := First()
	if step >= plan.Turn {
		m = Second()
	}
	length := shortRow
	if step%longEvery == longEvery-1 {
		length = longRow
	}
	p := newRows(shardTokens/length, length, end)
	for misses := 0; misses < patience; {
		var d Document
		if length == longRow && r.IntN(4) > 0 {
			d = f.Demonstrations(r, m, 2+r.IntN(mostDemos-1))
		} else {
			d = f.Document(r, m)
		}
		s, err := tokens(t, d, end, r)
		if err != nil {
			return nil, err
		}
		if p.add(s) < 0 {
			misses++
		}
	}
	return p, nil
}
