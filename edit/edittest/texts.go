package edittest

import (
	"math/rand/v2"
	"strings"
)

// Texts is running text for preparing methods on tiny models: seeded random
// words, for keys in all directions.
func Texts(yield func(string, error) bool) {
	r := rand.New(rand.NewPCG(6, 6))
	for range 80 {
		var words []string
		for range 12 {
			word := make([]byte, 1+r.IntN(5))
			for i := range word {
				word[i] = byte(33 + r.IntN(90))
			}
			words = append(words, string(word))
		}
		if !yield(strings.Join(words, " "), nil) {
			return
		}
	}
}
