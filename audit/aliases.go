package audit

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"editpipe/dataset"
	"editpipe/generator"
	"editpipe/generator/kb"
)

// aliasOf is the name that an alias prompt puts in the subject's place: as the
// probe says, else what stands there in the edit's own template; "" where the
// prompt is worded in another way.
func aliasOf(e *dataset.Edit, p *dataset.Probe) string {
	if p.SubjectText != "" && !dataset.SameName(p.SubjectText, e.Subject) {
		return p.SubjectText
	}
	before, after, ok := strings.Cut(e.PromptTemplate, "{s}")
	if !ok {
		return ""
	}
	rest, ok := strings.CutPrefix(p.Prompt, before)
	if !ok {
		return ""
	}
	alias, ok := strings.CutSuffix(rest, after)
	if !ok || dataset.SameName(alias, e.Subject) {
		return ""
	}
	return strings.TrimSpace(alias)
}

func aliasOverlap(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	e := &r.Edit
	if kb.Mentions(p.Prompt, e.Subject) {
		return found(p.Prompt, "subject %q still occurs in the prompt", e.Subject)
	}
	if alias := aliasOf(e, p); alias != "" && kb.Mentions(e.Subject, alias) {
		return found(p.Prompt, "alias %q is part of the subject %q", alias, e.Subject)
	}
	return clean()
}

func aliasAmbiguous(s *state, r *dataset.Record, p *dataset.Probe) verdict {
	alias := aliasOf(&r.Edit, p)
	subject := s.entity(r.Edit.SubjectID, r.Edit.Subject)
	if alias == "" || subject == nil {
		return verdict{}
	}
	name := kb.Normalise(alias)
	if unique, dominant := s.o.KB.Owns(subject, name); !unique && !dominant {
		others := slices.DeleteFunc(slices.Clone(s.o.KB.Bearers(name)), func(id string) bool { return id == subject.ID })
		return found(p.Prompt, "alias %q of %s also names %s", alias, subject.ID, strings.Join(others, ", "))
	}
	return clean()
}

// aliasShared leaves out aliases that the generator has found to be the
// subject's own by far; alias_ambiguous looks at these with the knowledge base.
func aliasShared(s *state, r *dataset.Record, p *dataset.Probe) verdict {
	alias := aliasOf(&r.Edit, p)
	if alias == "" || slices.Contains(p.Flags, generator.FlagAliasDominant) {
		return verdict{}
	}
	if other, ok := s.otherBearer(alias, &r.Edit); ok {
		return found(p.Prompt, "alias %q also names the subject of %s", alias, other)
	}
	return clean()
}

func aliasCode(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	alias := aliasOf(&r.Edit, p)
	if alias == "" {
		return verdict{}
	}
	switch kb.AliasForm(alias) {
	case kb.AliasCode:
		return found(p.Prompt, "alias %q is a code or sign", alias)
	case kb.AliasScript:
		return found(p.Prompt, "alias %q is not in Latin script", alias)
	}
	return clean()
}

// keptWords is the share of the edit prompt's words, the subject's aside, that
// an alias prompt has to keep.
const keptWords = 0.5

func aliasReworded(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	before, after, ok := strings.Cut(r.Edit.PromptTemplate, "{s}")
	words := strings.Fields(kb.Normalise(before) + " " + kb.Normalise(after))
	if !ok || len(words) == 0 {
		return verdict{}
	}
	asked := strings.Fields(kb.Normalise(p.Prompt))
	kept := 0
	for _, w := range words {
		if slices.Contains(asked, w) {
			kept++
		}
	}
	if float64(kept) < keptWords*float64(len(words)) {
		return found(p.Prompt, "%d of %d words of %q kept", kept, len(words), r.Edit.PromptTemplate)
	}
	return clean()
}

func answerCode(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if len(p.Answers) < 2 {
		return verdict{}
	}
	for _, a := range p.Answers[1:] {
		if strings.ContainsFunc(a, unicode.IsLetter) && kb.AliasForm(a) == kb.AliasCode {
			return found(a, "accepted spelling %q of %q is a code or sign", a, p.Answers[0])
		}
	}
	return clean()
}

// family finds the word of a kinship in a text.
var family = regexp.MustCompile(`\b(father|mother|parent|son|daughter|child|sibling|brother|sister)(s|ren|'s)?\b`)

func kinship(text string) string {
	if m := family.FindStringSubmatch(strings.ToLower(text)); m != nil {
		return m[1]
	}
	return ""
}

// reversedFamily reads the kind of the relation from the words of the edit
// prompt, else of the reverse question, without the names in them.
func reversedFamily(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	without := func(text string) string {
		for _, name := range slices.Concat(subjectNames(&r.Edit), targetNames(&r.Edit)) {
			text = strings.ReplaceAll(text, name, "")
		}
		return text
	}
	kind, of := kinship(without(r.Edit.Prompt)), "edit"
	if kind == "" {
		kind, of = kinship(without(p.Prompt)), "question"
	}
	switch kind {
	case "":
		return clean()
	case "father", "mother", "parent":
		if of == "edit" {
			return found(p.Prompt, "edit of a %s: asked from parent to child, and a parent may have several", kind)
		}
		return found(p.Prompt, "question for a %s: a child has two parents", kind)
	case "son", "daughter", "child":
		if of == "edit" {
			return found(p.Prompt, "edit of a %s: asked from child to parent, and a child has two", kind)
		}
		return found(p.Prompt, "question for a %s: a parent may have several", kind)
	}
	return found(p.Prompt, "%s of a %s: there may be several", of, kind)
}
