package imports

// method is the line of every package of edit/ that has none of its own: a new
// method needs no new line.
const method = "edit/METHOD"

// anything is what a program may import that calls all rooms of the house but
// the methods.
const anything = "..."

// house lists the packages of the project: folder, noun, imports.
var house = []room{
	{"lfs", "recognises a Git LFS pointer where a file is wanted; every reader of files asks it", ""},
	{"file", "a file: written whole, hashed, copied, locked", ""},
	{"tensor", "an array of numbers in the host's memory", ""},
	{"tensor/safetensors", "the file of typed arrays in which checkpoints are kept: read, written", "file lfs tensor"},
	{"tensor/npz", "NumPy's file of arrays: read, written", "file lfs tensor"},
	{"checkpoint", "the text files of a checkpoint, read as Python reads them", "lfs"},
	{"ask", "a question to a model and its answer: text in, numbers out", ""},
	{"row", "the columns of a run's tables: one struct per table, filled where its numbers are computed", ""},
	{"token/oniguruma", "a regular expression of tokenizer.json", ""},
	{"token/character", "what the official tokenizers take a character for", "token/oniguruma"},
	{"token/piece", "a stretch of text that knows where it came from, and the patterns that cut it", "token/oniguruma"},
	{"token/bytelevel", "GPT-2's alphabet of bytes and its words", "token/character token/piece"},
	{"token/component", "a normaliser, a splitter or a decoder of tokenizer.json", "token/bytelevel token/character token/oniguruma token/piece"},
	{"token/subword", "a vocabulary: byte-pair encoding, unigram, WordPiece", "token/bytelevel"},
	{"token", "text to ids, with the bytes that each id stands for; templates of special tokens", "checkpoint file token/bytelevel token/character token/component token/piece token/subword"},
	{"pipeline", "stages of resumable units; knows nothing of editing", ""},
	{"onnx", "a graph and its file: read, rewritten, written", "file lfs tensor"},
	{"onnx/grad", "the derivative of a graph, as new nodes", "onnx tensor"},
	{"ort", "the runtime that runs graphs, and what its releases and providers cannot do", "file lfs tensor"},
	{"ort/orttest", "the runtime, opened for a test", "ort"},
	{"internal/tinylm", "writes small seeded language models as exporters write them (graphs, tokenizer, configuration): every family, for tests and for the embedded model", "onnx tensor"},
	{"models/folder", "the folder of a model: its configuration, and which file is which graph", "checkpoint file token"},
	{"models/linear", "the linear maps of a graph", "onnx"},
	{"models/ports", "how a graph is fed and read: ids, masks, positions, caches, logits", "models/folder models/linear onnx"},
	{"models/arch", "the anatomy of a model: blocks and feed-forward weights found in its graphs, sites, and why something cannot be edited or read", "lfs models/folder models/linear models/ports onnx tensor"},
	{"models/patch", "an edit as a value, with its file: weights, splices, routes, state", "ask file models/arch tensor tensor/safetensors"},
	{"models/graph", "a model's graph with inputs added for edits (slots, replaced weights, small networks) and outputs for a purpose (logits, activations, sums, losses)", "models/arch models/patch models/ports onnx onnx/grad tensor"},
	{"models", "an opened language model: sessions, memory budget, export", "file models/arch models/folder models/graph models/patch models/ports onnx ort tensor token"},
	{"models/run", "sequences in few runs: joined, planned, padded, fed", "ask models models/arch models/graph models/patch models/ports onnx tensor token"},
	{"models/activation", "activations at sites: traced, summed, embedded", "ask models models/arch models/graph models/patch models/run ort tensor"},
	{"models/answer", "answers: log-probabilities and continuations", "ask models models/activation models/arch models/graph models/patch models/run tensor"},
	{"models/loss", "losses and their gradients at sites", "models models/arch models/graph models/patch models/run ort tensor"},
	{"internal/leak", "makes rows of the tests' models see each other, in a build with the tag sabotage", "models/arch onnx tensor"},
	{"internal/modeltest", "models, patches and questions for the tests of models and the packages below it", "ask internal/leak internal/tinylm models models/arch models/patch onnx ort tensor tensor/npz"},
	{"train", "optimisers: minimises a scalar output of a graph over named tensors", "onnx ort tensor"},
	{"dataset", "edits and probes", ""},
	{"dataset/importer/rows", "the records of a file, whatever its form", ""},
	{"dataset/importer", "the data sets of the field and files of choices, read into records", "dataset dataset/importer/rows generator/dump lfs"},
	{"dataset/exporter", "the data sets of the field, written from records", "dataset"},
	{"dataset/corpus", "running text: files of documents, read one text after another", "generator/dump"},
	{"metric", "numbers computed from answers, their averages and intervals", "ask dataset row"},
	{"store", "typed Parquet tables, and the run folder: manifest, ledger, lock", "dataset file lfs"},
	{"generator/dump", "opens packed files (gzip, bzip2, zstd) and cuts a Wikidata dump into blocks of lines", "lfs"},
	{"generator/catalogue", "relations with their wordings and rules, read from YAML", ""},
	{"generator/kb", "entities and facts in memory, read from Wikidata's JSON", "generator/catalogue"},
	{"generator/shards", "a knowledge base as a folder of tables, built from a dump of any size: parts are sorted and then joined", "file generator/catalogue generator/dump generator/kb store"},
	{"generator", "sets of edits built from facts", "dataset generator/catalogue generator/kb"},
	{"audit", "faults of a set of edits", "dataset dataset/importer generator generator/catalogue generator/kb token"},
	{"edit", "an editing method: its keys, presets and schedules, its editors and what they make", "dataset models models/arch models/patch"},
	{"edit/edittest", "the suite that every method passes", "ask dataset edit internal/leak internal/tinylm models models/answer models/arch models/patch ort ort/orttest tensor tensor/npz"},
	{"edit/edittest/METHOD", "a method of the suite's own, which no program lists", "ask dataset edit models models/activation models/arch models/graph models/loss models/patch models/run tensor"},
	{"edit/moments", "second moments (covariance) of activations over running text: collected, kept in files, factored, solved with", "edit file models models/activation models/arch models/run tensor tensor/npz"},
	{"edit/locate", "where a model keeps a fact: subject tokens, contexts, the search of a value", "ask dataset edit file models models/activation models/arch models/loss models/patch models/run tensor token train"},
	{"edit/spread", "a change spread over layers", "ask dataset edit edit/locate edit/moments models models/activation models/arch models/patch tensor"},
	{method, "one method: its equations, settings, page and tests", "ask dataset edit edit/locate edit/moments edit/spread file models models/activation models/answer models/arch models/loss models/patch models/run tensor tensor/npz tensor/safetensors train"},
	{"edit/all", "the list of methods", "edit edit/METHOD"},
	{"demo/world", "the invented world, in the dump's format, and what of it is reserved", ""},
	{"demo", "the embedded model, its data set and running text", "dataset file onnx tensor tensor/safetensors"},
	{"demo/pretrain", "how the embedded model is made and measured while it trains: text, vocabulary, training, export", "dataset dataset/corpus demo demo/world file generator generator/catalogue generator/kb internal/tinylm onnx onnx/grad ort tensor tensor/safetensors token token/bytelevel train"},
	{"demo/pretrain/build", "makes and measures the embedded model", "ask dataset demo demo/pretrain edit edit/all file models models/answer models/arch models/patch ort"},
	{"sets", "data sets as folders of files: generated, reworded, audited, imported, converted", "audit dataset dataset/exporter dataset/importer demo/world file generator generator/catalogue generator/dump generator/kb generator/shards lfs store token"},
	{"stages", "an evaluation: checked and planned as a whole, then run from data set to result rows", "ask dataset edit edit/locate file metric models models/answer models/arch models/patch models/run ort pipeline row store"},
	{"report", "tables of run folders", "dataset metric row store"},
	{"examples/patched", "an example: a model asked with and without a patch", "ask models models/answer models/patch ort"},
	{"internal/dumpgen", "writes an invented dump of any size", ""},
	{"internal/kbbench", "measures how a knowledge base is built", "file generator/catalogue generator/dump generator/kb generator/shards"},
	{"internal/ortinstall", "installs the runtime's shared library", "file ort"},
	{"internal/families", "tests of every family of models in every form (docs/families.md)", ""},
	{"internal/tokencheck", "comparison with the official tokenizers", ""},
	{"internal/imports", "this list", ""},
	{"cmd/editpipe", "the program: one file per verb (flags in, one call, text out), and doctor, which examines the installation", anything},
}

// exceptions are the imports that a rule forbids.
var exceptions = []exception{
	{"dataset/importer", "generator/dump", "one place unpacks what is published packed"},
	{"dataset/corpus", "generator/dump", "one place unpacks what is published packed"},
	{"demo/pretrain", "internal/tinylm", "one place writes the graphs of small models, be they for tests or embedded"},
}

// testExceptions are the imports of tests beyond the rule for tests.
var testExceptions = []exception{
	{"dataset/exporter", "dataset/importer", "what was written is read again"},
	{"demo", "demo/world", "the embedded data set is made again from the world"},
	{"demo/pretrain", "ask models models/answer", "the exported model is opened and asked"},
	{"generator", "demo/world", "the invented world is the knowledge base whose every fact is known"},
	{"generator/catalogue", "demo/world", "the invented world's catalogue is one that is in use"},
	{"generator/shards", "demo/world", "the invented world is a dump with every kind of entity"},
	{"internal/dumpgen", "generator/catalogue generator/kb", "what it writes must be a dump to them"},
	{"edit/edittest", "edit/edittest/METHOD", "they go through the suite"},
	{"edit/moments", "edit/locate", "contexts are those of a search"},
	{"edit/moments", "dataset/corpus", "running text is read as it is for second moments"},
	{"internal/families", "edit/ftl edit/kn edit/memit edit/rome models/loss row stages store", "every family is taken through scoring, slopes and each kind of edit"},
	{"internal/tinylm", "tensor/safetensors", "the weights of a real checkpoint are given to a tiny graph"},
	{"internal/tinylm onnx/grad tensor/safetensors", "tensor/npz", "reference figures come from Python"},
	{"internal/tokencheck", "token token/bytelevel token/component token/oniguruma token/piece", "it compares them with the official ones"},
	{"models", "models/answer models/loss models/run", "an opened model is shown to be right by asking it"},
	{"models/graph", "models/activation models/answer models/loss", "a network is shown to be right by asking a model that has it"},
	{"models/run", "models/answer", "runs are shown to be right by their answers"},
	{"models/answer", "models/loss", "a row that fails leaves the others alone, whatever is asked"},
	{"models/loss", "models/activation models/answer", "a loss is compared with what answers and activations say"},
	{"pipeline store", "row", "rows are what is written"},
	{"pipeline", "store", "a killed run is continued from its ledger"},
	{"stages", "audit generator/kb generator", "docs/formats.md has the tables of sets and those of runs"},
	{"stages", "dataset/importer", "reference data are a file in CounterFact's form"},
	{"stages", "edit/ike edit/none edit/patch", "an evaluation needs methods; these need no search"},
	{"train", "onnx/grad", "what is minimised here are graphs with their derivative"},
}

// forTests are the packages that only tests import.
var forTests = []string{"internal/modeltest", "ort/orttest", "internal/tinylm", "internal/leak", "edit/edittest"}

// outside lists the modules of others, with their importers: these folders and
// those below them.
var outside = []module{
	{"github.com/yalue/onnxruntime_go", "ort", "the runtime; every handle is checked in one place"},
	{"github.com/sugarme/tokenizer", "token", "which of its parts are right is known in one place"},
	{"github.com/parquet-go/parquet-go", "store", "Parquet; no file holds NaN or half a row group"},
	{"github.com/urfave/cli/v2", "cmd/editpipe", "flags"},
	{"github.com/dlclark/regexp2", "token/oniguruma", "backtracking search, for expressions that look around"},
	{"github.com/rivo/uniseg", "token", "graphemes"},
	{"github.com/goccy/go-yaml", "generator/catalogue cmd/editpipe", "YAML with the line of every fault: relations, settings of a run"},
	{"github.com/klauspost/compress", "generator/dump internal/dumpgen", "gzip and zstd"},
	{"github.com/jedib0t/go-pretty/v6", "report", "tables in text"},
	{"golang.org/x/sys", "cmd/editpipe file", "system calls: free memory, locks"},
	{"golang.org/x/term", "pipeline", "whether progress is watched"},
	{"golang.org/x/text", "dataset generator/kb token", "normal forms and case of Unicode"},
	{"gonum.org/v1/gonum", "edit/moments", "linear algebra in float64"},
	{"google.golang.org/protobuf", "onnx ort", "the wire format of ONNX files"},
}
