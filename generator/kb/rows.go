package kb

import (
	"iter"
	"maps"
	"slices"

	"editpipe/generator/catalogue"
)

// EntityRow is one row of entities.parquet.
type EntityRow struct {
	ID              string   `parquet:"id"`
	Label           string   `parquet:"label"`
	LabelLang       string   `parquet:"label_lang,dict"`
	Description     string   `parquet:"description"`
	Aliases         []string `parquet:"aliases,list"`
	Classes         []string `parquet:"classes,list"`
	Sitelinks       int32    `parquet:"sitelinks"`
	LabelCollisions int32    `parquet:"label_collisions"` // other entities with this label or alias
	Revision        int64    `parquet:"revision"`
}

// FactRow is one row of facts.parquet: one statement with a value.
type FactRow struct {
	ID              string               `parquet:"fact_id"` // hash of subject, property, object and dates
	SubjectID       string               `parquet:"subject_id"`
	PropertyID      string               `parquet:"property_id,dict"`
	ObjectID        string               `parquet:"object_id,optional"` // empty for years, strings, quantities
	ObjectKind      catalogue.ObjectKind `parquet:"object_kind,dict"`
	ObjectText      string               `parquet:"object_text"` // label of the item, or the value itself
	Rank            Rank                 `parquet:"rank,dict"`
	StartYear       *int32               `parquet:"start_year,optional"`
	EndYear         *int32               `parquet:"end_year,optional"`
	IsCurrent       bool                 `parquet:"is_current"`         // holds at the as-of date and has the best rank
	ObjectsCurrent  int32                `parquet:"n_objects_current"`  // of this subject and property
	SubjectsCurrent int32                `parquet:"n_subjects_current"` // of this property and object; 0 where the object is no item
	DumpID          string               `parquet:"dump_id,dict"`
}

// EntityRows yields the items as rows, ordered by id number.
func (kb *Base) EntityRows() iter.Seq[EntityRow] {
	return func(yield func(EntityRow) bool) {
		for _, id := range kb.ids {
			e := kb.entities[id]
			others := map[string]bool{}
			for _, other := range kb.names[Normalise(e.Label)] {
				others[other] = true
			}
			delete(others, id)
			row := EntityRow{ID: id, Label: e.Label, LabelLang: e.LabelLang, Description: e.Description, Aliases: e.Aliases,
				Classes: kb.Classes(e), Sitelinks: int32(e.Sitelinks), LabelCollisions: int32(len(others)), Revision: e.Revision}
			if !yield(row) {
				return
			}
		}
	}
}

// FactRows yields the statements with a value, ordered by subject number,
// property and position.
func (kb *Base) FactRows() iter.Seq[FactRow] {
	return func(yield func(FactRow) bool) {
		for _, id := range kb.ids {
			e := kb.entities[id]
			for _, p := range slices.Sorted(maps.Keys(e.Claims)) {
				current := kb.Current(e, p)
				for _, st := range e.Claims[p] {
					if st.HasValue && !yield(kb.factRow(e, st, current)) {
						return
					}
				}
			}
		}
	}
}

func (kb *Base) factRow(e *Entity, st Statement, current []Statement) FactRow {
	row := FactRow{ID: FactID(e.ID, st), SubjectID: e.ID, PropertyID: st.Property, ObjectID: st.Value.ID, ObjectKind: st.Value.Kind,
		ObjectText: st.Value.Text, Rank: st.Rank, ObjectsCurrent: int32(len(current)), DumpID: kb.DumpID}
	if names := kb.ValueNames(st.Value); st.Value.Kind == catalogue.Item && len(names) > 0 {
		row.ObjectText = names[0]
	}
	if y := int32(st.Start.Year); y != 0 {
		row.StartYear = &y
	}
	if y := int32(st.End.Year); y != 0 {
		row.EndYear = &y
	}
	for _, c := range current {
		row.IsCurrent = row.IsCurrent || (c.Value == st.Value && c.Rank == st.Rank && c.Start == st.Start && c.End == st.End)
	}
	if st.Value.Kind == catalogue.Item {
		row.SubjectsCurrent = int32(len(kb.subjects[key{st.Value.ID, st.Property}]))
	}
	return row
}
