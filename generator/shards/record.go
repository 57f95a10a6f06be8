package shards

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"strconv"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// Between reading a dump and writing its shards, entities wait on disk as
// records: a length, and that many bytes of fields in a fixed order, of which the
// first is the entity's use. Numbers are varints, texts come behind their length.
// Statements without a value stay out.

// Flags of a statement. Its rank and the kind of its object take two bits each.
const (
	flagStart = 1 << (4 + iota)
	flagEnd
	flagEnded
	flagItems
)

// rank and kind give what two bits of the flags stand for; false for none.
func rank(bits int) (kb.Rank, bool) {
	all := [...]kb.Rank{kb.Normal, kb.Preferred, kb.Deprecated}
	if bits >= len(all) {
		return 0, false
	}
	return all[bits], true
}

func kind(bits int) catalogue.ObjectKind {
	return [...]catalogue.ObjectKind{catalogue.Item, catalogue.String, catalogue.Year, catalogue.Quantity}[bits]
}

// encoder appends records to buf. The rest is used again for each.
type encoder struct {
	buf, body []byte
}

func (w *encoder) number(n int) { w.body = binary.AppendVarint(w.body, int64(n)) }

func (w *encoder) text(s string) {
	w.body = binary.AppendUvarint(w.body, uint64(len(s)))
	w.body = append(w.body, s...)
}

func (w *encoder) date(d kb.Date) {
	w.number(int(d.Year))
	w.body = append(w.body, byte(d.Month), byte(d.Day))
}

func (w *encoder) entity(e *kb.Entity, use kb.Use) {
	w.body = append(w.body[:0], byte(use))
	for _, s := range [...]string{e.ID, e.Type, e.Label, e.LabelLang, e.Description} {
		w.text(s)
	}
	w.number(len(e.Aliases))
	for _, a := range e.Aliases {
		w.text(a)
	}
	w.number(e.Sitelinks)
	w.body = binary.AppendVarint(w.body, e.Revision)
	properties := 0
	for range e.Claims.ByProperty() {
		properties++
	}
	w.number(properties)
	for p, list := range e.Claims.ByProperty() {
		w.text(p)
		stated := 0
		for _, st := range list {
			if st.HasValue {
				stated++
			}
		}
		w.number(stated)
		for _, st := range list {
			if st.HasValue {
				w.statement(st)
			}
		}
	}
	w.buf = binary.AppendUvarint(w.buf, uint64(len(w.body)))
	w.buf = append(w.buf, w.body...)
}

func (w *encoder) statement(st kb.Statement) {
	flags := 0
	for i := range 4 {
		if r, ok := rank(i); ok && r == st.Rank {
			flags |= i
		}
		if kind(i) == st.Value.Kind {
			flags |= i << 2
		}
	}
	if st.Start != (kb.Date{}) {
		flags |= flagStart
	}
	if st.End != (kb.Date{}) {
		flags |= flagEnd
	}
	if st.Ended {
		flags |= flagEnded
	}
	if len(st.Items) > 0 {
		flags |= flagItems
	}
	w.body = append(w.body, byte(flags))
	if st.Value.Kind == catalogue.Item {
		w.text(st.Value.ID)
	} else {
		w.text(st.Value.Text)
	}
	if flags&flagStart != 0 {
		w.date(st.Start)
	}
	if flags&flagEnd != 0 {
		w.date(st.End)
	}
	if flags&flagItems != 0 {
		w.number(len(st.Items))
		for _, id := range st.Items {
			w.text(id)
		}
	}
}

// errDamaged is returned for a file of the work folder that is not as it was
// written.
var errDamaged = errors.New("damaged: remove the folder and build again")

// decoder reads one record. Its texts share the record's memory.
type decoder struct {
	rest string
	bad  bool
}

func (r *decoder) fail() {
	r.bad, r.rest = true, ""
}

func (r *decoder) uvarint() uint64 {
	var n uint64
	for i := 0; i < len(r.rest) && i < binary.MaxVarintLen64; i++ {
		c := r.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.rest = r.rest[i+1:]
			return n
		}
	}
	r.fail()
	return 0
}

func (r *decoder) varint() int64 {
	n := r.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

// count reads a number of things that are still to come, each of a byte or more.
func (r *decoder) count() int {
	n := r.varint()
	if n < 0 || n > int64(len(r.rest)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *decoder) byte() byte {
	if len(r.rest) == 0 {
		r.fail()
		return 0
	}
	c := r.rest[0]
	r.rest = r.rest[1:]
	return c
}

func (r *decoder) text() string { return r.take(r.uvarint()) }

func (r *decoder) take(n uint64) string {
	if n > uint64(len(r.rest)) {
		r.fail()
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

// key reads eight bytes.
func (r *decoder) key() uint64 {
	if len(r.rest) < 8 {
		r.fail()
		return 0
	}
	k := binary.LittleEndian.Uint64([]byte(r.rest[:8]))
	r.rest = r.rest[8:]
	return k
}

func (r *decoder) date() kb.Date {
	return kb.Date{Year: int32(r.varint()), Month: int8(r.byte()), Day: int8(r.byte())}
}

// entity reads what comes behind the use and the id. The statements are put into
// the memory of the list.
func (r *decoder) entity(id string, list kb.Claims) (*kb.Entity, error) {
	e := &kb.Entity{ID: id, Type: r.text(), Label: r.text(), LabelLang: r.text(), Description: r.text(), Claims: list[:0]}
	for range r.count() {
		e.Aliases = append(e.Aliases, r.text())
	}
	e.Sitelinks, e.Revision = int(r.varint()), r.varint()
	for range r.count() {
		p := r.text()
		for range r.count() {
			flags := int(r.byte())
			st := kb.Statement{Property: p, HasValue: true, Ended: flags&flagEnded != 0}
			var ok bool
			if st.Rank, ok = rank(flags & 3); !ok {
				r.fail()
				break
			}
			st.Value.Kind = kind(flags >> 2 & 3)
			if st.Value.Kind == catalogue.Item {
				st.Value.ID = r.text()
			} else {
				st.Value.Text = r.text()
			}
			if flags&flagStart != 0 {
				st.Start = r.date()
			}
			if flags&flagEnd != 0 {
				st.End = r.date()
			}
			if flags&flagItems != 0 {
				for range r.count() {
					st.Items = append(st.Items, r.text())
				}
			}
			e.Claims = append(e.Claims, st)
		}
	}
	if r.bad || r.rest != "" {
		return nil, errDamaged
	}
	return e, nil
}

// Keys. Ids and pairs of property and object become numbers one to one, as long
// as they have the usual form; what has not is hashed into the upper half.

const hashed = 1 << 63

// idKey is the key of an entity.
func idKey(id string) uint64 {
	if len(id) > 1 && (id[0] == 'Q' || id[0] == 'P') && id[1] != '0' {
		if n, err := strconv.ParseUint(id[1:], 10, 40); err == nil {
			k := n << 1
			if id[0] == 'P' {
				k |= 1
			}
			return k
		}
	}
	return hashed | hash64(id)
}

// pairKey is the key of a property and its object.
func pairKey(property, object string) uint64 {
	o, p := idKey(object), idKey(property)
	if o < 1<<41 && p < 1<<22 {
		return p<<41 | o
	}
	return hashed | hash64(property+" "+object)
}

// hash64 spreads a text over 64 bits. Among a hundred million names two share a
// hash with a probability below one in a thousand; the count of one of them is
// then too high.
func hash64(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return mix(h.Sum64())
}

// mix is the finish of splitmix64: every bit of the result depends on all bits.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
