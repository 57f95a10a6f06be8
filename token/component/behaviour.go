package component

import (
	"fmt"

	"editpipe/token/piece"
)

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
func splitPiece(out []piece.Piece, p *piece.Piece, m piece.Pattern, b behaviour) ([]piece.Piece, error) {
	matches, err := m.Matches(p.Text)
	if err != nil {
		return nil, err
	}
	for _, x := range arrange(matches, b) {
		if x.Start < x.End && (!x.Hit || b != removed) {
			out = append(out, p.Slice(x.Start, x.End))
		}
	}
	return out, nil
}

// arrange joins matches with their neighbours as the behaviour asks.
func arrange(matches []piece.Match, b behaviour) []piece.Match {
	out := matches[:0:0]
	switch b {
	case mergedWithPrevious:
		previous := false
		for _, x := range matches {
			if n := len(out); x.Hit && !previous && n > 0 {
				out[n-1].End = x.End
			} else {
				out = append(out, x)
			}
			previous = x.Hit
		}
	case mergedWithNext:
		for i, x := range matches {
			// A match begins a part; what follows joins it unless it is a match too.
			if n := len(out); !x.Hit && i > 0 && matches[i-1].Hit {
				out[n-1].End = x.End
			} else {
				out = append(out, x)
			}
		}
	case contiguous:
		previous := false
		for _, x := range matches {
			if n := len(out); x.Hit == previous && n > 0 {
				out[n-1].End = x.End
			} else {
				out = append(out, x)
			}
			previous = x.Hit
		}
	default:
		return matches
	}
	return out
}
