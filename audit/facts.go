package audit

import (
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// entity finds an entity of the knowledge base by its id, else by a name that
// nothing else has; nil where there is none. An entity that does not have the
// name is another one: the id is of another knowledge base.
func (s *state) entity(id, name string) *kb.Entity {
	if id != "" {
		if e := s.o.KB.Entity(id); e != nil && kb.SameAsAny(name, e.Names()) {
			return e
		}
		return nil
	}
	if ids := s.o.KB.Bearers(kb.Normalise(name)); len(ids) == 1 {
		return s.o.KB.Entity(ids[0])
	}
	return nil
}

// fact is an edit's fact in the knowledge base. The objects are nil where the
// knowledge base lacks them.
type fact struct {
	subject, object, target *kb.Entity
	current                 []kb.Statement
}

// factOf returns ok where the knowledge base has the subject, with statements
// of the relation.
func (s *state) factOf(e *dataset.Edit) (f fact, ok bool) {
	f.subject = s.entity(e.SubjectID, e.Subject)
	f.object = s.entity(e.ObjectTrueID, e.GroundTruth)
	f.target = s.entity(e.ObjectNewID, e.Target)
	if f.subject == nil || len(f.subject.Claims.Of(e.RelationID)) == 0 {
		return f, false
	}
	f.current = s.o.KB.Current(f.subject, e.RelationID)
	return f, true
}

func targetAlreadyTrue(s *state, r *dataset.Record) verdict {
	e := &r.Edit
	f, ok := s.factOf(e)
	if !ok || e.Mode != dataset.Counterfactual {
		return verdict{}
	}
	for _, st := range f.subject.Claims.Of(e.RelationID) {
		if st.HasValue && (f.target != nil && st.Value.ID == f.target.ID || kb.SameAsAny(e.Target, s.o.KB.ValueNames(st.Value))) {
			return found(e.Prompt, "%q is stated for %s at rank %s", e.Target, f.subject.ID, st.Rank)
		}
	}
	return clean()
}

func truthNotCurrent(s *state, r *dataset.Record) verdict {
	e := &r.Edit
	f, ok := s.factOf(e)
	if !ok || e.GroundTruth == "" || s.onTop(e) {
		return verdict{}
	}
	var now []string
	for _, st := range f.current {
		list := s.o.KB.ValueNames(st.Value)
		if f.object != nil && st.Value.ID == f.object.ID || kb.SameAsAny(e.GroundTruth, list) {
			return clean()
		}
		now = append(now, list[:min(1, len(list))]...)
	}
	return found(e.Prompt, "%q is called true; at %s the knowledge base has %q", e.GroundTruth, s.o.KB.AsOf, now)
}

func manyObjects(s *state, r *dataset.Record) verdict {
	f, ok := s.factOf(&r.Edit)
	if !ok {
		return verdict{}
	}
	if len(f.current) > 1 {
		return found(r.Edit.Prompt, "%d current objects", len(f.current))
	}
	return clean()
}

// objects are both objects of an edit, where the knowledge base has them.
func (s *state) objects(e *dataset.Edit) (object, target *kb.Entity, ok bool) {
	object, target = s.entity(e.ObjectTrueID, e.GroundTruth), s.entity(e.ObjectNewID, e.Target)
	return object, target, object != nil && target != nil && object != target
}

func objectRelated(s *state, r *dataset.Record) verdict {
	object, target, ok := s.objects(&r.Edit)
	if !ok {
		return verdict{}
	}
	if s.o.KB.Contains(object, target) {
		return found(r.Edit.Prompt, "%q and %q are class and member, or place and part", r.Edit.GroundTruth, r.Edit.Target)
	}
	return clean()
}

func classMismatch(s *state, r *dataset.Record) verdict {
	object, target, ok := s.objects(&r.Edit)
	if !ok || len(s.o.KB.Classes(object)) == 0 || len(s.o.KB.Classes(target)) == 0 {
		return verdict{}
	}
	for _, class := range s.o.KB.Classes(object) {
		if slices.Contains(s.o.KB.Classes(target), class) {
			return clean()
		}
	}
	return found(r.Edit.Prompt, "%q is %v, %q is %v", r.Edit.GroundTruth, s.o.KB.Classes(object), r.Edit.Target, s.o.KB.Classes(target))
}

// factNotCurrent looks up the facts behind a probe that the edit leaves alone.
func factNotCurrent(s *state, _ *dataset.Record, p *dataset.Probe) verdict {
	v := verdict{}
	for _, hop := range p.Hops {
		subject := s.o.KB.Entity(hop.SubjectID)
		if hop.Edited || subject == nil || s.o.KB.Entity(hop.ObjectID) == nil || len(subject.Claims.Of(hop.PropertyID)) == 0 {
			continue
		}
		v = clean()
		if !slices.ContainsFunc(s.o.KB.Current(subject, hop.PropertyID), func(st kb.Statement) bool { return st.Value.ID == hop.ObjectID }) {
			return found(p.Prompt, "%q does not hold at %s", hop.Text, s.o.KB.AsOf)
		}
	}
	return v
}

// reversedMany looks at both directions of the relation: the new object's other
// subjects, and its own objects by the inverse property.
func reversedMany(s *state, r *dataset.Record, p *dataset.Probe) verdict {
	e := &r.Edit
	subject, target := s.entity(e.SubjectID, e.Subject), s.entity(e.ObjectNewID, e.Target)
	relation := s.o.KB.Catalogue.Relation(e.RelationID)
	if subject == nil || target == nil || relation == nil {
		return verdict{}
	}
	if relation.Reverse != catalogue.ReverseAsk {
		return found(p.Prompt, "relation %s (%s) is not one-to-one", relation.ID, relation.Label)
	}
	about := target
	if slices.ContainsFunc(p.Hops, func(h dataset.Hop) bool { return h.SubjectID == e.ObjectTrueID && !h.Edited }) {
		about = s.entity(e.ObjectTrueID, e.GroundTruth) // asks what the edit makes stale
	}
	if about == nil {
		return verdict{}
	}
	others := s.o.KB.Partners(about, relation.ID, s.o.KB.Inverse(relation), subject.ID)
	slices.Sort(others)
	if others = slices.Compact(others); len(others) > 0 {
		return found(p.Prompt, "%s has %s by %s as well", about.Label, strings.Join(others, ", "), relation.Label)
	}
	return clean()
}
