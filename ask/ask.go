// Package ask defines a question to a language model and its answer: text in,
// numbers out. Models give answers and metrics read them, and neither needs to
// know the other.
package ask

import "errors"

// Errors of a single answer. The question failed, the run goes on; callers
// turn them into a row's status.
var (
	// ErrTooLong is returned when prompt and target exceed the model's context.
	ErrTooLong = errors.New("ask: prompt and target are longer than the model's context")
	// ErrNoTarget is returned when a target has no tokens.
	ErrNoTarget = errors.New("ask: target has no tokens")
	// ErrNoPrompt is returned when a prompt has no tokens, so that nothing predicts the first target token.
	ErrNoPrompt = errors.New("ask: prompt has no tokens")
	// ErrNotFinite is returned when the model answered with NaN or infinite numbers.
	ErrNotFinite = errors.New("ask: model output is not finite")
)

// Query is a prompt with the continuations whose probability is wanted.
type Query struct {
	ID string // free for the caller; echoed nowhere

	Prompt  string   // text before the continuation, without trailing space
	Targets []string // continuations, scored independently; joined by the model's join rule

	// PromptIDs and TargetIDs, where set, are used in place of the texts. They
	// serve models without a tokenizer.
	PromptIDs []int64
	TargetIDs [][]int64
}

// Continuation is one teacher-forced target: position t sees the prompt and the
// gold tokens before t. All slices have one entry per target token.
type Continuation struct {
	IDs      []int64   // gold token ids
	Argmax   []int64   // most probable token at each position; ties go to the lowest id
	LogProbs []float64 // natural log-probability of the gold token
	// FirstRank is the rank of the first gold token, 0 for the most probable.
	FirstRank int32
	// MinGap is the smallest difference between the best and second-best logit
	// over the positions; below 1e-3 an argmax may flip with provider or dtype.
	MinGap float64
	// EOSLogProb is the log-probability of the end token behind the whole target,
	// and EOSArgmax says that an end token is the most probable there. Of
	// encoder-decoders, whose targets stand alone; nil and false elsewhere.
	EOSLogProb *float64
	EOSArgmax  bool
	// BoundaryRepair is true when the prompt's tokens are not a prefix of the
	// joined text's tokens, so that prompt and target were tokenised apart.
	BoundaryRepair bool
}

// Answer is what the model says to one Query.
type Answer struct {
	Targets []Continuation // parallel to Query.Targets; empty when Err is set

	// KL is the mean over the first target's positions of KL(p0 || p), in nats,
	// p0 being the unedited model's distribution; nil where it was not asked for.
	KL *float64

	Text      string  // generated continuation, stop text removed; only from Generate
	TextIDs   []int64 // its tokens
	StoppedBy string  // eos, newline, length

	PromptTokens int   // tokens before the continuation, wrapping included
	Err          error // why this query has no numbers; nil if it has
}

// Sampling says how to generate. Decoding is greedy.
type Sampling struct {
	MaxNew int      // most tokens to generate; > 0
	Stop   []string // texts that end generation and are removed; eos always ends it
}
