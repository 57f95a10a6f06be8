package generator

import (
	"cmp"
	"iter"
	"math"
	"math/bits"
	"slices"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// scan bounds how many members of a class or property are looked at for one
// choice, so that a choice in a full dump takes milliseconds.
const scan = 1000

// FNV-1a, 64 bits.
const (
	offset = 14695981039346656037
	prime  = 1099511628211
)

// mix adds a part of a choice to the state of a hash.
func mix(h uint64, part string) uint64 {
	for i := range len(part) {
		h = (h ^ uint64(part[i])) * prime
	}
	return h
}

// next adds a separator and a part.
func next(h uint64, part string) uint64 { return mix(h*prime, part) }

// finish is the end of splitmix64: FNV's high bits are weak on short input.
func finish(h uint64) uint64 {
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// hash mixes the seed with the parts of a choice.
func (g *generation) hash(parts ...string) uint64 {
	h := g.seeded
	for _, p := range parts {
		h = next(h, p)
	}
	return finish(h)
}

// keyed is an id, by its place in a list, and its place in an order: first the
// bucket, then the hash. It holds no pointer: millions are made.
type keyed struct {
	hash   uint64
	at     int32
	bucket uint8
}

// inOrder yields the ids bucket by bucket, each sorted by hash when it is
// reached: a choice mostly ends in the first.
func inOrder(ids []string, list []keyed) iter.Seq[string] {
	return func(yield func(string) bool) {
		var ends [256]int
		for _, k := range list {
			ends[k.bucket]++
		}
		for i := range ends[1:] {
			ends[i+1] += ends[i]
		}
		placed, at := make([]keyed, len(list)), ends
		for _, k := range list {
			at[k.bucket]--
			placed[at[k.bucket]] = k
		}
		from := 0
		for _, end := range ends {
			bucket := placed[from:end]
			slices.SortFunc(bucket, func(a, b keyed) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(ids[a.at], ids[b.at])) })
			for _, k := range bucket {
				if !yield(ids[k.at]) {
					return
				}
			}
			from = end
		}
	}
}

// shuffled yields the ids in an order that depends on the seed and the key.
func (g *generation) shuffled(ids []string, key string) iter.Seq[string] {
	list := make([]keyed, len(ids))
	state := next(g.seeded, key)
	for i, id := range ids {
		h := finish(next(state, id))
		list[i] = keyed{h, int32(i), uint8(h >> 56)}
	}
	return inOrder(ids, list)
}

// drawn yields the ids in the order of shuffled, for long lists of which few are
// taken: it sorts one piece at a time and holds no more than that.
func (g *generation) drawn(ids []string, key string) iter.Seq[string] {
	state := next(g.seeded, key)
	const most = 32 // each piece is a pass over the ids
	pieces := min(uint64(len(ids)/scan)+1, most)
	return func(yield func(string) bool) {
		for piece := range pieces {
			var list []keyed
			for i, id := range ids {
				// The high word of the product says in which piece of the range a hash lies.
				h := finish(next(state, id))
				if at, _ := bits.Mul64(h, pieces); at == piece {
					list = append(list, keyed{hash: h, at: int32(i)})
				}
			}
			for id := range inOrder(ids, list) {
				if !yield(id) {
					return
				}
			}
		}
	}
}

// nearest yields the entities of the ids, those closest in popularity to the
// given one first, of equally close ones in an order that depends on the seed
// and the key. Ids without an entity come last, as nil.
func (g *generation) nearest(ids []string, to *kb.Entity, key string) iter.Seq[*kb.Entity] {
	list := make([]keyed, len(ids))
	state := next(g.seeded, key)
	for i, id := range ids {
		e, bucket := g.base.Entity(id), math.MaxUint8
		if e != nil {
			bucket = distance(e, to)
		}
		list[i] = keyed{finish(next(state, id)), int32(i), uint8(bucket)}
	}
	return func(yield func(*kb.Entity) bool) {
		for id := range inOrder(ids, list) {
			if !yield(g.base.Entity(id)) {
				return
			}
		}
	}
}

// distance compares popularity in powers of two of sitelinks.
func distance(a, b *kb.Entity) int {
	d := bits.Len(uint(a.Sitelinks)) - bits.Len(uint(b.Sitelinks))
	if d < 0 {
		return -d
	}
	return d
}

// sample returns at most scan ids of the lists put one behind the other: a window
// whose place depends on the seed. The lists are long and not copied.
func (g *generation) sample(key string, lists ...[]string) []string {
	n := total(lists)
	if n <= scan {
		return slices.Concat(lists...)
	}
	at := int(g.hash("window", key) % uint64(n))
	out := make([]string, 0, scan)
	for len(out) < scan { // twice round at most
		for _, ids := range lists {
			skipped := min(at, len(ids))
			at -= skipped
			ids = ids[skipped:]
			out = append(out, ids[:min(len(ids), scan-len(out))]...)
		}
	}
	return out
}

func total(lists [][]string) int {
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	return n
}

// pickTemplate returns one of the templates, or false where there is none.
func (g *generation) pickTemplate(list []catalogue.Template, key ...string) (catalogue.Template, bool) {
	if len(list) == 0 {
		return catalogue.Template{}, false
	}
	return list[g.hash(append(key, "template")...)%uint64(len(list))], true
}
