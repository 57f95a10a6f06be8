package audit

import (
	"editpipe/dataset"
	"editpipe/dataset/importer"
)

// Checks lists every check, in the order of reports.
func Checks() []Check {
	const (
		generalization = dataset.AxisGeneralization
		alias          = dataset.AxisSubjectReplace
		reversed       = dataset.AxisReversedRelation
		oneHop         = dataset.AxisOneHop
		other          = dataset.AxisOtherRelations
		near           = dataset.AxisNeighbourhood
		distract       = dataset.AxisDistractNeighbourhood
		tasks          = dataset.AxisOtherTasks
	)
	every := dataset.Axes()
	whole := append(dataset.Axes(), dataset.FurtherAxes()...)
	asked := every[1:] // all but the edit prompt itself, which is judged as the edit
	stays := []dataset.Axis{oneHop, other, near, distract, tasks}
	return []Check{
		// What the prompt gives away.
		{Code: "target_in_prompt", Severity: Fault, Title: "the new object occurs in the prompt",
			Why:  "the answer, or the edit, can be copied from the prompt; 22 % of KnowEdit-ZsRE's one-hop prompts",
			Axes: stays, edit: targetInEdit, probe: targetInPrompt},
		{Code: "answer_in_prompt", Severity: Fault, Title: "the right answer occurs in the prompt",
			Why:  "a model that copies from the prompt passes, edited or not; 31 of wiki_recent's 751 records",
			Axes: asked, probe: answerInPrompt},
		{Code: "answer_in_distractor", Severity: Fault, Title: "the right answer occurs in the distracting text",
			Why:  "the distracting text should lead away from the answer",
			Axes: []dataset.Axis{distract}, probe: answerInDistractor},
		{Code: "truth_in_prompt", Severity: Doubt, Title: "the old object occurs in the prompt",
			Why:  "the prompt favours the old object: the edit looks weaker than it is",
			Axes: []dataset.Axis{generalization, alias, oneHop, other}, edit: truthInEdit, probe: truthInPrompt},
		{Code: "substring_leak", Severity: Doubt, Title: "more than 60 % of the answer occurs in one piece in a name in the prompt",
			Why:  "the name gives the answer away (the filter of UniEdit)",
			Axes: asked, edit: leakInEdit, probe: leakInPrompt},

		// What the edit asks for.
		{Code: "target_is_truth", Severity: Fault, Title: "the new object is the old one",
			Why: "the unedited model passes; 43 of KnowEdit-ZsRE's 1,304 edits", edit: targetIsTruth},
		{Code: "answer_unchanged", Severity: Fault, Title: "the answer after the edit was right before it",
			Why:  "the unedited model passes",
			Axes: []dataset.Axis{reversed, oneHop}, probe: answerUnchanged},
		{Code: "answer_is_target", Severity: Fault, Title: "the answer to another question is the new object",
			Why:  "repeating the target passes, or spill-over cannot be told from the truth; 15 of KnowEdit-ZsRE's one-hop probes",
			Axes: stays, probe: answerIsTarget},
		{Code: "target_already_true", Severity: Fault, Needs: Knowledge, Title: "the counterfactual object is stated for the subject",
			Why: "it was true at some rank or date: the edit is not counterfactual", edit: targetAlreadyTrue},
		{Code: "truth_not_current", Severity: Doubt, Needs: Knowledge, Title: "the old object is not the current one",
			Why: "what is called true is not true at the as-of date", edit: truthNotCurrent},
		{Code: "many_objects", Severity: Doubt, Needs: Knowledge, Title: "the fact has several current objects",
			Why: "the edit replaces one of several right answers", edit: manyObjects},
		{Code: "object_related", Severity: Doubt, Needs: Knowledge, Title: "one object contains the other",
			Why: "a district in place of its city is not a contradiction", edit: objectRelated},
		{Code: "class_mismatch", Severity: Doubt, Needs: Knowledge, Title: "old and new object share no class",
			Why: "an answer of the wrong kind is easy to tell; CounterFact has FIFA for Avengers", edit: classMismatch},
		{Code: "fact_not_current", Severity: Doubt, Needs: Knowledge, Title: "a fact that the probe relies on is not true",
			Why:  "the gold answer is wrong at the as-of date",
			Axes: stays, probe: factNotCurrent},

		// Aliases.
		{Code: "alias_overlap", Severity: Fault, Title: "the original subject is still in the alias prompt",
			Why:  "the edited subject's tokens are there: the axis measures the edit prompt again; 16 % of KnowEdit-ZsRE",
			Axes: []dataset.Axis{alias}, probe: aliasOverlap},
		{Code: "alias_ambiguous", Severity: Fault, Needs: Knowledge, Title: "the alias also names something else",
			Why:  "the question has two answers",
			Axes: []dataset.Axis{alias}, probe: aliasAmbiguous},
		{Code: "alias_shared", Severity: Fault, Title: "the alias is a name of another subject of the set",
			Why:  "the question has two answers, within the set",
			Axes: []dataset.Axis{alias}, probe: aliasShared},
		{Code: "alias_code", Severity: Doubt, Title: "the alias is a code or sign, or not in Latin script",
			Why:  "a code cannot be the subject of a sentence; MQuAKE has en, GBR, G B R",
			Axes: []dataset.Axis{alias}, probe: aliasCode},
		{Code: "alias_reworded", Severity: Doubt, Title: "fewer than half of the edit prompt's other words are kept",
			Why:  "alias and paraphrase are mixed up, and the question may have changed; 68 % of KnowEdit-ZsRE",
			Axes: []dataset.Axis{alias}, probe: aliasReworded},
		{Code: "answer_code", Severity: Note, Title: "an accepted spelling is a code or sign",
			Why:  "short codes occur by chance in generated text",
			Axes: []dataset.Axis{alias, reversed, oneHop}, probe: answerCode},

		// Reverse questions.
		{Code: "reversed_many", Severity: Fault, Needs: Knowledge, Title: "the reverse question has several answers in the knowledge base",
			Why:  "naming another one counts as a failure",
			Axes: []dataset.Axis{reversed}, probe: reversedMany},
		{Code: "reversed_family", Severity: Fault, Title: "the reverse question asks for a child, parent or sibling",
			Why:  "such relations are not one-to-one; 81 % of KnowEdit-ZsRE's reversed questions go from parent to child",
			Axes: []dataset.Axis{reversed}, probe: reversedFamily},

		// What contradicts or repeats.
		{Code: "duplicate_edit", Severity: Fault, Title: "the edit occurs earlier in the set",
			Why: "it counts twice", edit: duplicateEdit},
		{Code: "conflicting_edit", Severity: Fault, Title: "another edit gives the same fact another object",
			Why: "made together, one of them must fail; MQuAKE issued CF-3k-v2 for this", edit: conflictingEdit},
		{Code: "conflict_with_edit", Severity: Doubt, Title: "the probe needs a fact that another edit changes",
			Why:  "made together, the gold answer is no longer right",
			Axes: stays, probe: conflictWithEdit},
		{Code: "conflicting_probe", Severity: Doubt, Title: "the same question has another answer in another record",
			Why:  "made together, one of them must fail",
			Axes: asked[1:], probe: conflictingProbe},
		{Code: "repeated_subject", Severity: Note, Title: "an earlier edit has the same subject",
			Why: "edits of one subject disturb each other in a sequence; 413 of CounterFact's 10,000", edit: repeatedSubject},
		{Code: "duplicate_probe", Severity: Doubt, Title: "the record asks the same twice on one axis",
			Why:  "it counts twice",
			Axes: whole, probe: duplicateProbe},
		{Code: "near_duplicate_probe", Severity: Doubt, Title: "the record asks nearly the same twice on one axis",
			Why:  "at most one word in five differs: the two are hardly independent",
			Axes: every, probe: nearDuplicateProbe},
		{Code: "repeated_probe", Severity: Note, Title: "another record asks the same",
			Why:  "rows of different edits are not independent; MQuAKE-T repeats questions",
			Axes: asked[1:], probe: repeatedProbe},
		{Code: "rephrase_is_prompt", Severity: Fault, Title: "the paraphrase is the edit prompt",
			Why:  "generalization measures reliability again",
			Axes: []dataset.Axis{generalization}, probe: rephraseIsPrompt},

		// Texts.
		{Code: "blank", Severity: Fault, Title: "a prompt, an answer or a name is missing",
			Why:  "MQuAKE-T lacks gold answers, RippleEdits has blank targets",
			Axes: whole, edit: blankEdit, probe: blankProbe},
		{Code: "raw_id", Severity: Fault, Title: "an entity's id is in place of its name",
			Why:  "no model can know it; RippleEdits falls back to ids",
			Axes: whole, edit: rawIDInEdit, probe: rawIDInProbe},
		{Code: "subject_span", Severity: Fault, Title: "the subject's byte range is not the subject",
			Why:  "methods that edit at the subject's last token edit elsewhere",
			Axes: whole, edit: spanOfEdit, probe: spanOfProbe},
		{Code: "choice_broken", Severity: Fault, Title: "the answer is not exactly once among the choices, at the position of the label",
			Why:  "the right choice counts as wrong",
			Axes: whole, probe: choiceBroken},
		{Code: "axis_family", Severity: Fault, Title: "axis and family do not belong together",
			Why:  "the row is counted under the wrong criterion",
			Axes: whole, probe: axisFamily},
		{Code: "no_probe", Severity: Doubt, Title: "no probe asks about the edit",
			Why: "it gets no row; probes.parquet may belong to another set", edit: noProbe},
		{Code: "no_subject", Severity: Doubt, Title: "the edit names no subject",
			Why: "locating methods cannot make the edit; all of UnKEBench and CKnowEdit", edit: noSubject},
		{Code: "subject_not_in_prompt", Severity: Doubt, Title: "the subject does not occur in the edit prompt",
			Why: "locating methods cannot make the edit", edit: subjectNotInPrompt},
		{Code: "subject_repeated", Severity: Doubt, Title: "the subject occurs in the prompt more than once, and nothing says which is meant",
			Why: "locating methods edit at the first one", edit: subjectRepeated},
		{Code: "subject_spelling", Severity: Note, Title: "the prompt spells the subject in another way",
			Why: "it is found nevertheless; other readers may not find it", edit: subjectSpelling},
		{Code: "stray_space", Severity: Doubt, Title: "a name has leading, trailing or doubled white space",
			Why: "it changes the tokens that are scored; 10 targets of KnowEdit-ZsRE", edit: straySpace},
		{Code: "paraphrase_prefixed", Severity: Doubt, Title: "the paraphrase starts with an unrelated sentence",
			Why:  "it measures distraction as well; 16 % of CounterFact",
			Axes: []dataset.Axis{generalization}, probe: paraphrasePrefixed},
		{Code: "distractor_missing", Severity: Doubt, Title: "the prompt does not start with its distractor",
			Why:  "the plain neighbourhood is measured again",
			Axes: []dataset.Axis{distract}, probe: distractorMissing},
		{Code: "no_far_neighbour", Severity: Note, Title: "every neighbour has the old object",
			Why: "spill-over on other objects is not measured; all of CounterFact", edit: noFarNeighbour},
		{Code: "long_answer", Severity: Note, Title: "the answer has more than six words",
			Why:  "token accuracy of long answers is mostly grammar; 40 of KnowEdit-ZsRE's one-hop probes",
			Axes: asked, edit: longTarget, probe: longAnswer},
		{Code: "shared_first_word", Severity: Note, Title: "old and new object begin with the same word",
			Why: "comparisons of the first token cannot tell them apart", edit: sharedFirstWord},

		// Tokens.
		{Code: "first_token_clash", Severity: Note, Needs: Tokens, Title: "old and new object begin with the same token",
			Why: "comparisons of the first token cannot tell them apart; 8.6 % of KnowEdit-ZsRE with GPT-2", edit: firstTokenClash},
		{Code: "one_token_target", Severity: Note, Needs: Tokens, Title: "the new object is one token",
			Why: "results say nothing about longer answers; all of CounterFact with GPT-2", edit: oneTokenTarget},
		{Code: "unencodable", Severity: Fault, Needs: Tokens, Title: "the tokenizer has no tokens for the new object",
			Why: "what is scored is the unknown token, or nothing", edit: unencodable},

		// Found while importing.
		{Code: importer.CodeRecord, Severity: Fault, Needs: Original, Title: "the record cannot be read",
			Why: "import leaves it out"},
		{Code: importer.CodeDuplicateID, Severity: Doubt, Needs: Original, Title: "two records have the same id",
			Why: "rows can be joined to the wrong record; import renames the later one"},
		{Code: importer.CodeTrimmed, Severity: Doubt, Needs: Original, Title: "a text has leading or trailing white space",
			Why: "other readers score it; import removes it. 10 targets of KnowEdit-ZsRE"},
		{Code: importer.CodeBracesKept, Severity: Doubt, Needs: Original, Title: "the prompt has both {} and the subject",
			Why: "{} was read as text, because the subject is there already"},
		{Code: importer.CodeProbeDropped, Severity: Doubt, Needs: Original, Title: "a probe has no prompt, answer or known kind",
			Why: "import leaves it out: axes have fewer probes than the file says"},
	}
}
