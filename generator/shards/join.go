package shards

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"editpipe/file"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// What a row says about other entities (the label of an object, how many
// subjects an object has, how many items share a name) is found by a join on
// disk. Each shard asks its questions under a key, sorted into parts by the key;
// then part after part is read from all shards and answered, sorted by shard;
// then each shard reads its answers. Memory holds one part at a time, and every
// file depends on nothing but the files before it.

// parts is how many parts the questions have. A full dump has some ten gigabytes
// of questions and labels, so a part takes a few hundred megabytes.
const parts = 64

func partOf(key uint64) int { return int(mix(key) >> 58) }

// questions collects a shard's, by part.
type questions [parts][]byte

func (q *questions) add(key uint64, words ...uint64) {
	p := &q[partOf(key)]
	*p = binary.LittleEndian.AppendUint64(*p, key)
	for _, w := range words {
		*p = binary.AppendUvarint(*p, w)
	}
}

// joiner answers some parts of a join. Questions come shard by shard, those of a
// shard in their order; then each shard's answers are asked for.
type joiner interface {
	ask(shard int, in *decoder)
	answer(shard int) []byte
}

// groups is in how many goes the parts are joined: one for each of so many
// entities, so that small dumps are not cut into crumbs.
func (w *work) groups() int { return min(parts, 1+w.state.Entities/perGroup) }

const perGroup = 400_000

// joinGroup answers one group of parts of the questions of a kind.
func (w *work) joinGroup(ctx context.Context, group int, kind, answers string, j joiner) error {
	path := w.path(answers, group)
	if file.Exists(path) {
		return nil
	}
	for part := group * parts / w.groups(); part < (group+1)*parts/w.groups(); part++ {
		for s := range w.shards {
			section, err := readSection(w.path(kind, s), part)
			if err != nil {
				return err
			}
			in := decoder{rest: string(section)}
			for in.rest != "" {
				j.ask(s, &in)
			}
			if in.bad {
				return fmt.Errorf("shards: %s: %w", w.path(kind, s), errDamaged)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	out := make([][]byte, w.shards)
	for s := range out {
		out[s] = j.answer(s)
	}
	return writeSections(path, out)
}

// answersOf hands a shard's answers on, group by group.
func (w *work) answersOf(answers string, shard int, use func(in *decoder)) error {
	for group := range w.groups() {
		section, err := readSection(w.path(answers, group), shard)
		if err != nil {
			return err
		}
		in := decoder{rest: string(section)}
		for in.rest != "" {
			use(&in)
		}
		if in.bad {
			return fmt.Errorf("shards: %s: %w", w.path(answers, group), errDamaged)
		}
	}
	return nil
}

// labels answers what the label of an id is. Entities tell theirs, facts ask for
// it; an id without label gets no answer. Where an id is told twice, the later
// entity counts, and the shard of the earlier one hears how many of its entities
// of this id do not. Entities that are of use only if a fact names them hear
// whether one does.
type labels struct {
	told       map[uint64]told
	superseded []map[uint64]uint64 // by shard
	asked      [][]uint64          // by shard
	named      map[uint64]bool
	waiting    [][]uint64 // by shard: entities that want to be named
}

type told struct {
	label string
	shard int
}

// Words behind the key of a question.
const (
	asksLabel = iota // for a fact of an entity that itself has to be named
	namesID          // for any other fact
	tells            // a label follows
	tellsWaiting
)

// Words behind the key of an answer.
const (
	isLabel = iota // which follows
	isNamed
	isSuperseded // how often follows
)

func newLabels(shards int) *labels {
	return &labels{told: map[uint64]told{}, named: map[uint64]bool{}, superseded: make([]map[uint64]uint64, shards),
		asked: make([][]uint64, shards), waiting: make([][]uint64, shards)}
}

// about adds the questions of an entity.
func (q *questions) about(e *kb.Entity, use kb.Use) {
	tell, ask := uint64(tells), uint64(namesID)
	if use == kb.IfNamed {
		tell, ask = tellsWaiting, asksLabel
	}
	key := idKey(e.ID)
	q.add(key, tell, uint64(len(e.Label)))
	p := &q[partOf(key)]
	*p = append(*p, e.Label...)
	for _, st := range e.Claims {
		if st.HasValue && st.Value.Kind == catalogue.Item {
			q.add(idKey(st.Value.ID), ask)
		}
	}
}

func (l *labels) ask(shard int, in *decoder) {
	key := in.key()
	switch word := in.uvarint(); word {
	case asksLabel, namesID:
		l.asked[shard] = append(l.asked[shard], key)
		if word == namesID {
			l.named[key] = true
		}
	case tells, tellsWaiting:
		if before, twice := l.told[key]; twice {
			if l.superseded[before.shard] == nil {
				l.superseded[before.shard] = map[uint64]uint64{}
			}
			l.superseded[before.shard][key]++
		}
		l.told[key] = told{in.text(), shard}
		if word == tellsWaiting {
			l.waiting[shard] = append(l.waiting[shard], key)
		}
	default:
		in.fail()
	}
}

func (l *labels) answer(shard int) []byte {
	var out []byte
	say := func(key uint64, words ...uint64) {
		out = binary.LittleEndian.AppendUint64(out, key)
		for _, w := range words {
			out = binary.AppendUvarint(out, w)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(l.superseded[shard])) {
		say(key, isSuperseded, l.superseded[shard][key])
	}
	for _, key := range distinct(l.waiting[shard]) {
		if l.named[key] {
			say(key, isNamed)
		}
	}
	for _, key := range distinct(l.asked[shard]) {
		if label := l.told[key].label; label != "" {
			say(key, isLabel, uint64(len(label)))
			out = append(out, label...)
		}
	}
	return out
}

// known is what a shard has learnt about ids.
type known struct {
	labels     map[uint64]string
	named      map[uint64]bool
	superseded map[uint64]uint64 // entities of an id that do not count
}

func (w *work) known(shard int) (*known, error) {
	k := &known{map[uint64]string{}, map[uint64]bool{}, map[uint64]uint64{}}
	err := w.answersOf(labelAnswers, shard, func(in *decoder) {
		key := in.key()
		switch in.uvarint() {
		case isLabel:
			k.labels[key] = in.text()
		case isNamed:
			k.named[key] = true
		case isSuperseded:
			k.superseded[key] = in.uvarint()
		default:
			in.fail()
		}
	})
	return k, err
}

// distinct sorts the keys and leaves each once.
func distinct(keys []uint64) []uint64 {
	slices.Sort(keys)
	return slices.Compact(keys)
}

// bearers answers with how many other items a label is shared. Every item asks
// once under each of its names.
type bearers struct {
	all    []bearer
	counts [][]byte // answers by shard, once sorted
	shards int
}

type bearer struct {
	key   uint64
	shard int
	item  uint64 // its place in the shard, times two, plus one where the name is its label
}

func (b *bearers) ask(shard int, in *decoder) {
	b.all = append(b.all, bearer{in.key(), shard, in.uvarint()})
}

func (b *bearers) answer(shard int) []byte {
	if b.counts == nil {
		b.count()
	}
	return b.counts[shard]
}

func (b *bearers) count() {
	b.counts = make([][]byte, b.shards)
	slices.SortFunc(b.all, func(x, y bearer) int {
		return cmp.Or(cmp.Compare(x.key, y.key), cmp.Compare(x.shard, y.shard), cmp.Compare(x.item, y.item))
	})
	for from := 0; from < len(b.all); {
		to := from + 1
		for to < len(b.all) && b.all[to].key == b.all[from].key {
			to++
		}
		for _, one := range b.all[from:to] {
			if one.item&1 == 1 && to-from > 1 {
				out := binary.AppendUvarint(b.counts[one.shard], one.item>>1)
				b.counts[one.shard] = binary.AppendUvarint(out, uint64(to-from-1))
			}
		}
		from = to
	}
}

// subjects answers how many subjects an object has now. Every fact asks under
// its property and object, and says whether it is current.
type subjects struct {
	count map[uint64]uint64
	asked [][]uint64 // by shard
}

func newSubjects(shards int) *subjects {
	return &subjects{count: map[uint64]uint64{}, asked: make([][]uint64, shards)}
}

func (c *subjects) ask(shard int, in *decoder) {
	key := in.key()
	c.count[key] += in.uvarint()
	c.asked[shard] = append(c.asked[shard], key)
}

func (c *subjects) answer(shard int) []byte {
	var out []byte
	for _, key := range distinct(c.asked[shard]) {
		if n := c.count[key]; n > 0 {
			out = binary.LittleEndian.AppendUint64(out, key)
			out = binary.AppendUvarint(out, n)
		}
	}
	return out
}
