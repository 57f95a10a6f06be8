package pipeline

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Shard is one of N equal parts of a run's units. The zero Shard is all of
// them. A unit's part depends on its id alone, so every process agrees on it.
type Shard struct {
	Index int // from 1
	Of    int // 0 or 1: everything
}

// ParseShard reads I/N with 1 <= I <= N; "" is everything.
func ParseShard(s string) (Shard, error) {
	if s == "" {
		return Shard{}, nil
	}
	a, b, ok := strings.Cut(s, "/")
	i, errI := strconv.Atoi(a)
	n, errN := strconv.Atoi(b)
	if !ok || errI != nil || errN != nil || i < 1 || i > n {
		return Shard{}, fmt.Errorf("pipeline: shard %q: want I/N with I from 1 to N, for example 2/8", s)
	}
	return Shard{i, n}, nil
}

// Holds says whether a unit belongs to the shard.
func (s Shard) Holds(id string) bool {
	if s.Of <= 1 {
		return true
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	// The low bits of FNV alone spread short ids badly; fold the high ones in.
	sum := h.Sum64()
	return int((sum^sum>>32)%uint64(s.Of)) == s.Index-1
}

// String is the form ParseShard reads.
func (s Shard) String() string {
	if s.Of <= 1 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Of)
}
