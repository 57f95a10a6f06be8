package oniguruma

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// types are the character types \w, \d, \s and \h.
var types = map[rune]func() set{
	'w': func() set { return named("word") },
	'd': func() set { return named("nd") },
	's': func() set { return named("whitespace") },
	'h': func() set { return named("asciihexdigit") },
}

// brackets are the POSIX brackets by name.
var brackets = func() map[string]func() set {
	m := make(map[string]func() set)
	for _, name := range []string{"alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "space", "upper", "xdigit"} {
		m[name] = func() set { return named(name) } // as the property of that name
	}
	m["word"] = func() set { return union(named("alnum"), named("m"), named("pc")) }
	m["punct"] = func() set { return union(named("p"), named("s")) }
	return m
}()

// property gives the characters with a property: a general category, a script,
// or one of a few others. Case, spaces, - and _ in its name do not matter.
func property(name string) (set, bool) {
	f, ok := properties()[strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(name))]
	if !ok {
		return nil, false
	}
	return f(), true
}

// Properties lists the names that \p{...} may have, in small letters without
// separators.
func Properties() []string { return slices.Sorted(maps.Keys(properties())) }

// named is property for a name that exists.
func named(name string) set { return properties()[name]() }

// longNames are the names of general categories that package unicode knows by
// their short ones.
var longNames = map[string]string{
	"letter": "L", "uppercaseletter": "Lu", "lowercaseletter": "Ll", "titlecaseletter": "Lt", "modifierletter": "Lm", "otherletter": "Lo",
	"mark": "M", "combiningmark": "M", "nonspacingmark": "Mn", "spacingmark": "Mc", "enclosingmark": "Me",
	"number": "N", "decimalnumber": "Nd", "letternumber": "Nl", "othernumber": "No",
	"punctuation": "P", "connectorpunctuation": "Pc", "dashpunctuation": "Pd", "openpunctuation": "Ps", "closepunctuation": "Pe",
	"initialpunctuation": "Pi", "finalpunctuation": "Pf", "otherpunctuation": "Po",
	"symbol": "S", "mathsymbol": "Sm", "currencysymbol": "Sc", "modifiersymbol": "Sk", "othersymbol": "So",
	"separator": "Z", "spaceseparator": "Zs", "lineseparator": "Zl", "paragraphseparator": "Zp",
	"control": "Cc", "format": "Cf", "privateuse": "Co",
}

// categories are the general categories of two letters that package unicode has.
var categories = []string{"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
	"Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"}

// properties are the properties by name, in small letters without separators.
var properties = sync.OnceValue(func() map[string]func() set {
	m := make(map[string]func() set)
	define := func(name string, f func() set) { m[name] = sync.OnceValue(f) }
	for _, c := range categories {
		define(strings.ToLower(c), func() set {
			return intersect(union(ofTables(unicode.Categories[c]), inCategory(c)), leftCategory[c].not())
		})
	}
	for _, c := range []string{"L", "M", "N", "P", "S", "Z"} {
		define(strings.ToLower(c), func() set { return union(ofTables(unicode.Categories[c]), inCategory(c)) })
	}
	for long, short := range longNames {
		m[long] = m[strings.ToLower(short)]
	}
	for name, table := range unicode.Scripts {
		define(strings.ToLower(strings.ReplaceAll(name, "_", "")), func() set { return union(ofTables(table), newScripts[name]) })
	}
	get := func(name string) set { return m[name]() }
	define("any", func() set { return set(nil).not() })
	define("assigned", func() set {
		all := []set{ofTables(unicode.Cs)}
		for _, c := range categories {
			all = append(all, get(strings.ToLower(c)))
		}
		return union(all...)
	})
	define("cn", func() set { return get("assigned").not() })
	define("c", func() set { return union(get("cc"), get("cf"), get("co"), get("cn"), ofTables(unicode.Cs)) })
	m["unassigned"], m["other"] = m["cn"], m["c"]
	define("ascii", func() set { return set{{0, unicode.MaxASCII}} })
	define("asciihexdigit", func() set { return ofTables(unicode.ASCII_Hex_Digit) })
	define("whitespace", func() set { return ofTables(unicode.White_Space) })
	define("alphabetic", func() set {
		return union(get("l"), get("nl"), ofTables(unicode.Other_Alphabetic), alphabeticMarks)
	})
	define("lowercase", func() set { return union(get("ll"), ofTables(unicode.Other_Lowercase)) })
	define("uppercase", func() set { return union(get("lu"), ofTables(unicode.Other_Uppercase)) })
	m["alpha"], m["lower"], m["upper"], m["digit"] = m["alphabetic"], m["lowercase"], m["uppercase"], m["nd"]
	m["cntrl"], m["space"], m["xdigit"] = m["cc"], m["whitespace"], m["asciihexdigit"]
	define("alnum", func() set { return union(get("alphabetic"), get("nd")) })
	// Below U+0100 the engine asks another table than for [[:word:]]; it counts ², ³,
	// ¹, ¼, ½ and ¾ as word characters.
	define("word", func() set {
		return union(get("alnum"), get("m"), get("pc"), ofSpans(span{0xB2, 0xB3}, span{0xB9, 0xB9}, span{0xBC, 0xBE}))
	})
	define("blank", func() set { return union(get("zs"), single('\t')) })
	m["punct"] = m["p"]
	define("graph", func() set { return union(get("whitespace"), get("cc"), get("cn"), ofTables(unicode.Cs)).not() })
	define("print", func() set { return union(get("graph"), get("zs")) })
	return m
})
