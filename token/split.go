package token

import "fmt"

// behaviour says what becomes of the matches of a split pattern.
type behaviour string

// The five behaviours of the official implementation, for "a-b" split on "-".
const (
	removed            behaviour = "Removed"            // a b
	isolated           behaviour = "Isolated"           // a - b
	mergedWithPrevious behaviour = "MergedWithPrevious" // a- b
	mergedWithNext     behaviour = "MergedWithNext"     // a -b
	contiguous         behaviour = "Contiguous"         // as Isolated, with runs of matches kept whole
)

func parseBehaviour(s string, def behaviour) (behaviour, error) {
	switch b := behaviour(s); b {
	case "":
		return def, nil
	case removed, isolated, mergedWithPrevious, mergedWithNext, contiguous:
		return b, nil
	}
	return "", fmt.Errorf("behaviour %q is not supported", s)
}

// splitPiece cuts p at the matches of m and appends the parts that are not empty.
func splitPiece(out []piece, p *piece, m matcher, b behaviour) ([]piece, error) {
	matches, err := m.matches(p.text)
	if err != nil {
		return nil, err
	}
	for _, x := range arrange(matches, b) {
		if x.start < x.end && (!x.hit || b != removed) {
			out = append(out, p.slice(x.start, x.end))
		}
	}
	return out, nil
}

// arrange joins matches with their neighbours as the behaviour asks.
func arrange(matches []match, b behaviour) []match {
	out := matches[:0:0]
	switch b {
	case mergedWithPrevious:
		previous := false
		for _, x := range matches {
			if n := len(out); x.hit && !previous && n > 0 {
				out[n-1].end = x.end
			} else {
				out = append(out, x)
			}
			previous = x.hit
		}
	case mergedWithNext:
		for i, x := range matches {
			// A match begins a part; what follows joins it unless it is a match too.
			if n := len(out); !x.hit && i > 0 && matches[i-1].hit {
				out[n-1].end = x.end
			} else {
				out = append(out, x)
			}
		}
	case contiguous:
		previous := false
		for _, x := range matches {
			if n := len(out); x.hit == previous && n > 0 {
				out[n-1].end = x.end
			} else {
				out = append(out, x)
			}
			previous = x.hit
		}
	default:
		return matches
	}
	return out
}
