// Package dataset defines a data set: what is edited and what is asked
// afterwards.
//
// An Edit is one requested change of a fact; a Probe is one question about the
// model after (and before) that change; a Record is an edit with its probes.
// The struct tags are the column names of edits.parquet and probes.parquet
// (docs/formats.md). This package opens no file: package importer reads
// published formats, package store reads and writes Parquet.
package dataset

// EditID names an edit within a data set; it is stable across runs.
type EditID string

// ProbeID names a probe within a data set; it is stable across runs.
type ProbeID string

// Family is one of the survey's four criteria that are asked by probes.
type Family string

// The families of Yao et al. 2023, section 2.
const (
	Reliability    Family = "reliability"
	Generalization Family = "generalization"
	Portability    Family = "portability"
	Locality       Family = "locality"
)

// Further families: probes of what the survey's criteria leave open. They count
// in none of its numbers.
const (
	Belief Family = "belief" // does the model hold the new fact when asked in other ways than to state it
	Time   Family = "time"   // which value held when
	Repeat Family = "repeat" // edits of a fact that was edited already
)

// Axis is a kind of probe; every axis belongs to one Family.
type Axis string

// The axes, in the order reports print them.
const (
	AxisReliability           Axis = "reliability"            // the edit prompt itself
	AxisGeneralization        Axis = "generalization"         // paraphrases of the edit prompt
	AxisSubjectReplace        Axis = "subject_replace"        // the subject's alias in the same template
	AxisReversedRelation      Axis = "reversed_relation"      // the question turned round
	AxisOneHop                Axis = "one_hop"                // a fact of the new object, asked through the subject
	AxisOtherRelations        Axis = "other_relations"        // other facts of the subject
	AxisNeighbourhood         Axis = "neighbourhood"          // other subjects with the old object
	AxisDistractNeighbourhood Axis = "distract_neighbourhood" // neighbours, with the edit statement put in front
	AxisOtherTasks            Axis = "other_tasks"            // questions of another kind (choices, general facts)
)

// The further axes, off the headline.
const (
	AxisBeliefYesNo    Axis = "belief_yes_no"   // is a statement of the fact true: yes or no
	AxisNegation       Axis = "negation"        // the same under a negation
	AxisMultipleChoice Axis = "multiple_choice" // new object, old object and others to choose from
	AxisTimeSlice      Axis = "time_slice"      // the value at a day: the present one and past ones
	AxisRoundEdit      Axis = "round_edit"      // after the edit was taken back by another edit
	AxisConflict       Axis = "conflict"        // after a second edit gave the fact a third object
)

// FurtherAxes lists the axes that belong to none of the survey's criteria, in
// report order.
func FurtherAxes() []Axis {
	return []Axis{AxisBeliefYesNo, AxisNegation, AxisMultipleChoice, AxisTimeSlice, AxisRoundEdit, AxisConflict}
}

// Axes lists the axes of the survey's criteria, in report order: the headline.
func Axes() []Axis {
	return []Axis{
		AxisReliability, AxisGeneralization,
		AxisSubjectReplace, AxisReversedRelation, AxisOneHop,
		AxisOtherRelations, AxisNeighbourhood, AxisDistractNeighbourhood, AxisOtherTasks,
	}
}

// Family returns the criterion the axis belongs to, or "" for an unknown axis.
func (a Axis) Family() Family {
	switch a {
	case AxisReliability:
		return Reliability
	case AxisGeneralization:
		return Generalization
	case AxisSubjectReplace, AxisReversedRelation, AxisOneHop:
		return Portability
	case AxisOtherRelations, AxisNeighbourhood, AxisDistractNeighbourhood, AxisOtherTasks:
		return Locality
	case AxisBeliefYesNo, AxisNegation, AxisMultipleChoice:
		return Belief
	case AxisTimeSlice:
		return Time
	case AxisRoundEdit, AxisConflict:
		return Repeat
	}
	return ""
}

// FollowUp tells whether the axis asks about an edit that comes on top of
// another one of its conflict group: without that one the answer means nothing.
func (a Axis) FollowUp() bool { return a.Family() == Repeat }

// AxesOf lists the axes that a name stands for: the axis itself, or all axes of
// a family. It is empty for an unknown name.
func AxesOf(name string) []Axis {
	var out []Axis
	for _, a := range append(Axes(), FurtherAxes()...) {
		if string(a) == name || string(a.Family()) == name {
			out = append(out, a)
		}
	}
	return out
}

// Mode says where an edit's new object comes from.
type Mode string

// The modes of an edit.
const (
	Counterfactual Mode = "counterfactual" // the new object was never true
	Update         Mode = "update"         // the new object is the later of two true values
	Restore        Mode = "restore"        // the new object is the true one, after another edit replaced it
)

// Edit is one requested change: after it, Prompt should be continued by Target.
// It is one row of edits.parquet.
type Edit struct {
	ID         EditID `parquet:"edit_id"`
	Set        string `parquet:"set_name,dict"`
	Source     string `parquet:"source,dict"`          // wikidata, custom, or the name of the format it was imported from
	SourceCase string `parquet:"source_case,optional"` // the record's own id in its source
	Split      string `parquet:"split,dict,optional"`  // train, valid, test; empty where the source has none

	RelationID    string `parquet:"relation_id,dict,optional"`
	RelationLabel string `parquet:"relation_label,dict,optional"`

	SubjectID      string   `parquet:"subject_id,optional"`
	Subject        string   `parquet:"subject"` // as the source names it; empty where it names none
	SubjectAliases []string `parquet:"subject_aliases,list"`

	ObjectTrueID      string   `parquet:"object_true_id,optional"`
	GroundTruth       string   `parquet:"object_true,optional"` // what was true before; empty where unknown
	ObjectTrueAliases []string `parquet:"object_true_aliases,list"`

	ObjectNewID      string   `parquet:"object_new_id,optional"`
	Target           string   `parquet:"object_new"` // what shall be true; no leading space
	ObjectNewAliases []string `parquet:"object_new_aliases,list"`

	Mode Mode `parquet:"mode,dict"`

	Prompt         string `parquet:"prompt"`                    // the text the edit is made with
	PromptCloze    string `parquet:"prompt_cloze,optional"`     // statement ending where the object goes
	PromptQuestion string `parquet:"prompt_question,optional"`  // question form
	PromptTemplate string `parquet:"prompt_template,optional"`  // Prompt with {s} for the subject; empty where it is not clear which is meant
	SubjectStart   int32  `parquet:"subject_byte_start"`        // byte offset of the subject in Prompt; -1 where it does not occur
	SubjectEnd     int32  `parquet:"subject_byte_end"`          // byte offset behind it; -1 likewise
	TemplateID     string `parquet:"template_id,dict,optional"` // catalogue template the prompt was made from
	Popularity     int32  `parquet:"popularity"`                // sitelinks of the subject; 0 where unknown
	Temporal       bool   `parquet:"temporal"`                  // the relation's value changes over time
	AsOf           string `parquet:"as_of,dict,optional"`       // date at which GroundTruth holds, YYYY-MM-DD
	ConflictGroup  string `parquet:"conflict_group,optional"`   // edits of one group contradict each other in batch or sequence
	FactTrueID     string `parquet:"fact_true_id,optional"`     // row of facts.parquet that the edit contradicts
	Seed           int64  `parquet:"seed"`                      // generator seed; 0 for imported edits
	DumpID         string `parquet:"dump_id,dict,optional"`     // knowledge base the edit was drawn from
	Licence        string `parquet:"licence,dict,optional"`     // licence of the source, as its distributor states it
}

// Format says how a probe's text is to be continued.
type Format string

// The formats of a probe.
const (
	Cloze    Format = "cloze"    // a statement broken off before the answer
	Question Format = "question" // a question
	Choice   Format = "choice"   // one of Choices is to be preferred
)

// AnswerMode says when a probe counts as answered.
type AnswerMode string

// The answer modes of a probe.
const (
	Single    AnswerMode = "single"    // Answers are spellings of the one right answer
	AnyOf     AnswerMode = "any_of"    // any of Answers is right
	Set       AnswerMode = "set"       // membership in AnswerSets
	OneChoice AnswerMode = "choice"    // ChoiceLabel indexes Choices
	Unchanged AnswerMode = "unchanged" // only agreement with the unedited model is asked
)

// FlagApart marks a probe that answers a side question: it is asked and its rows
// are kept, but it belongs in no headline number of its axis.
const FlagApart = "apart"

// Hop is one fact of the chain behind a portability probe.
type Hop struct {
	SubjectID  string `parquet:"subject_id"`
	PropertyID string `parquet:"property_id"`
	ObjectID   string `parquet:"object_id"`
	Text       string `parquet:"text"`
	Edited     bool   `parquet:"edited"` // the fact holds only after the edit
}

// Probe is one question. It is one row of probes.parquet.
//
// Answers hold spellings of what should be answered after the edit (for
// locality: what was true all along). Where two continuations are compared by
// probability, Answers[0] should win over Contrast: the new object over the old
// one for edits, the old object over the new one for neighbourhoods.
type Probe struct {
	ID     ProbeID `parquet:"probe_id"`
	EditID EditID  `parquet:"edit_id"`
	Family Family  `parquet:"family,dict"`
	Axis   Axis    `parquet:"axis,dict"`
	// Variant tells kinds within an axis apart (e.g. alias, alias_overlap; near, far).
	Variant string `parquet:"variant,dict,optional"`

	Prompt        string     `parquet:"prompt"`
	Format        Format     `parquet:"format,dict"`
	AnswerMode    AnswerMode `parquet:"answer_mode,dict"`
	Answers       []string   `parquet:"answers,list"`
	AnswerSets    [][]string `parquet:"answer_sets,list"`
	AnswersBefore []string   `parquet:"answers_before,list"` // right before the edit, where it differs
	Contrast      string     `parquet:"contrast,optional"`
	Choices       []string   `parquet:"choices,list"`
	ChoiceLabel   int32      `parquet:"choice_label"` // index of the right choice; -1 where there are none

	SubjectText  string `parquet:"subject_text,optional"` // the subject as spelled in Prompt
	SubjectStart int32  `parquet:"subject_byte_start"`    // byte offset in Prompt; -1 where it does not occur
	SubjectEnd   int32  `parquet:"subject_byte_end"`
	Distractor   string `parquet:"distractor,optional"` // text put in front of the prompt proper; part of Prompt

	Hops        []Hop    `parquet:"hops,list"`
	NeedsFacts  []string `parquet:"needs_facts,list"` // fact ids the model must know to answer
	Phrasing    string   `parquet:"phrasing,dict"`    // template, llm, imported
	TemplateIDs []string `parquet:"template_ids,list"`
	Flags       []string `parquet:"flags,list"`
}

// Record is an edit with everything asked about it.
type Record struct {
	Edit   Edit
	Probes []Probe
}
