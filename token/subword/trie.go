package subword

import (
	"slices"
	"strings"
)

// trie finds the vocabulary entries that begin a text. Node 0 is the root; the
// children of node n are the edges[first[n]:first[n+1]], sorted by label.
type trie struct {
	first  []int32
	labels []byte
	nodes  []int32 // where the edge of the same index leads
	ids    []int64 // by node; -1 where no entry ends
}

func newTrie(vocab map[string]int64) trie {
	keys := make([]string, 0, len(vocab))
	for k := range vocab {
		if k != "" {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, strings.Compare)
	t := trie{ids: []int64{-1}}
	// Breadth first, so that the edges of a node are written together. A node is
	// a range of the sorted keys that share their first depth bytes.
	type rng struct{ lo, hi, depth int }
	queue := []rng{{0, len(keys), 0}}
	for n := 0; n < len(queue); n++ {
		r := queue[n]
		t.first = append(t.first, int32(len(t.labels)))
		lo := r.lo
		if lo < r.hi && len(keys[lo]) == r.depth {
			t.ids[n] = vocab[keys[lo]]
			lo++
		}
		for lo < r.hi {
			b, hi := keys[lo][r.depth], lo+1
			for hi < r.hi && keys[hi][r.depth] == b {
				hi++
			}
			t.labels = append(t.labels, b)
			t.nodes = append(t.nodes, int32(len(queue)))
			t.ids = append(t.ids, -1)
			queue = append(queue, rng{lo, hi, r.depth + 1})
			lo = hi
		}
	}
	t.first = append(t.first, int32(len(t.labels)))
	return t
}

// child returns the node that b leads to from node n, or -1.
func (t *trie) child(n int32, b byte) int32 {
	lo, hi := t.first[n], t.first[n+1]
	for lo < hi {
		mid := (lo + hi) / 2
		switch l := t.labels[mid]; {
		case l == b:
			return t.nodes[mid]
		case l < b:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return -1
}
