package generator

import (
	"strings"
	"unicode"

	"editpipe/generator/catalogue"
)

// Limits of a name that is put into a prompt.
const (
	maxLabelRunes = 60
	maxLabelWords = 8
)

func tooLong(label string) bool {
	return len([]rune(label)) > maxLabelRunes || len(strings.Fields(label)) > maxLabelWords
}

// render puts the name into the template's place and returns the text with the
// byte span of the name. A text that begins with a phrase (not a name) gets a
// capital letter.
func render(t catalogue.Template, place, name string, capitalise bool) (text string, start, end int) {
	i := strings.Index(t.Text, place)
	text = t.Text[:i] + name + t.Text[i+len(place):]
	if capitalise && text != "" {
		text = upperFirst(text)
	}
	return text, i, i + len(name)
}

func upperFirst(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}
