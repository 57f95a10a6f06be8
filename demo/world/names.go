package world

import "strings"

// stream is a splitmix64 generator. The world is written with it rather than
// with math/rand so that its bytes depend on the seed alone, not on the
// release of the standard library.
type stream struct{ state uint64 }

func newStream(seed int64) *stream {
	return &stream{state: uint64(seed)*0x9E3779B97F4A7C15 + 0x1234567}
}

func (s *stream) next() uint64 {
	s.state += 0x9E3779B97F4A7C15
	z := s.state
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// intn returns a number in [0, n).
func (s *stream) intn(n int) int { return int(s.next() % uint64(n)) }

// between returns a number in [lo, hi].
func (s *stream) between(lo, hi int) int { return lo + s.intn(hi-lo+1) }

// chance is true in percent of cases.
func (s *stream) chance(percent int) bool { return s.intn(100) < percent }

func (s *stream) pick(words []string) string { return words[s.intn(len(words))] }

// namer invents pronounceable words. No word it returns contains another one,
// so that a name never gives away a different entity by accident.
type namer struct {
	*stream
	taken []string
	used  map[string]bool
}

func newNamer(s *stream) *namer { return &namer{stream: s, used: map[string]bool{}} }

// The letters of the invented words; the mix is meant to look like no
// particular language and to stay easy to say.
func onsets() []string   { return strings.Fields("b d f g h j k l m n p r s t v z") }
func clusters() []string { return strings.Fields("br dr gr kr pr tr bl gl kl pl sl sk st th") }
func vowels() []string   { return strings.Fields("a e i o u") }
func glides() []string   { return strings.Fields("ai ei ou ia") }
func codas() []string    { return strings.Fields("l n r s d k m v x nd lk rn st lm sk") }
func inner() []string    { return strings.Fields("l n r s m") }

func (n *namer) syllable(last bool) string {
	on, vo := onsets(), vowels()
	if n.chance(25) {
		on = clusters()
	}
	if n.chance(12) {
		vo = glides()
	}
	out := n.pick(on) + n.pick(vo)
	switch {
	case last && n.chance(75):
		out += n.pick(codas())
	case !last && n.chance(12):
		out += n.pick(inner())
	}
	return out
}

// realNames are words the syllables could spell by chance and that a name must
// not contain: real places and people, common words, and rude ones.
func realNames() []string {
	return strings.Fields(`maria anna roma paris oslo kiel bremen lima quito malta cuba china chile peru iran india siam
		brasil kenia ghana mali niger sudan turin milan lenin stalin tito nero plato homer dante kafka gauss
		silva souza kumar putin trump biden obama merkel china delhi dubai doha samoa tonga kiev riga minsk
		laura clara carla sara sofia julia claudia gloria stella flora diana prada gucci skoda tesla volvo seat
		fiat nokia dior linda karl mark peter martin robin kevin colin brian felix marcus stalk drain train brain
		grain plain stain slain trust crust florin frank drama breast breed priest slave main send band whore bitch penis nigra`)
}

// stem returns a new word of the given number of syllables, capitalised.
func (n *namer) stem(syllables int) string {
	for {
		w := ""
		for i := range syllables {
			w += n.syllable(i == syllables-1)
		}
		if len(w) < 4 || len(w) > 9 || !n.free(w) {
			continue
		}
		n.taken = append(n.taken, w)
		return strings.ToUpper(w[:1]) + w[1:]
	}
}

func (n *namer) free(w string) bool {
	for _, r := range realNames() {
		if strings.Contains(w, r) || strings.Contains(r, w) {
			return false
		}
	}
	for _, t := range n.taken {
		if strings.Contains(t, w) || strings.Contains(w, t) || commonPrefix(t, w) > 5 {
			return false
		}
	}
	return true
}

func commonPrefix(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

// with returns a new stem followed by one of the suffixes.
func (n *namer) with(syllables int, suffixes ...string) string {
	return n.stem(syllables) + n.pick(suffixes)
}

// title returns a new two-word title from the lists, e.g. "The Silent Orchard";
// no two titles share both words, whatever their prefix.
func (n *namer) title(prefix string, first, second []string) string {
	for {
		t := n.pick(first) + " " + n.pick(second)
		if !n.used[t] {
			n.used[t] = true
			return prefix + t
		}
	}
}

func adjectives() []string {
	return strings.Fields(`Silent Amber Crooked Distant Borrowed Hollow Patient Scarlet Winter Broken Gentle Hidden Iron
		Painted Restless Sunken Velvet Wandering Narrow Copper Frozen Golden Humble Lonely Quiet Rusty Secret Tangled
		Unlit Weary Pale Bitter`)
}

func nouns() []string {
	return strings.Fields(`Orchard Lantern River Harbour Garden Bridge Mirror Compass Staircase Island Letter Clock
		Meadow Engine Forest Tower Market Window Voyage Kitchen Shepherd Anchor Needle Feather Ladder Circus Chapel
		Furnace Kite Orphan Parade Quarry`)
}
