package stages

import (
	"fmt"
	"strconv"
	"strings"
)

// When says after which edits of a chain its edits are asked about. The
// literature has all three forms: right after each edit (immediate), once after
// the last (final), and all edits so far at intervals (every:K).
type When struct {
	Immediate bool
	Final     bool
	Every     int // 0 for never
}

// ParseWhen reads a list of immediate, final and every:K, separated by commas.
// The empty string is final.
func ParseWhen(s string) (When, error) {
	var w When
	if s == "" {
		return When{Final: true}, nil
	}
	for _, word := range strings.Split(s, ",") {
		every, ok := strings.CutPrefix(strings.TrimSpace(word), "every:")
		k, err := strconv.Atoi(every)
		switch {
		case ok && err == nil && k > 0:
			w.Every = k
		case strings.TrimSpace(word) == "immediate":
			w.Immediate = true
		case strings.TrimSpace(word) == "final":
			w.Final = true
		default:
			return When{}, fmt.Errorf("stages: --eval-at %q: want immediate, final, every:K or a list of them separated by commas", s)
		}
	}
	return w, nil
}

// String is the form ParseWhen reads.
func (w When) String() string {
	var words []string
	if w.Immediate {
		words = append(words, "immediate")
	}
	if w.Every > 0 {
		words = append(words, fmt.Sprintf("every:%d", w.Every))
	}
	if w.Final || words == nil {
		words = append(words, "final")
	}
	return strings.Join(words, ",")
}

// due gives the range [from, to) of edits of a chain of n to ask about when the
// step from edit lo up to before hi has been made. Intervals are counted in
// edits and fall on the end of the step that reaches them.
func (w When) due(lo, hi, n int) (from, to int) {
	switch {
	case hi == n && (w.Final || w.Every > 0), w.Every > 0 && hi/w.Every > lo/w.Every:
		return 0, hi
	case w.Immediate:
		return lo, hi
	}
	return 0, 0
}
