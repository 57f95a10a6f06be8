// Package models opens exported language models and asks them questions,
// each through its own edit.
//
// An [LM] is a model folder opened on a runtime. It never changes. An edit is a
// value, a [Patch]: additions to named weights, and routes that put other
// questions in the place of those asked. A [Row] is a question together with the
// patch to ask it through. [LM.Score] plans many rows into few runs:
//
//	route -> tokenise and join -> drop duplicates and beginnings -> group by binding ->
//	order by length -> runs within the memory budget -> host statistics
//
// # Bindings
//
// A low-rank change W' = W + U V is never added to W. The instrumented graph
// computes y = x W + (x U) V with U [B, in, r] and V [B, r, out] fed with the
// rows, so that every row of a run carries its own edit and unedited rows mix
// with edited ones; shorter ranks are padded with zeros. When all rows of a run
// carry the same patch its factors are fed once, as [1, in, r].
//
// A change of a bias travels with the rows likewise, in sessions that have a
// further addition behind every down-projection.
//
// Rows with different dense patches never share a run. The weights that a dense
// patch changes are overridable initializers of a graph of their own, and
// W + Delta is fed in the stored orientation; W itself stays with the session.
// Float16 weights are replaced where the loaded runtime takes overridable float16
// initializers, as 1.30 does: 1.27 ended the process while such a graph was loaded,
// and is never given one. Weights of other types are not replaced, nor are those
// of a fifth set of weights, since every set needs a session. Their changes go
// through the slots, as products with an identity matrix. [Info].Dense says which
// form a model takes.
// Against the unedited model, on one thread (GPT-2 form, 6 layers of width 256,
// 32 rows of 20 tokens; medians of 40 runs in turn, BenchmarkDense), replacing
// one down-projection costs 1 %, its slot 7 %; replacing all six 14 %, their
// slots 42 %.
//
// # Results
//
// What routes of different patches ask shares runs. A target whose tokens begin
// another one's shares its row.
//
// Rows are padded on the right with explicit attention mask and positions;
// models are causal, so padding cannot reach a real position. Behind cached keys
// and values it stands in front of them, masked: local windows and biases by
// distance count the places in a cache, so none may lie between a row's tokens.
// Whether a graph takes padding there is tried, see LM.keepsApart; rows of unequal
// length do not share cached runs of one that does not.
//
// An answer does not depend on which other rows were asked, up to floating-point
// reassociation in the runtime's kernels (below 1e-4 nats in float32). Within one
// shape of run, a row without a patch and a row with a patch of zeros agree to the
// bit.
//
// Rows that begin alike under one patch, as all questions behind one text of an
// in-context method do, share a run of what they begin with: its keys and values
// stand before each of them, cut to one length. This takes a graph with past keys
// and values whose attention does not take lengths (GroupQueryAttention does).
//
// Where a saving fails in a run the rows are asked plainly; if that goes well, the
// saving is given up for good, and [LM.Abandoned] says so.
//
// # Sessions and memory
//
// One instrumented graph, with slots at all down-projections, serves every
// question that low-rank patches of down-projections can ask, and the unedited
// model too. Other sessions are built when first needed: with slots at the up-
// and gate-projections, with replaced weights, with outputs for [LM.Trace], with
// losses and their gradients for [LM.Losses] and [LM.LayerShifts], with the two
// halves of those for [LM.Hold], and for the graph with past keys and values if it
// is another file. Weights in external data files stay mapped and are shared by
// all of them; weights inside the .onnx file are held by each.
//
// [Options.MemoryBudget] bounds what one run holds beside the weights; see
// cost.bytes for the formula.
package models
