package kb

import (
	"fmt"
	"iter"
	"strings"

	"editpipe/generator/catalogue"
)

// EntityRow is one row of a table of entities.
type EntityRow struct {
	ID              string   `parquet:"id"`
	Label           string   `parquet:"label"`
	LabelLang       string   `parquet:"label_lang,dict"`
	Description     string   `parquet:"description"`
	Aliases         []string `parquet:"aliases,list"`
	Classes         []string `parquet:"classes,list"`
	Sitelinks       int32    `parquet:"sitelinks"`
	LabelCollisions int32    `parquet:"label_collisions"` // other items with this label or alias
	Revision        int64    `parquet:"revision"`
}

// FactRow is one row of a table of facts: one statement with a value.
type FactRow struct {
	ID              string               `parquet:"fact_id"` // hash of subject, property, object and dates
	SubjectID       string               `parquet:"subject_id"`
	PropertyID      string               `parquet:"property_id,dict"`
	ObjectID        string               `parquet:"object_id,optional"` // empty for years, strings, quantities
	ObjectKind      catalogue.ObjectKind `parquet:"object_kind,dict"`
	ObjectText      string               `parquet:"object_text"` // label of the item, or the value itself
	Rank            string               `parquet:"rank,dict"`
	StartYear       *int32               `parquet:"start_year,optional"`
	EndYear         *int32               `parquet:"end_year,optional"`
	IsCurrent       bool                 `parquet:"is_current"`         // holds at the as-of date and has the best rank
	ObjectsCurrent  int32                `parquet:"n_objects_current"`  // of this subject and property
	SubjectsCurrent int32                `parquet:"n_subjects_current"` // of this property and object; 0 where the object is no item
	DumpID          string               `parquet:"dump_id,dict"`
	StartDate       string               `parquet:"start_date,optional,dict"` // in Date.Text's form
	EndDate         string               `parquet:"end_date,optional,dict"`
	Ended           bool                 `parquet:"ended"`          // an end is stated, if only as unknown
	AboutIDs        []string             `parquet:"about_ids,list"` // Statement.Items
}

// NewEntityRow returns the row of an entity, but for the collisions of its label.
func NewEntityRow(e *Entity) EntityRow {
	return EntityRow{ID: e.ID, Label: e.Label, LabelLang: e.LabelLang, Description: e.Description, Aliases: e.Aliases,
		Classes: e.classes(), Sitelinks: int32(e.Sitelinks), Revision: e.Revision}
}

// AppendFactRows appends the rows of an entity's statements with a value, by
// property and position. What takes other entities is left out: the label of an
// item, and the number of subjects.
func AppendFactRows(out []FactRow, e *Entity, asOf Date, dumpID string) []FactRow {
	for p, list := range e.Claims.ByProperty() {
		current := e.Current(p, asOf)
		for _, st := range list {
			if st.HasValue {
				out = append(out, factRow(e, st, current, dumpID))
			}
		}
	}
	return out
}

func factRow(e *Entity, st Statement, current []Statement, dumpID string) FactRow {
	row := FactRow{ID: FactID(e.ID, st), SubjectID: e.ID, PropertyID: st.Property, ObjectID: st.Value.ID, ObjectKind: st.Value.Kind,
		ObjectText: st.Value.Text, Rank: st.Rank.String(), ObjectsCurrent: int32(len(current)), DumpID: dumpID,
		StartDate: st.Start.Text(), EndDate: st.End.Text(), Ended: st.Ended, AboutIDs: st.Items}
	if y := st.Start.Year; y != 0 {
		row.StartYear = &y
	}
	if y := st.End.Year; y != 0 {
		row.EndYear = &y
	}
	for _, c := range current {
		row.IsCurrent = row.IsCurrent || (c.Value == st.Value && c.Rank == st.Rank && c.Start == st.Start && c.End == st.End)
	}
	return row
}

// EntityText is the part of an entity's row from which the entity can be made
// again; the rest follows from the facts.
type EntityText struct {
	ID          string   `parquet:"id"`
	Label       string   `parquet:"label"`
	LabelLang   string   `parquet:"label_lang,dict"`
	Description string   `parquet:"description"`
	Aliases     []string `parquet:"aliases,list"`
	Sitelinks   int32    `parquet:"sitelinks"`
	Revision    int64    `parquet:"revision"`
}

// StatementText is the part of a fact's row from which the statement can be made
// again.
type StatementText struct {
	SubjectID  string               `parquet:"subject_id"`
	PropertyID string               `parquet:"property_id,dict"`
	ObjectID   string               `parquet:"object_id,optional"`
	ObjectKind catalogue.ObjectKind `parquet:"object_kind,dict"`
	ObjectText string               `parquet:"object_text"`
	Rank       string               `parquet:"rank,dict"`
	StartDate  string               `parquet:"start_date,optional,dict"`
	EndDate    string               `parquet:"end_date,optional,dict"`
	Ended      bool                 `parquet:"ended"`
	AboutIDs   []string             `parquet:"about_ids,list"`
}

// Entity returns what the row was made from. The statements are missing.
func (r EntityText) Entity() *Entity {
	e := &Entity{ID: r.ID, Type: "item", Label: r.Label, LabelLang: r.LabelLang, Description: r.Description, Aliases: r.Aliases,
		Sitelinks: int(r.Sitelinks), Revision: r.Revision}
	if strings.HasPrefix(r.ID, "P") {
		e.Type = "property"
	}
	for _, l := range [...]string{"en", "mul"} {
		if l == e.LabelLang {
			e.LabelLang = l
		}
	}
	return e
}

// Statement returns what the row was made from.
func (r StatementText) Statement() (Statement, error) {
	st := Statement{Property: r.PropertyID, HasValue: true, Value: Value{Kind: r.ObjectKind, ID: r.ObjectID}, Ended: r.Ended}
	if len(r.AboutIDs) > 0 {
		st.Items = r.AboutIDs
	}
	if r.ObjectKind != catalogue.Item {
		st.Value.Text = r.ObjectText
	}
	// The word repeats in every row: it is held once.
	for _, k := range [...]catalogue.ObjectKind{catalogue.Item, catalogue.String, catalogue.Year, catalogue.Quantity} {
		if k == st.Value.Kind {
			st.Value.Kind = k
		}
	}
	var err error
	if st.Rank, err = parseRank(r.Rank); err == nil {
		st.Start, err = parseText(r.StartDate)
	}
	if err == nil {
		st.End, err = parseText(r.EndDate)
	}
	if err != nil {
		return st, fmt.Errorf("kb: %s of %s: %w", r.PropertyID, r.SubjectID, err)
	}
	return st, nil
}

// EntityRows yields the items as rows, ordered by id number.
func (kb *Base) EntityRows() iter.Seq[EntityRow] {
	return func(yield func(EntityRow) bool) {
		for _, id := range kb.ids {
			e := kb.entities[id]
			others := map[string]bool{}
			for _, other := range kb.names.of(Normalise(e.Label)) {
				others[other] = true
			}
			delete(others, id)
			row := NewEntityRow(e)
			row.LabelCollisions = int32(len(others))
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
			for _, row := range AppendFactRows(nil, kb.entities[id], kb.AsOf, kb.DumpID) {
				if row.ObjectKind == catalogue.Item {
					if o := kb.entities[row.ObjectID]; o != nil {
						row.ObjectText = o.Label
					}
					row.SubjectsCurrent = int32(len(kb.Subjects(row.ObjectID, row.PropertyID)))
				}
				if !yield(row) {
					return
				}
			}
		}
	}
}
