package generator

import (
	"editpipe/dataset"
	"editpipe/generator/kb"
)

// Reject is one row of rejects.parquet: a candidate that did not become an edit
// or a probe, and why.
type Reject struct {
	EditCandidate string `parquet:"edit_candidate"` // edit id, or subject|property before there is one
	Axis          string `parquet:"axis,dict"`      // "edit" for candidates of edits, else the probe's axis
	Reason        string `parquet:"reason,dict"`
	Detail        string `parquet:"detail"`
}

// AxisEdit stands in Reject.Axis for candidates of edits.
const AxisEdit = "edit"

// The reasons of rejects.
const (
	RejectNoLabel           = "no_label"            // subject or object has no English label
	RejectDeprecatedRank    = "deprecated_rank"     // only deprecated statements
	RejectNotCurrent        = "not_current"         // no statement holds at the as-of date
	RejectNoValue           = "no_value"            // unknown or absent value
	RejectManyObjects       = "many_objects"        // more than one current object
	RejectManySubjects      = "many_subjects"       // more than one current subject, so the reverse has no single answer
	RejectInverseConflict   = "inverse_conflict"    // the new object already has a partner
	RejectObjectAlreadyTrue = "object_already_true" // every candidate was stated for the subject at some time
	RejectObjectRelated     = "object_related"      // every candidate contains or is part of the true object
	RejectClassMismatch     = "class_mismatch"      // object outside the relation's range, or no candidate of its class
	RejectAnswerInPrompt    = "answer_in_prompt"    // the right answer stands in the prompt
	RejectTargetInPrompt    = "target_in_prompt"    // the new object stands in the prompt
	RejectSubstringLeak     = "substring_leak"      // most of the answer is part of a name in the prompt
	RejectAnswerUnchanged   = "answer_unchanged"    // the chain ends where it ended before the edit
	RejectAliasAmbiguous    = "alias_ambiguous"     // the alias names something else, too
	RejectAliasSame         = "alias_same"          // equal to the label or to another alias
	RejectAliasOverlap      = "alias_overlap"       // contains the label or is contained in it
	RejectAliasCode         = kb.AliasCode          // a code, sign or emoji, or too short
	RejectAliasScript       = kb.AliasScript        // not in Latin script
	RejectBlockedRelation   = "blocked_relation"    // the edit itself changes this fact
	RejectDuplicatePrompt   = "duplicate_prompt"    // the edit has this prompt already
	RejectTooLongLabel      = "too_long_label"      // a name is too long for a prompt
	RejectPhrasing          = "phrasing_refused"    // the phraser's wording will not do
	RejectConflict          = "conflict_with_edit"  // another edit of the set changes a fact this one needs
)

// Flags of probes.
const (
	FlagReserved      = "reserved_template" // wording kept out of all training text
	FlagSharedWord    = "shared_first_word" // new and true object begin with the same word
	FlagAliasDominant = "alias_dominant"    // the alias names a far less known thing of another class, too
	FlagAliasOverlap  = "alias_overlap"
	FlagConflict      = "inverse_conflict"
	FlagStale         = "stale" // Answers are what held before the edit; agreement with the unedited model means the inverse stayed stale
	FlagControl       = "control"
)

// Counts are the numbers of one generation.
type Counts struct {
	Edits     int                  `json:"edits"`                // without follow-ups
	FollowUps int                  `json:"follow_ups,omitempty"` // edits on top of another edit: round_edit and conflict
	Probes    map[dataset.Axis]int `json:"probes"`
	Variants  map[string]int       `json:"variants"` // axis/variant
	Rejects   map[string]int       `json:"rejects"`  // axis/reason
}
