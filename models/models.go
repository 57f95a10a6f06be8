// Package models defines an opened language model: its files, its weights, its
// sessions on the runtime and what identifies it. What can be asked of a model
// is in the packages below this one:
//
//	arch        what a model folder is made of, and what cannot be changed or read there
//	patch       an edit as a value
//	graph       the graphs that take edits in and give back what is asked
//	models      an opened model
//	run         many questions in few runs of a session
//	answer      answers to questions, scored and generated
//	activation  activations at sites, and sums over them
//	loss        losses and their gradients with respect to shifts of activations
//
// Each may import those above it in this list; of the last three only answer
// imports another, activation, because the routes of a patch may ask for
// vectors of texts.
//
// An [LM] is a model folder opened on a runtime. It never changes: every question
// comes with its own edit, a [patch.Patch], and questions of many edits share runs.
//
// # Sessions and memory
//
// One instrumented graph, with slots at all down-projections, serves every
// question that low-rank patches of down-projections can ask, and the unedited
// model too. Other sessions are built when first needed, one for each [graph.Spec]:
// with slots at the up- and gate-projections, with replaced weights, for each of
// the other purposes, and for the graph with past keys and values if it is another
// file. Weights in external data files stay mapped and are shared by all of them;
// weights inside the .onnx file are held by each.
//
// [Options.MemoryBudget] bounds what one run holds in addition to the weights;
// see run.Cost for the formula.
//
// If a way of saving work fails in a run, the rows are asked again without it.
// If that succeeds, the saving is not used any more, and [LM.Abandoned] names
// it.
//
// # Words
//
//	site       a place in a block where activations are read or shifted
//	slot       inputs of a graph for the low-rank change of one weight
//	session    a graph on the runtime
//	row        what a caller asks: a query or a sequence, with a patch
//	sequence   a prompt followed by a target, as token ids
//	question   a sequence asked through a patch, once for all rows that agree in both
//	shares     reads the run of a longer question that begins with its tokens
//	intake     the questions of one call
//	batch      the questions of one run; a run is one call of a session
//	past       keys and values that replace the first positions of the rows of a run
//	beginning  what several questions begin with, computed once; a group of them fits one run
//	held       prepared to be asked repeatedly
//	lanes      sessions used side by side, each with its share of the threads
package models
